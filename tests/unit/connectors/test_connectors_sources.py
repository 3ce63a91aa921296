"""Opening sources: what is refused, and what the error names."""

from __future__ import annotations

import socket
import sqlite3
import sys
from contextlib import closing
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from connectors import (
    Connector,
    InvalidSource,
    InvalidValues,
    MissingColumn,
    MissingTable,
    SourceOutsideRoots,
    SourceSpec,
    SourceUnreachable,
    UnsupportedColumn,
    open_source,
)


def read(connector: Connector) -> dict[str, list[object]]:
    names = connector.schema().names
    found: dict[str, list[object]] = pa.Table.from_batches(
        connector.batches(names), connector.schema()
    ).to_pydict()
    return found


def database(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return path


def sqlite_source(tmp_path: Path, *statements: str, table: str = "t") -> Connector:
    database(tmp_path / "owner.db", *statements)
    return open_source(SourceSpec("table", "sqlite:///owner.db", table), roots=[tmp_path])


def csv_source(tmp_path: Path, text: str, text_columns: tuple[str, ...] = ()) -> Connector:
    (tmp_path / "table.csv").write_text(text)
    return open_source(SourceSpec("file", "table.csv"), roots=[tmp_path], text_columns=text_columns)


class TestSpec:
    @pytest.mark.parametrize(
        ("kind", "location", "table", "field"),
        [
            ("ftp", "x", None, "kind"),
            ("file", "", None, "location"),
            ("table", "sqlite:///x.db", None, "table"),
            ("file", "x.csv", "t", "table"),
        ],
    )
    def test_a_spec_that_fits_no_connector_is_refused(
        self, kind: str, location: str, table: str | None, field: str
    ) -> None:
        with pytest.raises(InvalidSource) as caught:
            SourceSpec(kind, location, table)  # type: ignore[arg-type]
        assert caught.value.field == field

    @pytest.mark.parametrize(
        "location",
        [
            "no url",
            "mysql://user@host/db",
            "postgresql+asyncpg://host/db",
            "sqlite+aiosqlite:///x.db",
            "nosuchdialect://host/db",
            "sqlite://",
            "sqlite:///:memory:",
            "sqlite:///x.db?mode=rwc&uri=true",
        ],
    )
    def test_a_location_no_test_covers_is_refused(self, tmp_path: Path, location: str) -> None:
        with pytest.raises(InvalidSource):
            open_source(SourceSpec("table", location, "t"), roots=[tmp_path])


class TestRoots:
    @pytest.mark.parametrize(
        "location", ["../secret.csv", "/etc/passwd", "link.csv", "folder/../../secret.csv"]
    )
    def test_a_file_outside_the_roots_is_refused_with_their_names(
        self, tmp_path: Path, location: str
    ) -> None:
        root = tmp_path / "data"
        root.mkdir()
        (tmp_path / "secret.csv").write_text("a\n1\n")
        (root / "link.csv").symlink_to(tmp_path / "secret.csv")
        with pytest.raises(SourceOutsideRoots, match=str(root)) as caught:
            open_source(SourceSpec("file", location), roots=[root])
        assert caught.value.roots == (str(root),)

    def test_a_sqlite_file_outside_the_roots_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        path = database(tmp_path / "owner.db", "CREATE TABLE t (a INTEGER)")
        with pytest.raises(SourceOutsideRoots):
            open_source(SourceSpec("table", f"sqlite:///{path}", "t"), roots=[tmp_path / "data"])

    def test_without_roots_nothing_can_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("a\n1\n")
        with pytest.raises(SourceOutsideRoots, match="none are configured"):
            open_source(SourceSpec("file", str(tmp_path / "a.csv")), roots=[])

    def test_a_link_inside_the_roots_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "real.csv").write_text("a\n1\n")
        (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
        assert read(open_source(SourceSpec("file", "link.csv"), roots=[tmp_path])) == {"a": [1]}

    def test_any_of_several_roots_will_do(self, tmp_path: Path) -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        first.mkdir()
        second.mkdir()
        (second / "a.csv").write_text("a\n1\n")
        spec = SourceSpec("file", str(second / "a.csv"))
        assert read(open_source(spec, roots=[first, second])) == {"a": [1]}


class TestUnreachable:
    def test_a_missing_sqlite_file_is_not_created(self, tmp_path: Path) -> None:
        with pytest.raises(SourceUnreachable, match="no such file"):
            open_source(SourceSpec("table", "sqlite:///absent.db", "t"), roots=[tmp_path])
        assert not (tmp_path / "absent.db").exists()

    def test_a_sqlite_source_cannot_be_written(self, tmp_path: Path) -> None:
        connector = sqlite_source(tmp_path, "CREATE TABLE t (a INTEGER)")
        engine = connector._engine  # type: ignore[attr-defined]
        with engine.connect() as connection, pytest.raises(Exception, match="readonly"):
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")

    @pytest.mark.parametrize(("name", "table"), [("a.csv", None), ("a.parquet", None), ("a.arrow", None)])
    def test_a_missing_file_is_named(self, tmp_path: Path, name: str, table: str | None) -> None:
        with pytest.raises(SourceUnreachable, match=name):
            open_source(SourceSpec("file", name, table), roots=[tmp_path])

    @pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.feather"])
    def test_a_file_of_another_format_is_unreachable(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"ARROW1 not really, and no table either")
        with pytest.raises(SourceUnreachable, match="not readable as"):
            open_source(SourceSpec("file", name), roots=[tmp_path])

    def test_a_file_that_is_no_database_is_unreachable(self, tmp_path: Path) -> None:
        (tmp_path / "owner.db").write_bytes(b"this is not a database, however long it goes on" * 20)
        with pytest.raises(SourceUnreachable, match="not a database"):
            open_source(SourceSpec("table", "sqlite:///owner.db", "t"), roots=[tmp_path])

    def test_a_server_that_does_not_answer_is_unreachable(self) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
        location = f"postgresql+psycopg://steward:hunter2@127.0.0.1:{port}/loans"
        with pytest.raises(SourceUnreachable, match="connecting failed") as caught:
            open_source(SourceSpec("table", location, "t"), roots=[])
        assert caught.value.retryable

    @pytest.mark.parametrize(("driver", "extra"), [("pymysql", "mariadb"), ("psycopg", "postgresql")])
    def test_a_driver_that_is_not_installed_is_named(
        self, monkeypatch: pytest.MonkeyPatch, driver: str, extra: str
    ) -> None:
        monkeypatch.setitem(sys.modules, driver, None)
        with pytest.raises(SourceUnreachable, match=rf"{driver} is not installed .*\[{extra}\]"):
            open_source(SourceSpec("table", f"{extra}+{driver}://u@127.0.0.1:1/d", "t"), roots=[])

    def test_the_suffix_names_the_format(self, tmp_path: Path) -> None:
        (tmp_path / "table.xlsx").write_text("a\n1\n")
        with pytest.raises(InvalidSource, match=r"\.parquet"):
            open_source(SourceSpec("file", "table.xlsx"), roots=[tmp_path])

    def test_a_path_that_duckdb_would_expand_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a[1].csv").write_text("a\n1\n")
        with pytest.raises(InvalidSource, match="pattern"):
            open_source(SourceSpec("file", "a[1].csv"), roots=[tmp_path])


LONG = "a" * 1_000
SOCKET = "mysql+pymysql://u@localhost/d?unix_socket=/absent"


@pytest.mark.parametrize(
    ("kind", "location", "table"),
    [
        ("file", f"{LONG}.csv", None),
        ("file", "a\0.csv", None),
        ("file", "\ud800.csv", None),
        ("document", LONG, None),
        ("stream", LONG, None),
        ("table", f"sqlite:///{LONG}", "t"),
        ("table", "sqlite:///a%00", "t"),
        ("table", SOCKET, "a\0"),
        ("table", SOCKET, "\ud800"),
        ("table", "mysql+pymysql://a..b/d", "t"),
        ("table", "postgresql+psycopg://a..b/d", "t"),
        ("table", "mysql+pymysql://127.0.0.1:99999/d", "t"),
        ("table", "mysql+pymysql://127.0.0.1:1/d?ssl_ca=/absent&ssl_check_hostname=maybe", "t"),
        ("table", "postgresql+psycopg://127.0.0.1:1/d?port=x", "t"),
        ("table", "postgresql+psycopg://127.0.0.1:1/d?sslmode=x", "t"),
    ],
)
def test_what_neither_system_nor_driver_takes_is_an_error_of_ours(
    tmp_path: Path, kind: str, location: str, table: str | None
) -> None:
    with pytest.raises((InvalidSource, SourceUnreachable)):
        open_source(SourceSpec(kind, location, table), roots=[tmp_path])


class TestSql:
    def test_a_missing_table_lists_what_there_is(self, tmp_path: Path) -> None:
        with pytest.raises(MissingTable, match="expected the table loans, found clients, recent") as caught:
            sqlite_source(
                tmp_path,
                "CREATE TABLE clients (a INTEGER)",
                "CREATE VIEW recent AS SELECT a FROM clients",
                table="loans",
            )
        assert caught.value.found == ("clients", "recent")

    def test_names_are_quoted_not_interpreted(self, tmp_path: Path) -> None:
        connector = sqlite_source(
            tmp_path,
            'CREATE TABLE "a; DROP TABLE b" ("select ""x""" INTEGER)',
            'INSERT INTO "a; DROP TABLE b" VALUES (7)',
            table="a; DROP TABLE b",
        )
        assert read(connector) == {'select "x"': [7]}

    def test_rows_without_a_key_come_in_the_order_of_insertion(self, tmp_path: Path) -> None:
        connector = sqlite_source(
            tmp_path,
            "CREATE TABLE t (a INTEGER, b TEXT)",
            "INSERT INTO t VALUES (3, 'x'), (1, 'y'), (2, 'z')",
            "CREATE INDEX covering ON t (a)",
        )
        alone = pa.Table.from_batches(connector.batches(["a"]))
        assert alone.to_pydict() == {"a": [3, 1, 2]}
        assert read(connector)["a"] == [3, 1, 2]

    def test_rows_with_a_key_come_in_its_order(self, tmp_path: Path) -> None:
        connector = sqlite_source(
            tmp_path, "CREATE TABLE t (a TEXT PRIMARY KEY)", "INSERT INTO t VALUES ('c'), ('a'), ('b')"
        )
        assert read(connector) == {"a": ["a", "b", "c"]}

    def test_a_view_has_an_order_too(self, tmp_path: Path) -> None:
        connector = sqlite_source(
            tmp_path,
            "CREATE TABLE base (a INTEGER, b TEXT)",
            "INSERT INTO base VALUES (2, 'a'), (1, 'b'), (1, 'B')",
            "CREATE VIEW t AS SELECT a, b FROM base",
        )
        assert read(connector) == {"a": [1, 1, 2], "b": ["B", "b", "a"]}

    def test_a_column_named_rowid_does_not_order_the_rows(self, tmp_path: Path) -> None:
        connector = sqlite_source(tmp_path, "CREATE TABLE t (rowid INTEGER)", "INSERT INTO t VALUES (9), (8)")
        assert read(connector) == {"rowid": [9, 8]}

    def test_decimals_stored_as_binary_floats_come_back_exact(self, tmp_path: Path) -> None:
        connector = sqlite_source(
            tmp_path,
            "CREATE TABLE t (a DECIMAL(12, 2), b NUMERIC)",
            "INSERT INTO t VALUES (0.1, 0.1), (123456789.01, 3), (NULL, NULL)",
        )
        assert read(connector)["a"] == [Decimal("0.10"), Decimal("123456789.01"), None]
        assert read(connector)["b"][:2] == [Decimal("0.1"), Decimal(3)]

    def test_times_and_truth_values_are_read(self, tmp_path: Path) -> None:
        connector = sqlite_source(
            tmp_path,
            "CREATE TABLE t (d DATE, s DATETIME, h TIME, b BOOLEAN, x BLOB)",
            "INSERT INTO t VALUES ('2024-02-29', '2024-02-29 13:14:15.5', '13:14:15', 1, x'00ff')",
        )
        assert read(connector) == {
            "d": [date(2024, 2, 29)],
            "s": [datetime(2024, 2, 29, 13, 14, 15, 500_000)],  # noqa: DTZ001 - a column without a zone
            "h": [time(13, 14, 15)],
            "b": [True],
            "x": [b"\x00\xff"],
        }

    @pytest.mark.parametrize(
        ("declared", "value"),
        [
            ("INTEGER", "'salary 5000'"),
            ("DECIMAL(10, 2)", "5000.123"),
            ("DECIMAL(10, 2)", "'five thousand'"),
            ("DATE", "'5000'"),
            ("DATE", "'5000-01-01 10:00'"),
            ("DATETIME", "5000"),
            ("DATETIME", "'5000-01-01T10:00:00+02:00'"),
            ("TIME", "'5000'"),
            ("BOOLEAN", "5000"),
            ("REAL", "'5000x'"),
        ],
    )
    def test_values_of_another_type_are_refused_without_showing_them(
        self, tmp_path: Path, declared: str, value: str
    ) -> None:
        insert = f"INSERT INTO t VALUES ({value})"  # noqa: S608 - the cases are above
        connector = sqlite_source(tmp_path, f"CREATE TABLE t (wage {declared})", insert)
        with pytest.raises(InvalidValues, match="column wage") as caught:
            read(connector)
        assert "5000" not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_a_column_of_a_type_without_exact_form_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UnsupportedColumn, match="column a has the type DECIMAL"):
            sqlite_source(tmp_path, "CREATE TABLE t (a DECIMAL(60, 2))")

    def test_text_that_is_not_utf8_is_unreadable_and_unquoted(self, tmp_path: Path) -> None:
        connector = sqlite_source(
            tmp_path, "CREATE TABLE t (a TEXT)", "INSERT INTO t VALUES (CAST(x'4d6172ff' AS TEXT))"
        )
        with pytest.raises(SourceUnreachable, match="reading failed") as caught:
            read(connector)
        assert "Mar" not in str(caught.value)


