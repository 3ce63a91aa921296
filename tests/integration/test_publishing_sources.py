"""Examining tables of real databases and of files of every type, and drawing twins of them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    create_engine,
)

from connectors import open_source, profiles
from connectors.connector import Connector
from connectors.spec import SourceSpec
from exchange.node.examination import examine
from exchange.publishing import twin
from exchange.publishing.content import Content
from exchange.publishing.twin import TwinColumn

ROWS = 400
DAY = datetime(2026, 1, 1)  # noqa: DTZ001 - the column has no zone


def rows() -> list[dict[str, Any]]:
    return [
        {
            "mobile": f"138{i:08d}",
            "visits": i % 37,
            "total": 5_000_000_000 + i * 7919,
            "fee": Decimal(i * 31 % 9999) / 100,
            "rate": None if i % 10 == 0 else i / 7,
            "born": date(1960, 1, 1) + timedelta(days=i * 29),
            "seen": DAY + timedelta(hours=i),
            "open": i % 3 == 0,
            "band": ("low", "mid", "high")[i % 3],
        }
        for i in range(ROWS)
    ]


@contextmanager
def table_at(url: str, roots: list[Path]) -> Iterator[Connector]:
    name = f"people_{uuid.uuid4().hex[:12]}"
    engine = create_engine(url)
    made = Table(
        name,
        MetaData(),
        Column("mobile", String(20)),
        Column("visits", Integer),
        Column("total", BigInteger),
        Column("fee", Numeric(9, 2)),
        Column("rate", Double),
        Column("born", Date),
        Column("seen", DateTime),
        Column("open", Boolean),
        Column("band", String(10)),
    )
    try:
        made.create(engine)
        with engine.begin() as connection:
            connection.execute(made.insert(), rows())
        connector = open_source(SourceSpec("table", url, name), roots=roots)
        try:
            yield connector
        finally:
            connector.close()
    finally:
        made.drop(engine)
        engine.dispose()


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("PARLEY_TEST_POSTGRESQL", marks=pytest.mark.postgresql),
        pytest.param("PARLEY_TEST_MARIADB", marks=pytest.mark.mariadb),
    ]
)
def connector(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connector]:
    url = f"sqlite:///{tmp_path}/owner.db" if request.param == "sqlite" else os.environ.get(request.param)
    if not url:
        pytest.skip(f"{request.param} names no server")
    with table_at(url, [tmp_path]) as opened:
        yield opened


def test_a_database_table_is_examined_and_twinned(connector: Connector) -> None:
    found = examine(connector)
    suggested = {one.column: one for one in found.suggestions}
    assert (suggested["mobile"].role, suggested["mobile"].content) == ("identifier", Content.PHONE)
    assert suggested["fee"].sensitivity == "internal"
    assert suggested["born"].content is Content.BIRTH_DATE
    report = found.report({"mobile": "identifier", "seen": "time"}, date(2026, 2, 1))
    assert (report.rows, report.duplicate_rows, report.uniqueness) == (ROWS, 0, 1_000_000)
    assert report.freshness_days == 15
    assert {one.name: one.completeness for one in report.columns}["rate"] == 900_000
    check_twin(connector, [one.column for one in found.suggestions if one.column != "mobile"], ["mobile"])


def check_twin(connector: Connector, drawn: list[str], invented: list[str]) -> pa.Table:
    columns = [TwinColumn(name, "identifier", "internal", Content.PHONE) for name in invented]
    columns += [TwinColumn(name, "feature", "internal", None) for name in drawn]
    rng = np.random.default_rng(3)
    made = twin.make(connector, profiles.profile(connector), columns, rows=100, epsilon=50.0, rng=rng)
    names = [*invented, *drawn]
    assert made.schema.types == [connector.schema().field(name).type for name in names]
    source = pa.Table.from_batches(connector.batches(names))
    known = {tuple(row[name] for name in drawn) for row in source.to_pylist()}
    assert not [row for row in made.to_pylist() if tuple(row[name] for name in drawn) in known]
    return made


def test_every_type_of_a_file_can_be_examined_and_twinned(tmp_path: Path) -> None:
    count = 300
    number = np.arange(count)
    arrays = {
        "code": pa.array([f"K{i:04d}" for i in number]),
        "tiny": pa.array(number % 128, pa.int8()),
        "unsigned": pa.array(number % 256, pa.uint8()),
        "wide": pa.array([2**63 + int(i) for i in number], pa.uint64()),
        "half": pa.array((number / 3).astype(np.float32)),
        "nan": pa.array([float("nan")] * count),
        "small": pa.array([Decimal(int(i)) / 10 for i in number % 1000], pa.decimal128(3, 1)),
        "clock": pa.array([time(int(i) % 24, int(i) % 60) for i in number], pa.time64("us")),
        "zoned": pa.array([datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=int(i)) for i in number]),
        "choice": pa.array([("a", "b")[int(i) % 2] for i in number]).dictionary_encode(),
        "blob": pa.array([bytes([int(i) % 256]) for i in number]),
        "empty": pa.nulls(count, pa.string()),
    }
    pa.parquet.write_table(pa.table(arrays), tmp_path / "all.parquet")
    opened = open_source(SourceSpec("file", "all.parquet"), roots=[tmp_path])
    found = examine(opened)
    assert [one.column for one in found.suggestions] == list(arrays)
    assert 0 < found.report({}, date(2026, 2, 1)).completeness < 1_000_000
    made = check_twin(opened, [name for name in arrays if name != "code"], ["code"])
    assert max(made.column("tiny").to_pylist()) <= 127
    assert made.column("empty").null_count == 100
