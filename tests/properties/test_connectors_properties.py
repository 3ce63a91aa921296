"""One table has one fingerprint, whichever source holds it; normalising is stable."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import SourceSpec, dataset_version, identifiers, open_source
from connectors.errors import InvalidIdentifiers

SALT = b"s" * 16
# CSV cannot tell an empty text from a missing one, and DuckDB reads NUL as the end of a line's field.
TEXTS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=8)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
CENTS = st.integers(-(10**10), 10**10).map(lambda cents: Decimal(cents).scaleb(-2))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DATES = st.dates(date(1, 1, 1), date(9999, 12, 31))
TYPES = {
    "t": (TEXTS, pa.string(), "TEXT"),
    "i": (INTEGERS, pa.int64(), "INTEGER"),
    "d": (CENTS, pa.decimal128(12, 2), "DECIMAL(12, 2)"),
    "f": (FLOATS, pa.float64(), "REAL"),
    "y": (DATES, pa.date32(), "DATE"),
}


@st.composite
def tables(draw: st.DrawFn, names: str) -> pa.Table:
    rows = draw(st.integers(1, 6))
    return pa.table(
        {
            name: pa.array(
                draw(st.lists(st.none() | TYPES[name][0], min_size=rows, max_size=rows)), TYPES[name][1]
            )
            for name in names
        }
    )


def version(folder: Path, spec: SourceSpec, text_columns: tuple[str, ...] = ()) -> str:
    connector = open_source(spec, roots=[folder], text_columns=text_columns)
    root = dataset_version(connector, SALT).root
    connector.close()
    return root


def in_parquet(folder: Path, table: pa.Table) -> str:
    pa.parquet.write_table(table, folder / "t.parquet", row_group_size=2)
    return version(folder, SourceSpec("file", "t.parquet"))


def in_arrow(folder: Path, table: pa.Table) -> str:
    with pa.ipc.new_file(folder / "t.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return version(folder, SourceSpec("file", "t.arrow"))


def in_sqlite(folder: Path, table: pa.Table) -> str:
    declared = ", ".join(f"{name} {TYPES[name][2]}" for name in table.schema.names)
    marks = ", ".join("?" * table.num_columns)
    with closing(sqlite3.connect(folder / "t.db")) as database, database:
        database.execute(f"CREATE TABLE t ({declared})")
        database.executemany(
            f"INSERT INTO t VALUES ({marks})",  # noqa: S608 - question marks
            [tuple(stored(value) for value in row.values()) for row in table.to_pylist()],
        )
    return version(folder, SourceSpec("table", "sqlite:///t.db", "t"))


def in_csv(folder: Path, table: pa.Table) -> str:
    pa.csv.write_csv(table, folder / "t.csv")
    return version(folder, SourceSpec("file", "t.csv"), ("t",))


def stored(value: object) -> object:
    return str(value) if isinstance(value, Decimal | date) else value


@settings(max_examples=25, deadline=None)
@given(tables("tidfy"))
def test_sqlite_parquet_and_arrow_agree_on_the_fingerprint(table: pa.Table) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assert in_parquet(folder, table) == in_arrow(folder, table) == in_sqlite(folder, table)


@settings(max_examples=25, deadline=None)
@given(tables("ti"))
def test_csv_agrees_where_its_types_can_be_told(table: pa.Table) -> None:
    whole = table.filter(table["i"].is_valid())
    if whole.num_rows == 0:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assert in_csv(folder, whole) == in_parquet(folder, whole)


@settings(max_examples=50, deadline=None)
@given(tables("tidfy"), tables("tidfy"))
def test_different_tables_have_different_fingerprints(left: pa.Table, right: pa.Table) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        same = in_arrow(folder, left) == in_arrow(folder, right)
    assert same is (canonical(left) == canonical(right))


def canonical(table: pa.Table) -> list[dict[str, object]]:
    return [
        {key: 0.0 if isinstance(value, float) and value == 0 else value for key, value in row.items()}
        for row in table.to_pylist()
    ]


@given(
    st.lists(st.sampled_from(sorted(identifiers.RULES)), max_size=4, unique=True),
    st.text(max_size=12) | st.from_regex(r"(\+86|0|0086)?1[3-9][0-9]{9}", fullmatch=True),
)
def test_normalising_again_with_the_last_rule_changes_nothing(rules: list[str], text: str) -> None:
    try:
        once = identifiers.normalise(pa.array([text]), rules)
    except InvalidIdentifiers:  # no identity or telephone number
        return
    assert identifiers.normalise(once, rules[-1:]).equals(once)
