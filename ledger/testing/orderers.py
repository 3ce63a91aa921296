# ruff: noqa: S101 - a conformance suite asserts
"""The conformance suite of order engines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress

import pytest
from sqlalchemy import Engine

from ledger.errors import OrderConflict, StoreUnavailable
from ledger.orderers import Orderer

__all__ = ["OrdererContract"]

_LARGEST = 201 * 32 * 1024
_RECOVERY_S = 60.0
_WRITERS = 4


class OrdererContract:
    """Subclass it and provide the fixtures; each promise is a test here.

    ``open_orderer()`` opens the same order again, as another process would. ``outage()`` is a context in
    which the engine cannot order: its majority is gone, or its table. ``engine`` is the database of the store
    that integrates; a test's transaction on it commits unless the test fails it.
    """

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        """The database whose transaction the proposals run in."""
        raise NotImplementedError

    @pytest.fixture
    def open_orderer(self) -> Callable[[], Orderer]:
        """Open the order under test."""
        raise NotImplementedError

    @pytest.fixture
    def outage(self) -> Callable[[], AbstractContextManager[None]]:
        """Take the engine away for a while."""
        raise NotImplementedError

    def test_it_says_what_it_is(self, open_orderer: Callable[[], Orderer]) -> None:
        """Kind, faults and limits are there, and references tell heights apart."""
        orderer = open_orderer()
        assert orderer.kind
        assert orderer.faults in ("none", "crash", "byzantine")
        assert orderer.max_batch >= _LARGEST
        assert orderer.reference(1) != orderer.reference(2)

    def test_an_empty_order_starts_at_zero(self, engine: Engine, open_orderer: Callable[[], Orderer]) -> None:
        """Nothing is ordered before the first proposal, and beginning at 0 changes nothing."""
        orderer = open_orderer()
        assert orderer.head() == 0
        assert list(orderer.follow(0)) == []
        orderer.begin(0)
        assert orderer.head() == 0
        _propose(engine, orderer, 0, b"first")
        orderer.begin(0)
        assert list(orderer.follow(0)) == [(0, b"first")]

    def test_an_order_begins_where_it_is_told_to(
        self, engine: Engine, open_orderer: Callable[[], Orderer]
    ) -> None:
        """A ledger moves to an engine at some height; doing that again at any later time changes nothing."""
        open_orderer().begin(7)
        assert open_orderer().head() == 7
        assert list(open_orderer().follow(7)) == []
        for wrong in (0, 6, 8):
            with pytest.raises(OrderConflict):
                _propose(engine, open_orderer(), wrong, b"elsewhere")
        for height in (7, 8, 9):
            open_orderer().begin(7)
            _propose(engine, open_orderer(), height, b"%d" % height)
        open_orderer().trim(9)
        open_orderer().begin(7)
        assert open_orderer().head() == 10
        assert list(open_orderer().follow(9)) == [(9, b"9")]

    def test_an_open_order_does_not_begin_elsewhere(
        self, engine: Engine, open_orderer: Callable[[], Orderer]
    ) -> None:
        """Beginning at another height is refused and changes nothing."""
        open_orderer().begin(7)
        for height in (0, 6, 8):
            with pytest.raises(OrderConflict):
                open_orderer().begin(height)
        _propose(engine, open_orderer(), 7, b"7")
        for height in (0, 6, 8):
            with pytest.raises(OrderConflict):
                open_orderer().begin(height)
        assert list(open_orderer().follow(7)) == [(7, b"7")]

    def test_an_order_that_is_over_makes_room(
        self, engine: Engine, open_orderer: Callable[[], Orderer]
    ) -> None:
        """A ledger that comes back to an engine begins anew, above all that was ordered there."""
        for height in range(3):
            _propose(engine, open_orderer(), height, b"old")
        open_orderer().begin(9)
        assert (open_orderer().head(), list(open_orderer().follow(0))) == (9, [])
        _propose(engine, open_orderer(), 9, b"new")
        assert list(open_orderer().follow(9)) == [(9, b"new")]
        with pytest.raises(OrderConflict):
            _propose(engine, open_orderer(), 3, b"old")

    def test_batches_come_back_in_order_without_gap(
        self, engine: Engine, open_orderer: Callable[[], Orderer]
    ) -> None:
        """Whoever follows gets every batch once, from any height, also from another process."""
        batches = [(height, b"batch %d" % height) for height in range(120)]
        orderer = open_orderer()
        for height, batch in batches:
            _propose(engine, orderer, height, batch)
        assert open_orderer().head() == 120
        assert list(open_orderer().follow(0)) == batches
        assert list(open_orderer().follow(117)) == batches[117:]
        assert list(open_orderer().follow(120)) == []

    def test_whoever_follows_goes_on_where_it_was(
        self, engine: Engine, open_orderer: Callable[[], Orderer]
    ) -> None:
        """Following again after each batch gives each batch once."""
        writer, reader = open_orderer(), open_orderer()
        seen: list[tuple[int, bytes]] = []
        for height in range(5):
            _propose(engine, writer, height, b"%d" % height)
            seen += reader.follow(len(seen))
        assert seen == [(height, b"%d" % height) for height in range(5)]

    def test_a_height_is_given_once(self, engine: Engine, open_orderer: Callable[[], Orderer]) -> None:
        """A second batch for a height is refused, and so is the same one again; the first stays."""
        _propose(engine, open_orderer(), 0, b"first")
        for batch in (b"second", b"first"):
            with pytest.raises(OrderConflict):
                _propose(engine, open_orderer(), 0, batch)
        assert list(open_orderer().follow(0)) == [(0, b"first")]

    def test_no_height_is_left_out(self, engine: Engine, open_orderer: Callable[[], Orderer]) -> None:
        """A batch beyond the next height is refused."""
        with pytest.raises(OrderConflict):
            _propose(engine, open_orderer(), 1, b"early")
        assert open_orderer().head() == 0

    @pytest.mark.parametrize("size", [1, 3 * 1024 * 1024])
    def test_of_many_writers_one_gets_the_height(
        self, engine: Engine, open_orderer: Callable[[], Orderer], size: int
    ) -> None:
        """Compare-and-swap holds between concurrent writers, also where a batch goes in parts."""
        won: list[int] = []
        lost: list[int] = []
        orderers = [open_orderer() for _ in range(_WRITERS)]
        start = threading.Barrier(_WRITERS)

        def write(writer: int) -> None:
            start.wait()
            try:
                _propose(engine, orderers[writer], 0, b"%d" % writer * size)
            except (OrderConflict, StoreUnavailable):
                lost.append(writer)
            else:
                won.append(writer)

        _all_at_once(write)
        assert (len(won), len(lost)) == (1, 3)
        assert list(open_orderer().follow(0)) == [(0, b"%d" % won[0] * size)]

    def test_writers_that_compete_leave_one_order(
        self, engine: Engine, open_orderer: Callable[[], Orderer]
    ) -> None:
        """Who writes where it finds the end, again and again, is acknowledged for what everyone reads."""
        acknowledged: dict[int, bytes] = {}
        orderers = [open_orderer() for _ in range(_WRITERS)]

        def write(writer: int) -> None:
            orderer = orderers[writer]
            while (height := _recovered(orderer)) < 20:
                batch = b"%d of %d" % (height, writer)
                try:
                    _propose(engine, orderer, height, batch)
                except (OrderConflict, StoreUnavailable):
                    continue
                assert acknowledged.setdefault(height, batch) == batch

        _all_at_once(write)
        assert dict(open_orderer().follow(0)) == acknowledged

    def test_trimming_keeps_the_end(self, engine: Engine, open_orderer: Callable[[], Orderer]) -> None:
        """What is trimmed is gone; height and last batch stay, also when all is trimmed."""
        for height in range(5):
            _propose(engine, open_orderer(), height, b"%d" % height)
        open_orderer().trim(3)
        assert list(open_orderer().follow(0)) == [(3, b"3"), (4, b"4")]
        open_orderer().trim(99)
        open_orderer().trim(99)
        assert open_orderer().head() == 5
        for height in range(5):
            with pytest.raises(OrderConflict):
                _propose(engine, open_orderer(), height, b"again")
        _propose(engine, open_orderer(), 5, b"5")
        assert list(open_orderer().follow(0)) == [(4, b"4"), (5, b"5")]

    def test_a_large_batch_fits(self, engine: Engine, open_orderer: Callable[[], Orderer]) -> None:
        """A full batch of the largest entries is taken, read back and trimmed."""
        batch = b"".join(number.to_bytes(4, "big") for number in range(_LARGEST // 4))
        orderer = open_orderer()
        _propose(engine, orderer, 0, batch)
        _propose(engine, orderer, 1, b"small")
        assert list(open_orderer().follow(0)) == [(0, batch), (1, b"small")]
        open_orderer().trim(1)
        assert list(open_orderer().follow(1)) == [(1, b"small")]

    def test_an_outage_is_told_and_ends(
        self,
        engine: Engine,
        open_orderer: Callable[[], Orderer],
        outage: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """Nothing is acknowledged meanwhile, and reads fail or are right; then the next height is found."""
        orderer = open_orderer()
        _propose(engine, orderer, 0, b"before")
        with outage():
            with pytest.raises(StoreUnavailable) as told:
                _propose(engine, orderer, 1, b"unknown")
            assert told.value.retryable
            with suppress(StoreUnavailable):
                assert list(orderer.follow(0)) == [(0, b"before")]
        _propose_after(engine, orderer, b"after")
        ordered = list(open_orderer().follow(0))
        assert [height for height, _ in ordered] == list(range(len(ordered)))
        assert (ordered[0][1], ordered[-1][1]) == (b"before", b"after")
        assert {batch for _, batch in ordered[1:-1]} <= {b"unknown", b"after"}

    def test_closing_twice_is_allowed(self, open_orderer: Callable[[], Orderer]) -> None:
        """An orderer lets go of what it holds; another one goes on."""
        orderer = open_orderer()
        orderer.close()
        orderer.close()
        assert open_orderer().head() == 0


def _all_at_once(work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(_WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _recovered(orderer: Orderer) -> int:
    """Return the next height once the engine answers again."""
    deadline = time.monotonic() + _RECOVERY_S
    while True:
        try:
            return orderer.head()
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise


def _propose_after(engine: Engine, orderer: Orderer, batch: bytes) -> None:
    """Order a batch after an outage; what was unknown may turn out to be ordered meanwhile."""
    deadline = time.monotonic() + _RECOVERY_S
    while True:
        try:
            return _propose(engine, orderer, _recovered(orderer), batch)
        except (OrderConflict, StoreUnavailable):
            if time.monotonic() > deadline:
                raise


def _propose(engine: Engine, orderer: Orderer, height: int, batch: bytes) -> None:
    with engine.begin() as connection:
        orderer.propose(height, batch, connection)
