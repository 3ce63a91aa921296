"""The SQL order engine passes the conformance suite on both databases."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ledger.errors import StoreUnavailable
from ledger.orderer import Orderer, SqlOrderer
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

    def test_a_transaction_that_fails_orders_nothing(self, engine: Engine) -> None:
        orderer = SqlOrderer(engine)
        with engine.connect() as connection:
            orderer.propose(0, b"lost", connection)
            connection.rollback()
        assert orderer.head() == 0

    def test_an_unreachable_database_is_told_as_such(self, engine: Engine) -> None:
        orderer = SqlOrderer(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE ledger_batches")
        for act in (orderer.head, lambda: list(orderer.follow(0)), lambda: orderer.trim(1)):
            with pytest.raises(StoreUnavailable):
                act()
        with pytest.raises(StoreUnavailable), engine.begin() as connection:
            orderer.propose(0, b"x", connection)
