"""What counts as held: every reason for which a credential on the ledger does not count."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from exchange.credentials.holdings import holds, is_reviewed, reviews_of
from exchange.credentials.row_index import RowIndex
from exchange.credentials.testing import HOLDER, ISSUER, NOW, issuer_state
from ledger.tables import State
from ledger.times import format_time

KIND = "RegulatedInstitutionCredential"


def state(**changes: Any) -> State:
    row = {
        "credential": "urn:c",
        "type": KIND,
        "holder": HOLDER.did,
        "issuer": ISSUER.did,
        "review": "review-1",
        "status": "valid",
        "from": format_time(NOW - timedelta(days=1)),
        "until": format_time(NOW + timedelta(days=1)),
        **changes,
    }
    review = {"review": "review-1", "holder": HOLDER.did, "status": "standing"}
    return (
        issuer_state().put("credentials", "urn:c", row, index=3).put("reviews", "review-1", review, index=2)
    )


def test_a_credential_that_counts_is_held() -> None:
    assert holds(state(), HOLDER.did, KIND, NOW)
    assert [row["review"] for row in reviews_of(state(), HOLDER.did)] == ["review-1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "revoked"},
        {"status": "suspended"},
        {"until": format_time(NOW)},
        {"from": format_time(NOW + timedelta(seconds=1))},
        {"holder": ISSUER.did},
        {"type": "AuditorCredential"},
        {"issuer": HOLDER.did},
        {"review": "review-2"},
    ],
    ids=str,
)
def test_one_that_does_not_count_is_not_held(changes: dict[str, str]) -> None:
    assert not holds(state(**changes), HOLDER.did, KIND, NOW)


@pytest.mark.parametrize("status", ["suspended", "removed", "admitted"])
def test_one_by_an_issuer_that_is_not_active_is_not_held(status: str) -> None:
    found = state().put("members", ISSUER.did, ISSUER.member(status), index=9)
    assert not holds(found, HOLDER.did, KIND, NOW)


def test_one_on_a_review_that_was_withdrawn_is_not_held() -> None:
    row = state().rows("reviews")["review-1"]
    found = state().put("reviews", "review-1", {**row, "status": "withdrawn"}, index=9)
    assert not holds(found, HOLDER.did, KIND, NOW)
    assert list(reviews_of(found, HOLDER.did)) == []


def test_a_data_source_is_reviewed_by_its_own_credential_alone() -> None:
    source = state(type="DataSourceReviewCredential", asset="lender/loans")
    assert is_reviewed(source, "lender/loans", NOW)
    assert not is_reviewed(source, "lender/other", NOW)
    assert not is_reviewed(state(asset="lender/loans"), "lender/loans", NOW)


def test_rows_are_found_by_a_member_in_whatever_state_is_asked() -> None:
    index = RowIndex("things", "owner")
    one = State().put("things", "a", {"owner": "x"}, index=1)
    two = one.put("things", "b", {"owner": "x"}, index=2).put("things", "c", {"other": "x"}, index=3)
    for state, expected in ((one, 1), (two, 2), (one, 1), (State(), 0), (two, 2)):
        assert len(index.rows(state, "x")) == expected
        assert index.rows(state, "y") == ()
