"""What a node keeps of joint models and their scores, on both sides."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from exchange.store import Answered, ScoreQuestion, ScoringRepository, Sent, open_node_store
from exchange.store.engine import StoreUnavailable
from exchange.store.node.scoring import WINDOW

NOW = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)
ACCOUNT = "agreement-1 lender/late 1 dpv:CreditChecking"


def ticket(number: int, count: int = 1, seconds: int = 0, account: str = ACCOUNT) -> Answered:
    return Answered(
        account=account,
        agreement="agreement-1",
        consumer="did:key:zLender",
        model="lender/late",
        number=number,
        count=count,
        raw=f"ticket {number}".encode(),
        now=NOW + timedelta(seconds=seconds),
    )


def encoded(sent: Sent) -> bytes:
    return f"{sent.count} {sent.calls} {sent.since:%H%M} {sent.last.decode()}".encode()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[ScoringRepository]:
    store = open_node_store(f"sqlite:///{tmp_path}/node.sqlite", clock=lambda: NOW)
    yield store.scoring
    store.close()


def test_a_number_is_answered_once_in_whatever_order_it_comes(kept: ScoringRepository) -> None:
    assert [kept.answer(ticket(number)) for number in (2, 1, 2, 5, 1, 4, 3, 3)] == [
        True,
        True,
        False,
        True,
        False,
        True,
        True,
        False,
    ]
    assert kept.answer(ticket(5 + WINDOW))
    assert not kept.answer(ticket(5))
    assert kept.answer(ticket(6))
    assert kept.answer(ticket(1000))
    assert not kept.answer(ticket(1000 - WINDOW))
    assert kept.answer(ticket(1001 - WINDOW))


def test_a_receipt_has_the_last_ticket_and_closes_the_numbers_before_it(kept: ScoringRepository) -> None:
    for one in (ticket(1, 2), ticket(4, 3, 61), ticket(3)):
        kept.answer(one)
    assert kept.waiting_accounts() == [ACCOUNT]
    assert kept.send(ACCOUNT, encoded) == b"6 3 0800 ticket 4"
    assert not kept.answer(ticket(2))
    assert kept.answer(ticket(5, 7, 120))
    assert kept.send(ACCOUNT, encoded) == b"6 3 0800 ticket 4"
    assert kept.unreported("agreement-1") == 13
    kept.settle(ACCOUNT)
    assert kept.unreported("agreement-1") == 7
    assert kept.send(ACCOUNT, encoded) == b"7 1 0802 ticket 5"
    kept.settle(ACCOUNT)
    assert (kept.unreported("agreement-1"), kept.waiting_accounts()) == (0, [])


def test_persons_are_counted_by_minute_and_day_over_all_accounts(kept: ScoringRepository) -> None:
    kept.answer(ticket(1, 2))
    kept.answer(ticket(1, 3, account=ACCOUNT.replace("agreement-1", "agreement-2")))
    kept.answer(ticket(2, 4, 30))

    def counted(seconds: int) -> dict[str, int]:
        return kept.answered_now("did:key:zLender", "lender/late", NOW + timedelta(seconds=seconds))

    assert counted(59) == {"minute": 9, "day": 9}
    assert counted(60) == {"minute": 0, "day": 9}
    assert counted(86_400) == {"minute": 0, "day": 0}
    assert kept.answered_now("did:key:zOther", "lender/late", NOW) == {"minute": 0, "day": 0}


def test_a_call_is_kept_with_who_made_it_and_what_it_signs_for(kept: ScoringRepository) -> None:
    def asked(persons: int) -> ScoreQuestion:
        return ScoreQuestion("2026-11-26", "ann", "lender/late", 1, "dpv:CreditChecking", 1, persons)

    assert kept.ask(asked(3), ["a", "b"]) == [(1, 3), (1, 3)]
    assert kept.ask(asked(2), ["b"]) == [(2, 5)]
    [one] = kept.questions(10)
    assert (one.day, one.person, one.calls, one.persons) == ("2026-11-26", "ann", 2, 5)


def test_a_node_that_died_signs_no_number_and_no_total_again(kept: ScoringRepository) -> None:
    question = ScoreQuestion("2026-11-26", "ann", "lender/late", 1, "dpv:CreditChecking", 1, 700)
    signed = [kept.ask(question, ["a"])[0] for _ in range(5)]
    assert signed == [(number, 700 * number) for number in range(1, 6)]
    number, total = ScoringRepository(kept._engine, lambda: NOW).ask(question, ["a"])[0]
    assert number > 5
    assert total >= 700 * 6


def test_an_answer_that_comes_while_a_receipt_is_taken_is_in_one_of_them(kept: ScoringRepository) -> None:
    taken: list[int] = []

    def report() -> None:
        while len(taken) < 20:
            if kept.waiting_accounts():
                taken.append(int(kept.send(ACCOUNT, encoded).split()[0]))
                kept.settle(ACCOUNT)

    with ThreadPoolExecutor(2) as pool:
        reporting = pool.submit(report)
        number = 0
        while not reporting.done():
            number += 1
            assert kept.answer(ticket(number))
    rest = int(kept.send(ACCOUNT, encoded).split()[0]) if kept.waiting_accounts() else 0
    assert sum(taken) + rest == number


def test_what_was_answered_is_there_after_a_restart(kept: ScoringRepository) -> None:
    kept.answer(ticket(3, 2))
    kept.secure()
    again = ScoringRepository(kept._engine, lambda: NOW)
    assert again.unreported("agreement-1") == 2
    assert not again.answer(ticket(3))


def test_tickets_that_come_together_are_written_together_and_none_before_it_is(
    kept: ScoringRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, together, written = 64, threading.Barrier(8), list[int]()
    write = ScoringRepository._write_accounts

    def counted(self: ScoringRepository, rows: Any) -> None:
        written.append(len(rows))
        write(self, rows)

    monkeypatch.setattr(ScoringRepository, "_write_accounts", counted)

    def answer(thread: int) -> list[tuple[int, int]]:
        together.wait(30)
        seen = []
        for number in range(1 + thread, calls + 1, 8):
            assert kept.answer(ticket(number))
            kept.secure()
            seen.append((number, ScoringRepository(kept._engine, lambda: NOW).unreported("agreement-1")))
        return seen

    with ThreadPoolExecutor(8) as pool:
        found = sorted(one for many in pool.map(answer, range(8)) for one in many)
    assert [number for number, _ in found] == list(range(1, calls + 1))
    assert max(count for _, count in found) == calls
    for thread in range(8):
        counts = [count for number, count in found if (number - 1) % 8 == thread]
        assert all(count > place for place, count in enumerate(counts))
    assert 8 <= len(written) <= calls


def test_one_write_serves_all_that_wait_for_it(
    kept: ScoringRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on, written = threading.Event(), threading.Event(), list[int]()
    write = ScoringRepository._write_accounts

    def slow(self: ScoringRepository, rows: Any) -> None:
        written.append(rows[0]["calls"])
        begun.set()
        assert goes_on.wait(30)
        write(self, rows)

    monkeypatch.setattr(ScoringRepository, "_write_accounts", slow)
    kept.answer(ticket(1))
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(kept.secure)]
        assert begun.wait(30)
        for number in range(2, 7):
            kept.answer(ticket(number))
            waiting.append(pool.submit(kept.secure))
        goes_on.set()
        for one in waiting:
            one.result(30)
    assert written == [1, 6]


def test_a_ticket_that_could_not_be_written_stays_counted_and_is_written_next(
    kept: ScoringRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: ScoringRepository, rows: Any) -> None:
        raise StoreUnavailable("the disk is full")

    kept.answer(ticket(1, 2))
    with monkeypatch.context() as failing:
        failing.setattr(ScoringRepository, "_write_accounts", broken)
        with pytest.raises(StoreUnavailable):
            kept.secure()
    assert not kept.answer(ticket(1, 2))
    assert kept.unreported("agreement-1") == 2
    kept.secure()
    assert ScoringRepository(kept._engine, lambda: NOW).unreported("agreement-1") == 2


def test_a_part_is_kept_until_the_ledger_has_another(kept: ScoringRepository) -> None:
    kept.put_part("lender/late", 1, b"first", {"asset": "lender/loans"})
    kept.put_part("lender/late", 1, b"second", {"asset": "lender/loans"})
    kept.built("lender/late", 1, 4)
    [part] = kept.parts()
    assert (part.sealed, part.built, part.filing) == (b"second", 4, {"asset": "lender/loans"})
    assert kept.part("lender/late", 2) is None
