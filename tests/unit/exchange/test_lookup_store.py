"""What a node keeps of lookups, on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exchange.store import KeptTicket, LookupRepository, Question, ServiceState, TicketState, open_node_store

NOW = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)
ACCOUNT = "agreement-1 bureau/mules dpv:FraudPreventionAndDetection"


def ticket(total: int, count: int = 1, seconds: int = 0) -> KeptTicket:
    return KeptTicket(
        ticket=f"ticket-{total}",
        account=ACCOUNT,
        agreement="agreement-1",
        consumer="did:key:zBank",
        service="bureau/mules",
        count=count,
        total=total,
        fee=2 * count,
        raw=b"{}",
        answered=NOW + timedelta(seconds=seconds),
    )


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[LookupRepository]:
    store = open_node_store(f"sqlite:///{tmp_path}/node.sqlite", clock=lambda: NOW)
    yield store.lookups
    store.close()


def test_a_place_in_a_total_is_taken_once_and_up_to_the_last_receipt(kept: LookupRepository) -> None:
    for one in (ticket(3, 3), ticket(9, 2)):
        kept.add_ticket(one)
    taken = [number for number in range(1, 12) if kept.is_signed_for(ACCOUNT, number, number)]
    assert taken == [1, 2, 3, 8, 9]
    assert kept.is_signed_for(ACCOUNT, 4, 8)
    assert not kept.is_signed_for(ACCOUNT, 4, 7)
    assert [one.total for one in kept.send(ACCOUNT)] == [3, 9]
    assert kept.is_signed_for(ACCOUNT, 4, 7)
    assert not kept.is_signed_for(ACCOUNT, 10, 10)


def test_what_is_in_no_receipt_counts_as_spent(kept: LookupRepository) -> None:
    for one in (ticket(1), ticket(3, 2)):
        kept.add_ticket(one)
    assert (kept.unreported("agreement-1"), kept.waiting(ACCOUNT)) == ((3, 6), (3, 6))
    sent = kept.send(ACCOUNT)
    assert kept.unreported("agreement-1") == (3, 6)
    kept.settle(sent, TicketState.REPORTED)
    assert (kept.unreported("agreement-1"), kept.waiting_accounts()) == ((0, 0), [])
    kept.add_ticket(ticket(4))
    assert kept.waiting_accounts() == [ACCOUNT]
    assert [one.total for one in kept.send(ACCOUNT)] == [4]


def test_queries_are_counted_by_member_service_and_time(kept: LookupRepository) -> None:
    for total, seconds in ((1, -90), (2, -30), (5, 0)):
        kept.add_ticket(ticket(total, 3 if total == 5 else 1, seconds))
    minute = NOW - timedelta(minutes=1)
    assert kept.answered_since("did:key:zBank", "bureau/mules", minute) == 4
    assert kept.answered_since("did:key:zOther", "bureau/mules", minute) == 0
    assert len(kept.moments("agreement-1", minute)) == 2


def test_what_was_signed_for_only_grows(kept: LookupRepository) -> None:
    assert kept.signed_for(ACCOUNT) == (0, 0)
    assert kept.sign_for(ACCOUNT, 2, 4) == (2, 4)
    assert kept.sign_for(ACCOUNT, 1, 2) == (3, 6)
    assert (kept.signed_for(ACCOUNT), kept.accounts()) == ((3, 6), {ACCOUNT})


def test_services_and_questions_are_kept(kept: LookupRepository) -> None:
    kept.put_service("bureau/mules", {"record": []}, ServiceState.BUILDING)
    kept.put_service("bureau/mules", {"record": ["x"]}, ServiceState.FAILED, "why")
    [service] = kept.services()
    assert (service.state, service.failure, service.request) == (
        ServiceState.FAILED,
        "why",
        {"record": ["x"]},
    )
    assert kept.service("bureau/none") is None
    for number in range(3):
        kept.add_question(
            Question(f"t{number}", "s", "a", "p", 1, 1, 0, "ann", NOW + timedelta(seconds=number))
        )
    assert [one.ticket for one in kept.questions(2)] == ["t2", "t1"]
