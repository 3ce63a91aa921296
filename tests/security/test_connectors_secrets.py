"""Neither passwords nor cells reach a message, a repr or a traceback."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from sqlalchemy import make_url

from connectors import (
    ConnectorError,
    InvalidSource,
    SourceSpec,
    columns,
    dataset_version,
    identifiers,
    open_source,
    profiles,
)

CANARY = "canary-4a7f"


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def locations(port: int) -> list[str]:
    return [
        f"postgresql+psycopg://steward:{CANARY}@127.0.0.1:{port}/loans",
        f"postgresql+psycopg://steward:p%40ss%2Fcanary-4a7f@127.0.0.1:{port}/loans",
        f"postgresql+psycopg://steward@127.0.0.1:{port}/loans?password={CANARY}",
        f"postgresql+psycopg://steward:{CANARY}@127.0.0.1:not-a-port/loans",
        f"postgresql+psycopg://steward:{CANARY}@127.0.0.1:{port}/loans?{CANARY}=1",
        f"mysql://steward:{CANARY}@127.0.0.1/loans",
        f"mariadb+pymysql://steward:{CANARY}@127.0.0.1:{port}/loans",
        f"mysql+pymysql://steward:p%40ss%2Fcanary-4a7f@127.0.0.1:{port}/loans",
        f"mysql+pymysql://steward@127.0.0.1:{port}/loans?passwd={CANARY}",
        f"://{CANARY}",
    ]


@pytest.mark.parametrize("which", range(10))
def test_a_password_is_in_no_error_traceback_or_log(
    which: int, closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    spec = SourceSpec("table", locations(closed_port)[which], "loans")
    with pytest.raises(ConnectorError) as caught:
        open_source(spec, roots=[])
    seen = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(vars(caught.value))
    assert "canary" not in seen
    assert "canary" not in caplog.text


def test_a_password_is_in_no_repr() -> None:
    spec = SourceSpec("table", locations(5432)[1], "loans")
    assert "canary" not in repr(spec)
    assert spec.display == "postgresql+psycopg://steward:***@127.0.0.1:5432/loans"


@pytest.mark.postgresql
def test_a_password_that_postgresql_refuses_is_in_no_error() -> None:
    refused_by("PARLEY_TEST_POSTGRESQL")


@pytest.mark.mariadb
def test_a_password_that_mariadb_refuses_is_in_no_error() -> None:
    refused_by("PARLEY_TEST_MARIADB")


def refused_by(variable: str) -> None:
    location = os.environ.get(variable)
    if not location:
        pytest.skip(f"{variable} names no server")
    url = make_url(location).set(username=f"no-{CANARY[:6]}", password=CANARY, database="absent")
    with pytest.raises(ConnectorError) as caught:
        open_source(SourceSpec("table", url.render_as_string(hide_password=False), "t"), roots=[])
    seen = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert CANARY not in seen


@pytest.mark.parametrize(
    "option",
    [
        "mysql+pymysql://u@h/d?local_infile=1",
        "mysql+pymysql://u@h/d?read_default_file=/etc/my.cnf",
        "mariadb+pymysql://u@h/d?init_command=DROP+TABLE+t",
        "postgresql+psycopg://u@h/d?passfile=/etc/shadow",
        "postgresql+psycopg://u@h/d?service=other",
        "postgresql+psycopg://u@h/d?options=-c+default_transaction_read_only%3Doff",
    ],
)
def test_driver_options_that_read_files_or_run_statements_are_refused(option: str) -> None:
    with pytest.raises(InvalidSource, match="expected options among"):
        open_source(SourceSpec("table", option, "t"), roots=[])


def read_all(path: Path) -> object:
    source = open_source(SourceSpec("file", path.name), roots=[path.parent])
    return list(source.batches(source.schema().names))


def broken_csv(path: Path) -> object:
    path.with_name("t.csv").write_text("a,b\n" + "1,2\n" * 4000 + f"{CANARY},1,2\n")
    return read_all(path.with_name("t.csv"))


def wrongly_encoded_csv(path: Path) -> object:
    path.with_name("t.csv").write_bytes(f"a,b\n1,{CANARY}".encode() + b"\xe9\n")
    return read_all(path.with_name("t.csv"))


def damaged_parquet(path: Path) -> object:
    target = path.with_name("t.parquet")
    pa.parquet.write_table(pa.table({"a": [CANARY] * 5000}), target, compression="none", use_dictionary=False)
    content = bytearray(target.read_bytes())
    content[100:200] = bytes(b ^ 0xFF for b in content[100:200])
    target.write_bytes(bytes(content))
    return read_all(target)


def mistyped_sqlite(path: Path) -> object:
    with closing(sqlite3.connect(path.with_name("t.db"))) as database, database:
        database.execute("CREATE TABLE t (a INTEGER)")
        database.execute("INSERT INTO t VALUES (?)", [CANARY])
    source = open_source(SourceSpec("table", "sqlite:///t.db", "t"), roots=[path.parent])
    return dataset_version(source, bytes(32))


def doubled_identifiers(_: Path) -> object:
    return identifiers.check(pa.array([CANARY, CANARY]))


def text_measures(_: Path) -> object:
    return columns.measure_array([pa.record_batch({"m": [CANARY]})], "m")


@pytest.mark.parametrize(
    "fault",
    [broken_csv, wrongly_encoded_csv, damaged_parquet, mistyped_sqlite, doubled_identifiers, text_measures],
)
def test_a_cell_is_in_no_error(fault: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(ConnectorError) as caught:
        fault(tmp_path / "t")
    seen = "".join(
        line
        for line in traceback.format_exception(caught.value)
        if "CANARY" not in line  # the test's own source
    )
    assert CANARY not in seen + repr(caught.value) + repr(vars(caught.value))


def test_a_profile_holds_no_cell_unless_ranges_are_asked(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"a": [CANARY, "b"], "n": [987654321, 1]}), tmp_path / "t.parquet")
    source = open_source(SourceSpec("file", "t.parquet"), roots=[tmp_path])
    written = str(profiles.profile(source).as_json())
    assert CANARY not in written
    assert "987654321" not in written


def test_duckdb_can_open_only_the_file_it_was_given(tmp_path: Path) -> None:
    import duckdb

    from connectors.files import _database

    (tmp_path / "mine.csv").write_text("a\n1\n")
    (tmp_path / "other.csv").write_text("a\n2\n")
    with _database(tmp_path / "mine.csv") as database:
        mine = database.sql("SELECT * FROM read_csv($path)", params={"path": str(tmp_path / "mine.csv")})
        assert mine.fetchall() == [(1,)]
        for statement in (
            f"SELECT * FROM read_csv('{tmp_path}/other.csv')",  # noqa: S608
            f"SELECT * FROM read_csv('{tmp_path}/*.csv')",  # noqa: S608
            f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
            f"ATTACH '{tmp_path}/new.db'",
            "SET enable_external_access = true",
            "INSTALL httpfs",
        ):
            with pytest.raises(duckdb.Error):
                database.sql(statement).fetchall()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.csv", "other.csv"]
