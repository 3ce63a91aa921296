# ruff: noqa: S101 - a conformance suite asserts
"""The conformance suite of order engines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine

from ledger.errors import OrderConflict
from ledger.orderer import Orderer

__all__ = ["OrdererContract"]


class OrdererContract:
    """Subclass it and provide the fixtures ``engine`` and ``open_orderer``; each promise is a test here.

    ``open_orderer()`` opens the same order again, as another process would. ``engine`` is the database of the
    store that integrates; a test's transaction on it commits unless the test fails it.
    """

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        """The database whose transaction the proposals run in."""
        raise NotImplementedError

    @pytest.fixture
    def open_orderer(self) -> Callable[[], Orderer]:
        """Open the order under test."""
        raise NotImplementedError

    def test_it_says_what_it_is(self, open_orderer: Callable[[], Orderer]) -> None:
        """Kind, faults and limits are there, and references tell heights apart."""
        orderer = open_orderer()
        assert orderer.kind
        assert orderer.faults in ("none", "crash", "byzantine")
        assert orderer.max_batch >= 200 * 32 * 1024
        assert orderer.reference(1) != orderer.reference(2)

    def test_an_empty_order_starts_at_zero(self, open_orderer: Callable[[], Orderer]) -> None:
        """Nothing is ordered before the first proposal."""
        assert open_orderer().head() == 0
        assert list(open_orderer().follow(0)) == []

    def test_batches_come_back_in_order_without_gap(
        self, engine: Engine, open_orderer: Callable[[], Orderer]
    ) -> None:
        """Whoever follows gets every batch once, from any height, also after a restart."""
        batches = [(height, b"batch %d" % height) for height in range(120)]
        for height, batch in batches:
            _propose(engine, open_orderer(), height, batch)
        assert open_orderer().head() == 120
        assert list(open_orderer().follow(0)) == batches
        assert list(open_orderer().follow(117)) == batches[117:]
        assert list(open_orderer().follow(120)) == []

    def test_a_height_is_given_once(self, engine: Engine, open_orderer: Callable[[], Orderer]) -> None:
        """A second batch for a height is refused, and the first stays."""
        _propose(engine, open_orderer(), 0, b"first")
        with pytest.raises(OrderConflict):
            _propose(engine, open_orderer(), 0, b"second")
        assert list(open_orderer().follow(0)) == [(0, b"first")]

    def test_no_height_is_left_out(self, engine: Engine, open_orderer: Callable[[], Orderer]) -> None:
        """A batch beyond the next height is refused."""
        with pytest.raises(OrderConflict):
            _propose(engine, open_orderer(), 1, b"early")
        assert open_orderer().head() == 0

    def test_of_many_writers_one_gets_the_height(
        self, engine: Engine, open_orderer: Callable[[], Orderer]
    ) -> None:
        """Compare-and-swap holds between concurrent writers."""
        won: list[int] = []
        lost: list[int] = []
        start = threading.Barrier(4)

        def write(writer: int) -> None:
            orderer = open_orderer()
            start.wait()
            try:
                _propose(engine, orderer, 0, b"writer %d" % writer)
            except OrderConflict:
                lost.append(writer)
            else:
                won.append(writer)

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(lost)) == (1, 3)
        assert list(open_orderer().follow(0)) == [(0, b"writer %d" % won[0])]

    def test_trimming_keeps_the_end(self, engine: Engine, open_orderer: Callable[[], Orderer]) -> None:
        """What is trimmed is gone; height and last batch stay, also when all is trimmed."""
        for height in range(5):
            _propose(engine, open_orderer(), height, b"%d" % height)
        open_orderer().trim(3)
        assert list(open_orderer().follow(3)) == [(3, b"3"), (4, b"4")]
        open_orderer().trim(99)
        assert open_orderer().head() == 5
        _propose(engine, open_orderer(), 5, b"5")
        assert list(open_orderer().follow(4)) == [(4, b"4"), (5, b"5")]

    def test_a_large_batch_fits(self, engine: Engine, open_orderer: Callable[[], Orderer]) -> None:
        """A full batch of the largest entries is taken."""
        batch = bytes(201 * 32 * 1024)
        _propose(engine, open_orderer(), 0, batch)
        assert list(open_orderer().follow(0)) == [(0, batch)]


def _propose(engine: Engine, orderer: Orderer, height: int, batch: bytes) -> None:
    with engine.begin() as connection:
        orderer.propose(height, batch, connection)
