"""The order engine in the hub's own database passes the conformance suite on both databases."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ledger.errors import StoreUnavailable
from ledger.orderers import Orderer
from ledger.orderers.sql import SqlOrderer
from ledger.testing import OrdererContract, throw_away_engine


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with throw_away_engine(request.param, tmp_path) as opened:
        yield opened


class TestSqlOrderer(OrdererContract):
    @pytest.fixture
    def engine(self, engine: Engine) -> Engine:
        return engine

    @pytest.fixture
    def open_orderer(self, engine: Engine) -> Callable[[], Orderer]:
        return lambda: SqlOrderer(engine)

    @pytest.fixture
    def outage(self, engine: Engine) -> Callable[[], AbstractContextManager[None]]:
        @contextmanager
        def without_the_table() -> Iterator[None]:
            rename(engine, "ledger_batches", "gone")
            try:
                yield
            finally:
                rename(engine, "gone", "ledger_batches")

        return without_the_table

    def test_a_transaction_that_fails_orders_nothing(self, engine: Engine) -> None:
        orderer = SqlOrderer(engine)
        with engine.connect() as connection:
            orderer.propose(0, b"lost", connection)
            connection.rollback()
        assert orderer.head() == 0

    def test_an_order_does_not_begin_without_its_table(self, engine: Engine) -> None:
        rename(engine, "ledger_batches", "gone")
        with pytest.raises(StoreUnavailable):
            SqlOrderer(engine).begin(3)


def rename(engine: Engine, old: str, new: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")
