"""Reviews, credentials, consents and predicate checks: every rule and every refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ledger import base64url
from ledger.entries import Entry, new_id, subjects
from ledger.errors import Refusal
from ledger.keys import SigningKey, did_key
from ledger.rules.consent import GIVE_DOMAIN, WITHDRAW_DOMAIN, consent_message
from ledger.rules.credentials import TRANSITIONS
from ledger.testing import START, Stage
from ledger.testing.members import NET, draft_entry
from ledger.times import format_time

HEX = "ab" * 32
SUBJECT = SigningKey.from_seed(bytes([9] * 32))
LOANS = "lender/loans"
UNTIL = format_time(START + timedelta(days=30))
LAST = format_time(START - timedelta(seconds=1))


def ident(kind: str, number: int = 1) -> str:
    return new_id(kind, lambda: START, lambda n: bytes([number] * n))


def refused(code: str, act: Callable[[], object]) -> None:
    with pytest.raises(Refusal) as caught:
        act()
    assert caught.value.code == code, str(caught.value)


def check(name: str, outcome: str = "passed", **changes: Any) -> dict[str, Any]:
    made = {"check": name, "role": "approver", "time": LAST, "outcome": outcome, "evidence": HEX}
    return {**made, **changes}


class Identity(Stage):
    """A stage with the acts of this file as methods."""

    def __init__(self) -> None:
        super().__init__("lender", "bureau", "regulator")
        column = {
            "name": "id",
            "type": "string",
            "role": "identifier",
            "sensitivity": 3,
            "control": "AFTER_JOIN",
        }
        self.act(
            "lender",
            "asset.publish",
            {
                "asset": LOANS,
                "version": 1,
                "kind": "table",
                "title": "Loans",
                "description": "",
                "keywords": [],
                "schema": [column],
                "rows": 10,
                "root": HEX,
                "offer": {},
                "profile": HEX,
                "distribution": [],
            },
        )

    def review(self, name: str = "regulator", number: int = 1, **changes: Any) -> Entry:
        body = {
            "review": ident("review", number),
            "holder": self.did("lender"),
            "outcome": "passed",
            "checks": [check("real-name"), check("licence")],
        }
        return self.act(name, "review.member", {**body, **changes})

    def review_asset(self, name: str = "regulator", **changes: Any) -> Entry:
        body = {
            "review": ident("review", 2),
            "asset": LOANS,
            "outcome": "passed",
            "checks": [check("source"), check("lawful-basis")],
        }
        return self.act(name, "review.asset", {**body, **changes})

    def issue(self, name: str = "regulator", number: int = 1, **changes: Any) -> Entry:
        body = {
            "credential": f"urn:parley:credential:{number}",
            "type": "MembershipCredential",
            "holder": self.did("lender"),
            "digest": HEX,
            "from": format_time(START),
            "until": UNTIL,
            "place": 7,
            "review": ident("review"),
        }
        given = {key: value for key, value in {**body, **changes}.items() if value is not None}
        return self.act(name, "credential.issue", given)

    def change(self, event: str, name: str = "regulator") -> Entry:
        body = {"credential": "urn:parley:credential:1", "reason": "x"}
        return self.act(name, f"credential.{event}", body)

    def status(self) -> str:
        return str(self.state.rows("credentials")["urn:parley:credential:1"]["status"])

    def said(self, **changes: Any) -> dict[str, Any]:
        made = {
            "v": 1,
            "net": NET,
            "consent": ident("consent"),
            "subject": did_key(SUBJECT.public),
            "controller": self.did("lender"),
            "asset": LOANS,
            "purpose": "dpv:CreditChecking",
            "expires": UNTIL,
        }
        return {**made, **changes}

    def give(self, name: str = "bureau", key: SigningKey = SUBJECT, **changes: Any) -> Entry:
        return self.act(name, "consent.give", signed(self.said(**changes), key, GIVE_DOMAIN))

    def take_back(self, name: str = "bureau", key: SigningKey = SUBJECT, **changes: Any) -> Entry:
        said = {"v": 1, "net": NET, "consent": ident("consent"), "subject": did_key(key.public), **changes}
        return self.act(name, "consent.withdraw", signed(said, key, WITHDRAW_DOMAIN))

    def conclude(self, *, commit: str | None = HEX, **changes: Any) -> Entry:
        body = {
            "eligibility": ident("eligibility"),
            "request": HEX,
            "purpose": "dpv:CreditChecking",
            "definitions": [ident("definition")],
            "outcome": "pass",
            **changes,
        }
        member = self.members["bureau"]
        draft = replace(draft_entry(member, "evidence.eligibility", body, now=self.now), commit=commit)
        return self.apply(Entry.parse(draft.sign(member.kid, member.tx).encode()))

    def define(self, name: str = "regulator") -> Entry:
        body = {"definition": ident("definition"), "name": "person", "version": "1", "attributes": ["age"]}
        return self.act(name, "predicate.define", {**body, "key": {"n": "1"}})


def signed(statement: Mapping[str, Any], key: SigningKey, domain: bytes) -> dict[str, Any]:
    signature = key.sign(consent_message(statement, domain))
    return {"statement": dict(statement), "sig": base64url.encode(signature)}


@pytest.fixture
def stage() -> Identity:
    return Identity()


class TestReviews:
    def test_a_review_leaves_its_checks_on_record(self, stage: Identity) -> None:
        entry = stage.review()
        row = stage.state.rows("reviews")[ident("review")]
        assert (row["reviewer"], row["status"], row["outcome"]) == (
            stage.did("regulator"),
            "standing",
            "passed",
        )
        assert [one["check"] for one in row["checks"]] == ["real-name", "licence"]
        assert {stage.did("lender"), ident("review")} <= subjects(entry)

    def test_an_applicant_that_is_no_member_can_be_reviewed(self, stage: Identity) -> None:
        stage.review(holder=did_key(SUBJECT.public))

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"checks": [check("real-name")]}, "review.incomplete"),
            ({"checks": [check("real-name"), check("licence", "failed")]}, "review.inconsistent"),
            ({"outcome": "failed"}, "review.inconsistent"),
            ({"checks": [check("real-name", time=UNTIL), check("licence")]}, "review.from-the-future"),
            ({"checks": []}, "entry.malformed-body"),
            ({"checks": [check("real-name", evidence="the licence no. 17")]}, "entry.malformed-body"),
            ({"checks": [{**check("real-name"), "person": "Ann"}]}, "entry.malformed-body"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_a_review_that_is_not_one_is_refused(
        self, stage: Identity, changes: dict[str, Any], code: str
    ) -> None:
        refused(code, lambda: stage.review(**changes))

    def test_a_failed_review_may_stop_at_the_check_that_failed(self, stage: Identity) -> None:
        stage.review(outcome="failed", checks=[check("real-name", "failed")])
        refused("credential.review-not-passed", stage.issue)

    def test_nobody_reviews_itself_or_its_own_data(self, stage: Identity) -> None:
        refused("review.own", lambda: stage.review("lender"))
        refused("review.own", lambda: stage.review_asset("lender"))

    def test_an_id_is_used_once_and_a_review_withdrawn_once_by_its_reviewer(self, stage: Identity) -> None:
        stage.review()
        refused("review.exists", stage.review)
        body = {"review": ident("review"), "reason": "forged papers"}
        refused("entry.not-permitted", lambda: stage.act("bureau", "review.withdraw", body))
        stage.act("regulator", "review.withdraw", body)
        refused("review.withdrawn", lambda: stage.act("regulator", "review.withdraw", body))
        refused("credential.review-not-passed", stage.issue)
        unknown = {"review": ident("review", 9), "reason": "x"}
        refused("review.unknown", lambda: stage.act("regulator", "review.withdraw", unknown))


class TestCredentials:
    def test_a_reviewed_type_is_issued_by_the_reviewer_to_whom_it_reviewed(self, stage: Identity) -> None:
        stage.review()
        stage.review_asset()
        refused("entry.not-permitted", lambda: stage.issue("bureau"))
        refused("credential.another-review", lambda: stage.issue(holder=stage.did("bureau")))
        refused("credential.another-review", lambda: stage.issue(review=ident("review", 2)))
        refused("credential.no-review", lambda: stage.issue(review=None))
        refused("review.unknown", lambda: stage.issue(review=ident("review", 9)))
        entry = stage.issue()
        row = stage.state.rows("credentials")["urn:parley:credential:1"]
        assert (row["issuer"], row["status"], row["issued"]) == (stage.did("regulator"), "valid", stage.index)
        assert "urn:parley:credential:1" in subjects(entry)
        refused("credential.exists", stage.issue)

    def test_a_data_source_credential_is_for_the_asset_that_was_reviewed(self, stage: Identity) -> None:
        stage.review_asset()
        source = {"type": "DataSourceReviewCredential", "review": ident("review", 2)}
        refused("credential.another-review", lambda: stage.issue(**source))
        refused("credential.another-review", lambda: stage.issue(**source, asset="lender/other"))
        stage.issue(**source, asset=LOANS)

    def test_other_types_need_no_review(self, stage: Identity) -> None:
        stage.issue("bureau", type="ComputationReceiptCredential", review=None)

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"until": format_time(START)}, "credential.expired"),
            ({"from": UNTIL}, "credential.expired"),
            ({"place": 131_072}, "entry.malformed-body"),
            ({"digest": ""}, "entry.malformed-body"),
            ({"title": "Lender Ltd"}, "entry.malformed-body"),
        ],
    )
    def test_a_credential_that_is_none_is_refused(
        self, stage: Identity, changes: dict[str, Any], code: str
    ) -> None:
        stage.review()
        refused(code, lambda: stage.issue(**changes))

    @pytest.mark.parametrize("events", [(), ("suspend",), ("suspend", "resume"), ("revoke",)])
    def test_status_moves_as_the_table_says(self, stage: Identity, events: tuple[str, ...]) -> None:
        stage.review()
        stage.issue()
        for event in events:
            stage.change(event)
        before = stage.status()
        for event in ("suspend", "resume", "revoke"):
            refused("entry.not-permitted", lambda event=event: stage.change(event, "bureau"))
            if (before, event) in TRANSITIONS:
                continue
            refused("credential.illegal-transition", lambda event=event: stage.change(event))
            assert stage.status() == before

    def test_an_unknown_credential_cannot_be_revoked(self, stage: Identity) -> None:
        refused("credential.unknown", lambda: stage.change("revoke"))


class TestConsent:
    def test_a_consent_stands_under_the_subjects_pseudonym(self, stage: Identity) -> None:
        entry = stage.give(columns=["id"])
        row = stage.state.rows("consents")[ident("consent")]
        assert (row["subject"], row["carrier"]) == (did_key(SUBJECT.public), stage.did("bureau"))
        named = {did_key(SUBJECT.public), ident("consent"), LOANS, stage.did("lender")}
        assert named <= subjects(entry)

    def test_a_consent_counts_once_whoever_carries_it_again(self, stage: Identity) -> None:
        stage.give()
        refused("consent.exists", lambda: stage.give("lender"))
        stage.take_back()
        refused("consent.exists", stage.give)

    def test_a_forged_consent_is_refused(self, stage: Identity) -> None:
        refused("consent.bad-signature", lambda: stage.give(key=SigningKey.generate()))
        body = signed(stage.said(), SUBJECT, GIVE_DOMAIN)
        for sig in ("", "AA", base64url.encode(bytes(64))):
            given = {**body, "sig": sig}
            code = "entry.malformed-body" if sig == "" else "consent.bad-signature"
            refused(code, lambda given=given: stage.act("bureau", "consent.give", given))

    @pytest.mark.parametrize(
        "changes",
        [
            {"purpose": "dpv:DirectMarketing"},
            {"expires": "2099-01-01T00:00:00Z"},
            {"columns": ["id", "arrears"]},
            {"consent": ident("consent", 5)},
            {"subject": did_key(SigningKey.from_seed(bytes(32)).public)},
        ],
        ids=str,
    )
    def test_what_was_not_signed_is_not_consented(self, stage: Identity, changes: dict[str, Any]) -> None:
        body = signed(stage.said(), SUBJECT, GIVE_DOMAIN)
        altered = {**body, "statement": {**body["statement"], **changes}}
        refused("consent.bad-signature", lambda: stage.act("lender", "consent.give", altered))

    def test_a_withdrawal_is_no_consent_and_a_consent_no_withdrawal(self, stage: Identity) -> None:
        as_withdrawal = signed(stage.said(), SUBJECT, WITHDRAW_DOMAIN)
        refused("consent.bad-signature", lambda: stage.act("bureau", "consent.give", as_withdrawal))

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"net": "elsewhere"}, "consent.wrong-net"),
            ({"expires": format_time(START)}, "consent.expired"),
            ({"asset": "lender/none"}, "asset.unknown"),
            ({"controller": did_key(SUBJECT.public)}, "consent.wrong-controller"),
            ({"subject": "did:web:person.example"}, "consent.bad-signature"),
            ({"person": "Ann"}, "entry.malformed-body"),
            ({"columns": []}, "entry.malformed-body"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_a_consent_that_is_signed_and_still_none_is_refused(
        self, stage: Identity, changes: dict[str, Any], code: str
    ) -> None:
        refused(code, lambda: stage.give(**changes))

    def test_only_the_subject_withdraws_and_only_once(self, stage: Identity) -> None:
        stage.give()
        refused("consent.another-subject", lambda: stage.take_back(key=SigningKey.generate()))
        refused("consent.unknown", lambda: stage.take_back(consent=ident("consent", 4)))
        refused("consent.wrong-net", lambda: stage.take_back(net="elsewhere"))
        stage.take_back("regulator")
        refused("consent.withdrawn", stage.take_back)


class TestRequiredConsent:
    def test_the_owner_alone_says_whether_consent_is_needed(self, stage: Identity) -> None:
        body = {"asset": LOANS, "column": "id", "required": True, "reason": "personal data"}
        refused("entry.not-permitted", lambda: stage.act("bureau", "consent.require", body))
        other = {**body, "column": "name"}
        refused("consent.unknown-column", lambda: stage.act("lender", "consent.require", other))
        none = {**body, "asset": "lender/none"}
        refused("asset.unknown", lambda: stage.act("lender", "consent.require", none))
        stage.act("lender", "consent.require", body)
        assert stage.state.rows("consent_rules")[LOANS]["required"] is True
        stage.act("lender", "consent.require", {**body, "required": False})
        assert stage.state.rows("consent_rules")[LOANS]["required"] is False


class TestPredicates:
    def test_a_check_is_concluded_once_with_a_commitment_and_without_attributes(
        self, stage: Identity
    ) -> None:
        stage.define()
        refused("evidence.no-commitment", lambda: stage.conclude(commit=None))
        refused("entry.malformed-body", lambda: stage.conclude(age=34))
        refused("entry.malformed-body", lambda: stage.conclude(outcome="34"))
        stage.conclude(holder=did_key(SUBJECT.public))
        refused("eligibility.exists", stage.conclude)

    def test_a_key_is_defined_once_and_retired_once_by_its_issuer(self, stage: Identity) -> None:
        refused("predicate.unknown", stage.conclude)
        stage.define()
        refused("predicate.exists", stage.define)
        body = {"definition": ident("definition"), "reason": "stolen"}
        refused("entry.not-permitted", lambda: stage.act("bureau", "predicate.retire", body))
        stage.act("regulator", "predicate.retire", body)
        refused("predicate.retired", lambda: stage.act("regulator", "predicate.retire", body))
        refused("predicate.retired", stage.conclude)
