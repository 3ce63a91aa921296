"""Reviews of a party or of a data source, as a reviewing member concluded them.

What the documents of an applicant say stays with the reviewer. The entry holds who looked (in which role),
when, with which outcome, and a salted commitment to the evidence, so that it can be shown later and not
guessed now.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from ledger.membership import NETWORK_KEY
from ledger.rules import shapes
from ledger.rules.act import Act, existing, require
from ledger.tables import Row, State
from ledger.times import parse_time

__all__ = ["REQUIRED_CHECKS", "review_asset", "review_member", "withdraw"]

REQUIRED_CHECKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"member": ("licence", "real-name"), "asset": ("lawful-basis", "source")}
)
"""What a review that passes has checked, at least."""

_REVIEW = shapes.identifier("review")
_OUTCOME = shapes.one_of("passed", "failed")
_CHECK = shapes.record(
    {
        "check": shapes.NAME,
        "role": shapes.WORD,
        "time": shapes.TIME,
        "outcome": _OUTCOME,
        "evidence": shapes.DIGEST,
    }
)
_CONCLUDED = {
    "review": _REVIEW,
    "outcome": _OUTCOME,
    "checks": shapes.list_of(_CHECK, least=1, most=32),
}
_MEMBER = shapes.record({**_CONCLUDED, "holder": shapes.DID})
_ASSET = shapes.record({**_CONCLUDED, "asset": shapes.ASSET_ID})
_WITHDRAW = shapes.record({"review": _REVIEW, "reason": shapes.REASON})


def review_member(state: State, act: Act) -> State:
    """Conclude the review of an organisation, which need not be a member yet."""
    body = _MEMBER(act.entry.body, "body")
    require(body["holder"] != act.actor, "review.own", "expected a review of another organisation")
    return _concluded(state, act, body, "member")


def review_asset(state: State, act: Act) -> State:
    """Conclude the review of a data source, which need not be published yet."""
    body = _ASSET(act.entry.body, "body")
    own = existing(state, "members", act.actor, "entry.unknown-actor")["name"]
    require(not body["asset"].startswith(own + "/"), "review.own", "expected another member's data source")
    return _concluded(state, act, body, "asset")


def withdraw(state: State, act: Act) -> State:
    """Take back a review of one's own: no credential is issued on it any more."""
    body = _WITHDRAW(act.entry.body, "body")
    row = existing(state, "reviews", body["review"], "review.unknown")
    require(row["reviewer"] == act.actor, "entry.not-permitted", "expected the reviewer")
    require(row["status"] == "standing", "review.withdrawn", "the review is already withdrawn")
    return act.put(state, "reviews", body["review"], {**row, "status": "withdrawn"})


def _concluded(state: State, act: Act, body: Row, kind: str) -> State:
    require(state.get("reviews", body["review"]) is None, "review.exists", "the id is already in use")
    skew = timedelta(seconds=state.rows("params")[NETWORK_KEY]["max_clock_skew_s"])
    for check in body["checks"]:
        require(
            parse_time(check["time"]) <= act.time + skew, "review.from-the-future", "expected past checks"
        )
    failed = any(check["outcome"] == "failed" for check in body["checks"])
    require(
        failed == (body["outcome"] == "failed"), "review.inconsistent", "expected the outcome of its checks"
    )
    if not failed:
        missing = set(REQUIRED_CHECKS[kind]) - {check["check"] for check in body["checks"]}
        require(not missing, "review.incomplete", f"expected the checks {', '.join(REQUIRED_CHECKS[kind])}")
    row = {**body, "reviewer": act.actor, "status": "standing"}
    return act.put(state, "reviews", body["review"], row)
