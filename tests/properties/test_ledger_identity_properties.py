"""Any sequence of reviews, credentials and consents: what never comes about, whoever tries in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import base64url
from ledger.entries import Entry, new_id
from ledger.errors import Refusal
from ledger.keys import SigningKey, did_key
from ledger.rules.consent import GIVE_DOMAIN, WITHDRAW_DOMAIN, consent_message
from ledger.rules.credentials import REVIEWED
from ledger.state import State, apply
from ledger.tables import Row
from ledger.testing import START, Stage
from ledger.testing.members import NET

NAMES = ("lender", "bureau", "regulator")
HEX = "ab" * 32
PAST, UNTIL = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
SUBJECTS = [SigningKey.from_seed(bytes([number] * 32)) for number in (1, 2)]
KINDS = (
    "review.member",
    "review.asset",
    "review.withdraw",
    "credential.issue",
    "credential.suspend",
    "credential.resume",
    "credential.revoke",
    "consent.give",
    "consent.withdraw",
    "consent.require",
)
ACTS = st.lists(
    st.tuples(
        st.sampled_from(NAMES), st.sampled_from(KINDS), st.integers(1, 2), st.booleans(), st.integers(0, 1)
    ),
    max_size=14,
)


def ident(kind: str, number: int) -> str:
    return new_id(kind, lambda: START, lambda n: bytes([number] * n))


def checks(passed: bool, *names: str) -> list[dict[str, str]]:
    outcome = "passed" if passed else "failed"
    return [
        {"check": name, "role": "auditor", "time": PAST, "outcome": outcome, "evidence": HEX}
        for name in names
    ]


def signed(statement: dict[str, Any], key: SigningKey, domain: bytes) -> dict[str, Any]:
    return {"statement": statement, "sig": base64url.encode(key.sign(consent_message(statement, domain)))}


def body_of(stage: Stage, kind: str, number: int, flag: bool, who: int) -> dict[str, Any]:
    holder, key = stage.did(NAMES[who]), SUBJECTS[who]
    outcome = "passed" if flag else "failed"
    said = {"v": 1, "net": NET, "consent": ident("consent", number), "subject": did_key(key.public)}
    concluded = {"review": ident("review", number), "outcome": outcome}
    issued = {
        "credential": f"urn:c:{number}",
        "type": "MembershipCredential" if flag else "DataSourceReviewCredential",
        "holder": holder,
        "digest": HEX,
        "from": PAST,
        "until": UNTIL,
        "place": number,
        "review": ident("review", number),
    }
    bodies: dict[str, Callable[[], dict[str, Any]]] = {
        "review.member": lambda: {
            **concluded,
            "holder": holder,
            "checks": checks(flag, "real-name", "licence"),
        },
        "review.asset": lambda: {
            **concluded,
            "asset": "lender/loans",
            "checks": checks(flag, "source", "lawful-basis"),
        },
        "review.withdraw": lambda: {"review": ident("review", number), "reason": "x"},
        "credential.issue": lambda: issued if flag else {**issued, "asset": "lender/loans"},
        "consent.give": lambda: signed(
            {
                **said,
                "controller": stage.did("lender"),
                "asset": "lender/loans",
                "purpose": "p",
                "expires": UNTIL,
            },
            key,
            GIVE_DOMAIN,
        ),
        "consent.withdraw": lambda: signed(said, key, WITHDRAW_DOMAIN),
        "consent.require": lambda: {"asset": "lender/loans", "column": "id", "required": flag, "reason": "x"},
    }
    change = {"credential": f"urn:c:{number}", "reason": "x"}
    return bodies.get(kind, lambda: change)()


def stage_with_asset() -> Stage:
    stage = Stage(*NAMES)
    column = {"name": "id", "type": "string", "role": "identifier", "sensitivity": 1, "control": "AFTER_JOIN"}
    stage.act(
        "lender",
        "asset.publish",
        {
            "asset": "lender/loans",
            "version": 1,
            "kind": "table",
            "title": "Loans",
            "description": "",
            "keywords": [],
            "schema": [column],
            "rows": 1,
            "root": HEX,
            "offer": {},
            "profile": HEX,
            "distribution": [],
        },
    )
    return stage


def check_sound(before: State, after: State) -> None:
    for name, row in before.rows("credentials").items():
        now = after.rows("credentials")[name]
        assert {**now, "status": "", "index": 0} == {**row, "status": "", "index": 0}
        assert row["status"] != "revoked" or now["status"] == "revoked"
    for name, row in before.rows("consents").items():
        now = after.rows("consents")[name]
        assert {**now, "status": "", "index": 0} == {**row, "status": "", "index": 0}
        assert row["status"] != "withdrawn" or now["status"] == "withdrawn"
    for row in after.rows("credentials").values():
        review: Row = after.rows("reviews")[row["review"]]
        about = REVIEWED[row["type"]]
        assert review["outcome"] == "passed"
        assert (review["reviewer"], review[about]) == (row["issuer"], row[about])
    for row in after.rows("reviews").values():
        assert row.get("holder") != row["reviewer"]


@settings(max_examples=60)
@given(ACTS)
def test_nothing_unsound_comes_about_and_everybody_computes_the_same(
    acts: list[tuple[str, str, int, bool, int]],
) -> None:
    stage, valid = stage_with_asset(), list[tuple[Entry, int]]()
    first = stage.state
    for name, kind, number, flag, who in acts:
        before, root = stage.state, stage.state.root()
        try:
            entry = stage.act(name, kind, body_of(stage, kind, number, flag, who))
        except Refusal:
            assert stage.state.root() == root
            continue
        valid.append((entry, stage.index))
        check_sound(before, stage.state)
    again = first
    for entry, index in valid:
        again = apply(again, Entry.parse(entry.raw), index=index, time=stage.now)
    assert again.root() == stage.state.root()