class TestCsv:
    def test_identifiers_keep_their_zeros_when_named_as_text(self, tmp_path: Path) -> None:
        text = "id,amount\n100123,1\n200456,2\n"
        assert read(csv_source(tmp_path, text))["id"] == [100123, 200456]
        assert read(csv_source(tmp_path, text, ("id",)))["id"] == ["100123", "200456"]

    def test_a_late_leading_zero_makes_the_whole_column_text(self, tmp_path: Path) -> None:
        rows = "\n".join(str(100_000 + i) for i in range(30_000))
        found = read(csv_source(tmp_path, f"id\n{rows}\n000123\n", ("id",)))["id"]
        assert found[-1] == "000123"
        assert found[0] == "100000"

    def test_a_late_text_does_not_break_a_column_of_numbers(self, tmp_path: Path) -> None:
        rows = "\n".join(str(i) for i in range(30_000))
        found = read(csv_source(tmp_path, f"id\n{rows}\nabc\n"))["id"]
        assert found[-1] == "abc"
        assert found[7] == "7"

    def test_a_text_column_that_is_absent_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(MissingColumn, match="expected the column ssn, found id"):
            csv_source(tmp_path, "id\n1\n", ("ssn",))

    @pytest.mark.parametrize(
        ("body", "line"),
        [
            ("1,2\n" * 3000 + "3\n", 3002),
            ("1,2\n" * 3000 + "3,4,5\n", 3002),
            ("1,2\n" * 3000 + '"3,4\n', 3002),
        ],
    )
    def test_a_row_of_another_shape_is_named_by_its_line(self, tmp_path: Path, body: str, line: int) -> None:
        with pytest.raises(InvalidValues, match=rf"table\.csv, line {line}: expected one field"):
            read(csv_source(tmp_path, "a,b\n" + body))

    def test_a_line_that_looks_like_a_comment_is_not_skipped(self, tmp_path: Path) -> None:
        with pytest.raises(SourceUnreachable, match="as many fields in every line"):
            csv_source(tmp_path, "a,b\n1,2\n#3\n4,5\n")

    def test_text_that_is_not_utf8_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_bytes(b"a,b\n1,caf\xe9\n")
        with pytest.raises(InvalidValues, match="UTF-8"):
            read(open_source(SourceSpec("file", "t.csv"), roots=[tmp_path]))

    @pytest.mark.parametrize(
        ("cells", "expected"),
        [
            (["#1", "#2"], ["#1", "#2"]),
            (["1;2", "3;4"], ["1;2", "3;4"]),
            (["01/02/2020", "31/01/2020"], ["01/02/2020", "31/01/2020"]),
            (["2020-02-01", "2020-01-31"], [date(2020, 2, 1), date(2020, 1, 31)]),
            (["01/02/2020 10:00:00"], ["01/02/2020 10:00:00"]),
            (["+8613", "+8614"], ["+8613", "+8614"]),
            (["007.5", "2"], ["007.5", "2"]),
            (["2020-02-01 10:00:00"], [datetime(2020, 2, 1, 10)]),  # noqa: DTZ001 - no zone in the file
        ],
    )
    def test_nothing_is_guessed_that_could_be_wrong(
        self, tmp_path: Path, cells: list[str], expected: list[object]
    ) -> None:
        body = "".join(f"{cell},x\n" for cell in cells)
        assert read(csv_source(tmp_path, "a,b\n" + body))["a"] == expected

    def test_empty_fields_are_missing_values(self, tmp_path: Path) -> None:
        assert read(csv_source(tmp_path, "id,a\n1,\n2,x\n"))["a"] == [None, "x"]

    def test_a_table_of_a_header_has_no_rows(self, tmp_path: Path) -> None:
        connector = csv_source(tmp_path, "id,a\n")
        assert connector.schema().names == ["id", "a"]
        assert list(connector.batches(["id"])) == []


class TestArrow:
    def test_two_columns_of_one_name_are_refused(self, tmp_path: Path) -> None:
        table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
        with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as writer:
            writer.write_table(table)
        connector = open_source(SourceSpec("file", "t.arrow"), roots=[tmp_path])
        with pytest.raises(InvalidSource, match="distinct names"):
            connector.batches(["a"])

    def test_no_columns_is_a_mistake(self, tmp_path: Path) -> None:
        pa.parquet.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
        connector = open_source(SourceSpec("file", "t.parquet"), roots=[tmp_path])
        with pytest.raises(InvalidSource):
            connector.batches([])
