"""Credentials: their digests, who issued them to whom, and whether they still count.

The documents themselves are held by whom they are about. A credential that vouches for a review names it, and
only the reviewer can issue it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ledger.rules import shapes
from ledger.rules.act import Act, existing, require
from ledger.tables import Row, State
from ledger.times import parse_time

__all__ = ["REVIEWED", "STATUS_PLACES", "TRANSITIONS", "issue", "resume", "revoke", "suspend"]

REVIEWED: Mapping[str, str] = MappingProxyType(
    {
        "MembershipCredential": "holder",
        "RegulatedInstitutionCredential": "holder",
        "AuditorCredential": "holder",
        "DataSourceReviewCredential": "asset",
    }
)
"""The types that need a review, and the member of the review that says what was reviewed."""

STATUS_PLACES = 131_072
"""Places of an issuer's status list."""

TRANSITIONS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("valid", "suspend"): "suspended",
        ("valid", "revoke"): "revoked",
        ("suspended", "resume"): "valid",
        ("suspended", "revoke"): "revoked",
    }
)


def _place(value: object, where: str) -> int:
    place: int = shapes.COUNT(value, where)
    if place >= STATUS_PLACES:
        raise shapes.malformed(where, f"less than {STATUS_PLACES}")
    return place


_ISSUE = shapes.record(
    {
        "credential": shapes.SENTENCE,
        "type": shapes.WORD,
        "holder": shapes.DID,
        "digest": shapes.DIGEST,
        "from": shapes.TIME,
        "until": shapes.TIME,
        "place": _place,
    },
    extra={"review": shapes.identifier("review"), "asset": shapes.ASSET_ID},
)
_CHANGE = shapes.record({"credential": shapes.SENTENCE, "reason": shapes.REASON})


def issue(state: State, act: Act) -> State:
    """Put the digest of a credential on record, as its issuer."""
    body = _ISSUE(act.entry.body, "body")
    require(state.get("credentials", body["credential"]) is None, "credential.exists", "it is on record")
    since, until = parse_time(body["from"]), parse_time(body["until"])
    require(
        since < until and until > act.time,
        "credential.expired",
        "expected an end after its beginning and now",
    )
    if body["type"] in REVIEWED or "review" in body:
        _check_review(state, act, body)
    row = {**body, "issuer": act.actor, "issued": act.index, "status": "valid"}
    return act.put(state, "credentials", body["credential"], row)


def suspend(state: State, act: Act) -> State:
    """Let a credential not count until it is resumed."""
    return _changed(state, act, "suspend")


def resume(state: State, act: Act) -> State:
    """Let a suspended credential count again."""
    return _changed(state, act, "resume")


def revoke(state: State, act: Act) -> State:
    """Take a credential back for good."""
    return _changed(state, act, "revoke")


def _changed(state: State, act: Act, event: str) -> State:
    body = _CHANGE(act.entry.body, "body")
    row = existing(state, "credentials", body["credential"], "credential.unknown")
    require(row["issuer"] == act.actor, "entry.not-permitted", "expected the issuer")
    after = TRANSITIONS.get((row["status"], event))
    require(after is not None, "credential.illegal-transition", f"it is {row['status']}")
    return act.put(state, "credentials", body["credential"], {**row, "status": after})


def _check_review(state: State, act: Act, body: Row) -> None:
    require("review" in body, "credential.no-review", "expected the review that it vouches for")
    review = existing(state, "reviews", body["review"], "review.unknown")
    require(review["reviewer"] == act.actor, "entry.not-permitted", "expected the reviewer as the issuer")
    stands = review["outcome"] == "passed" and review["status"] == "standing"
    require(stands, "credential.review-not-passed", "expected a review that passed and stands")
    about = REVIEWED.get(body["type"], "holder")
    same = about in body and about in review and review[about] == body[about]
    require(same, "credential.another-review", f"expected the {about} that was reviewed")
