"""The synthetic twin: same schema, like distributions, no copied row, no value that few have."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import profiles
from connectors.files import FileConnector
from exchange.errors import Conflict
from exchange.publishing import checksums, made_up, twin
from exchange.publishing.content import Content
from exchange.publishing.marginals import FLOOR, bounds, noisy
from exchange.publishing.twin import TwinColumn

ROWS = 5000
CANARY = "沈清秋-7340033"
OUTLIER = 7_340_033.25
COLUMNS = (
    TwinColumn("citizen", "identifier", "secret", Content.RESIDENT_IDENTITY),
    TwinColumn("remark", "text", "confidential", None),
    TwinColumn("band", "group", "internal", None),
    TwinColumn("income", "measure", "confidential", None),
    TwinColumn("fee", "measure", "internal", None),
    TwinColumn("joined", "time", "internal", None),
    TwinColumn("active", "label", "internal", None),
    TwinColumn("visits", "feature", "internal", None),
)


def source() -> pa.Table:
    rng = np.random.default_rng(11)
    bands = rng.choice(["low", "mid", "high"], ROWS, p=[0.6, 0.3, 0.1]).tolist()
    bands[17] = CANARY
    income = np.round(rng.lognormal(8, 0.5, ROWS), 2)
    income[17] = OUTLIER
    remarks = [f"remark {i}" for i in range(ROWS)]
    remarks[17] = CANARY
    return pa.table(
        {
            "citizen": [f"1101051949123{i:05d}" for i in range(ROWS)],
            "remark": remarks,
            "band": bands,
            "income": income,
            "fee": pa.array(
                [Decimal(int(v)) / 100 for v in rng.integers(0, 5000, ROWS)], pa.decimal128(9, 2)
            ),
            "joined": pa.array([date(2020, 1, 1 + int(v)) for v in rng.integers(0, 28, ROWS)]),
            "active": pa.array([None if v < 0.1 else v < 0.7 for v in rng.random(ROWS)]),
            "visits": pa.array(rng.poisson(40, ROWS), pa.int32()),
        }
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, pa.Table]:
    path = tmp_path_factory.mktemp("twin") / "source.parquet"
    pa.parquet.write_table(source(), path)
    return source(), draw(path, COLUMNS, 2000)


def draw(path: Path, columns: tuple[TwinColumn, ...], rows: int, epsilon: float = 5.0) -> pa.Table:
    connector = FileConnector(path)
    profile = profiles.profile(connector)
    rng = np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence().entropy))
    return twin.make(connector, profile, columns, rows=rows, epsilon=epsilon, rng=rng)


def test_the_schema_is_that_of_the_source(made: tuple[pa.Table, pa.Table]) -> None:
    assert made[1].schema == made[0].schema
    assert made[1].num_rows == 2000


def test_distributions_are_near(made: tuple[pa.Table, pa.Table]) -> None:
    for name in ("income", "visits", "fee"):
        ours, theirs = (np.array(one.column(name).drop_null().to_pylist(), dtype=float) for one in made)
        ours = np.minimum(ours, np.quantile(ours, 0.995))
        assert abs(np.mean(theirs) - np.mean(ours)) < 0.15 * np.mean(ours), name
        assert 0.7 < np.std(theirs) / np.std(ours) < 1.4, name
    shares = [pc.mean(pc.equal(one.column("band"), "low")).as_py() for one in made]
    assert abs(shares[0] - shares[1]) < 0.1
    nulls = [one.column("active").null_count / one.num_rows for one in made]
    assert abs(nulls[0] - nulls[1]) < 0.06


def test_no_row_of_the_source_and_no_identifier_stands_in_it(made: tuple[pa.Table, pa.Table]) -> None:
    compared = ["band", "income", "fee", "joined", "active", "visits"]
    known = {tuple(row.values()) for row in made[0].select(compared).to_pylist()}
    assert not [row for row in made[1].select(compared).to_pylist() if tuple(row.values()) in known]
    for name in ("citizen", "remark"):
        assert not set(made[0].column(name).to_pylist()) & set(made[1].column(name).to_pylist())


def test_what_one_row_has_never_appears(made: tuple[pa.Table, pa.Table]) -> None:
    shown = str(made[1].to_pylist())
    assert CANARY not in shown
    assert pc.max(made[1].column("income")).as_py() < OUTLIER / 10
    # The number of missing values has noise, too: there may be some where the data has none.
    assert set(made[1].column("band").drop_null().to_pylist()) <= {"low", "mid", "high", "other"}


def test_made_up_identifiers_are_nobodys(made: tuple[pa.Table, pa.Table]) -> None:
    citizens = made[1].column("citizen").combine_chunks()
    assert all(value.startswith("990000") and len(value) == 18 for value in citizens.to_pylist())
    assert not checksums.resident_identity(citizens).any()


def test_a_row_that_few_have_is_drawn_again_and_where_all_are_taken_there_is_no_twin(tmp_path: Path) -> None:
    path = tmp_path / "crowded.parquet"
    grid = {"a": [i % 20 for i in range(400)], "b": [i // 20 for i in range(400)]}
    pa.parquet.write_table(pa.table(grid), path)
    columns = (TwinColumn("a", "measure", "internal", None), TwinColumn("b", "measure", "internal", None))
    with pytest.raises(Conflict, match="nearly every combination"):
        draw(path, columns, 100)
    assert draw(path, columns[:1], 100).num_rows == 100


def test_a_secret_column_is_made_up_whatever_its_role(tmp_path: Path) -> None:
    path = tmp_path / "secret.parquet"
    pa.parquet.write_table(pa.table({"grade": ["a", "b"] * 500, "n": list(range(1000))}), path)
    columns = (TwinColumn("grade", "group", "secret", None), TwinColumn("n", "measure", "internal", None))
    found = draw(path, columns, 50)
    assert all(value.startswith("TWIN-") for value in found.column("grade").to_pylist())


@settings(max_examples=40)
@given(st.sampled_from([*Content, None]), st.integers(1, 30), st.integers(0, 2**64))
def test_values_are_made_up_for_every_type(content: Content | None, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for kind in (
        pa.string(),
        pa.large_string(),
        pa.int8(),
        pa.int32(),
        pa.int64(),
        pa.binary(),
        pa.float64(),
    ):
        made_of_kind = made_up.values(kind, content, count, rng)
        assert (made_of_kind.type, len(made_of_kind)) == (kind, count)


@given(st.lists(st.floats(-1e12, 1e12, allow_nan=False), min_size=1, max_size=50))
def test_bounds_are_rounded_outwards(sample: list[float]) -> None:
    low, high = bounds(np.array(sample))
    inner = np.quantile(np.array(sample), (0.005, 0.995))
    assert low <= inner[0]
    assert high >= inner[1]


def test_noise_is_two_sided_and_of_the_stated_scale() -> None:
    rng: Any = np.random.default_rng(5)
    errors = noisy(np.full(20_000, 1000, dtype=np.int64), 0.5, rng) - 1000
    assert abs(errors.mean()) < 0.1
    assert 1.8 < np.abs(errors).mean() < 2.1  # two-sided geometric with epsilon 0.5
    assert noisy(np.zeros(1000, dtype=np.int64), 0.1, rng).min() == 0
    assert FLOOR == 10
