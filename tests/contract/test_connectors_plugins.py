"""A connector of others: installed as a distribution, found by entry point, held to the contract."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pytest

from connectors import (
    Connector,
    ContractBroken,
    InvalidSource,
    SourceOutsideRoots,
    SourceSpec,
    SourceUnreachable,
    UnsupportedColumn,
    open_source,
)
from connectors.conforming import Conforming
from connectors.filters import Filter
from connectors.testing import ConnectorContract, sample_table

MODULE = '''
"""A connector that reads Feather files whole."""
import pyarrow as pa, pyarrow.feather
from connectors.arrow_filters import to_arrow
from connectors.connector import BATCH_ROWS, rebatch, require_columns
from connectors.filters import check
from connectors.spec import resolve_inside


class Whole:
    def __init__(self, path):
        self.table = pyarrow.feather.read_table(path)

    def schema(self):
        return self.table.schema

    def batches(self, columns, *, where=None, batch_rows=BATCH_ROWS):
        names = list(require_columns(columns, self.table.schema))
        table = self.table
        if where is not None:
            table = table.filter(to_arrow(check(where, table.schema), table.schema))
        return rebatch(iter(table.select(names).to_batches()), batch_rows)

    def close(self):
        pass


def open_whole(spec, reach):
    return Whole(resolve_inside(spec.location, reach.roots))


def open_nothing(spec, reach):
    return None


not_callable = 7
'''
POINTS = """[parley.connectors]
whole = example_whole:open_whole
nothing = example_whole:open_nothing
absent = example_whole:absent
number = example_whole:not_callable
Not A Kind = example_whole:open_whole
"""


def wheel(folder: Path, name: str, points: str) -> Path:
    info = f"example_{name}-1.0.dist-info"
    path = folder / f"example_{name}-1.0-py3-none-any.whl"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: example-{name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": points,
    }
    if name == "whole":
        files["example_whole.py"] = MODULE
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"]))
    return path


def install(target: Path, *wheels: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    done = subprocess.run([*pip, "--target", str(target), *map(str, wheels)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("distributions")
    install(folder / "site", wheel(folder, "whole", POINTS))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / "site"))
        yield folder
        sys.modules.pop("example_whole", None)


@pytest.mark.usefixtures("installed")
class TestInstalled(ConnectorContract):
    @pytest.fixture
    def connector(self, tmp_path: Path) -> Connector:
        pa.feather.write_feather(sample_table(), tmp_path / "table.feather")
        return open_source(SourceSpec("whole", "table.feather"), roots=[tmp_path])

    def test_it_is_held_to_the_contract(self, connector: Connector) -> None:
        assert isinstance(connector, Conforming)

    def test_it_is_told_what_it_may_reach(self, connector: Connector, tmp_path: Path) -> None:
        (tmp_path / "inside").mkdir()
        with pytest.raises(SourceOutsideRoots):
            open_source(SourceSpec("whole", "../table.feather"), roots=[tmp_path / "inside"])

    def test_its_location_and_options_are_never_shown(self) -> None:
        spec = SourceSpec("whole", "canary://canary", "t", {"password": "canary"})
        assert "canary" not in repr(spec) + spec.display

    @pytest.mark.parametrize("kind", ["absent", "number", "nothing"])
    def test_what_cannot_be_opened_says_so(self, kind: str) -> None:
        with pytest.raises((SourceUnreachable, ContractBroken)):
            open_source(SourceSpec(kind, "x"), roots=[])

    @pytest.mark.parametrize("kind", ["Not A Kind", "parquet", ""])
    def test_a_kind_that_nothing_brings_names_those_there_are(self, kind: str) -> None:
        with pytest.raises(InvalidSource, match=r"table, file, .*stream, absent, .*whole"):
            SourceSpec(kind, "x")

    def test_a_kind_that_two_distributions_bring_is_refused(
        self, installed: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = "[parley.connectors]\nwhole = example_other:open\ntable = example_other:open\n"
        install(installed / "more", wheel(installed, "other", other))
        monkeypatch.syspath_prepend(str(installed / "more"))
        with pytest.raises(InvalidSource, match="found 2 that do"):
            open_source(SourceSpec("whole", "x"), roots=[])

    def test_a_kind_of_our_own_is_not_taken_over(
        self, installed: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taken = "[parley.connectors]\nfile = example_whole:open_nothing\n"
        install(installed / "taken", wheel(installed, "taken", taken))
        monkeypatch.syspath_prepend(str(installed / "taken"))
        with pytest.raises(SourceOutsideRoots):
            open_source(SourceSpec("file", "/etc/passwd"), roots=[])


class Breaking:
    """A connector that breaks one promise."""

    def __init__(self, schema: Any, *batches: Any) -> None:
        self.given, self.found, self.closed = schema, batches, False

    def schema(self) -> Any:
        return self.given

    def batches(
        self, columns: Sequence[str], *, where: Filter | None = None, batch_rows: int = 9
    ) -> Iterator[Any]:
        return iter(self.found)

    def close(self) -> None:
        self.closed = True


SCHEMA = pa.schema({"a": pa.int64(), "b": pa.string()})
ONE = pa.record_batch({"a": [1]}, pa.schema({"a": pa.int64()}))
BAD_TEXT = pa.StringArray.from_buffers(
    1, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe")
)


@pytest.mark.parametrize(
    ("columns", "batch"),
    [
        (["a"], pa.table({"a": [1]})),
        (["a"], pa.record_batch({"b": ["x"]})),
        (["a"], pa.record_batch({"a": ["1"]})),
        (["a"], pa.record_batch({"a": pa.array([1], pa.int32())})),
        (["a"], pa.record_batch({"a": [1], "b": ["x"]})),
        (["b", "a"], pa.record_batch({"a": [1], "b": ["x"]})),
        (["a"], ONE.slice(0, 0)),
        (["a"], pa.record_batch({"a": [1, 2, 3]})),
        (["b"], pa.record_batch([BAD_TEXT], names=["b"])),
    ],
)
def test_a_batch_that_breaks_the_contract_ends_the_read(columns: list[str], batch: object) -> None:
    connector = Conforming("example", Breaking(SCHEMA, batch))
    with pytest.raises(ContractBroken, match="the connector example: expected"):
        list(connector.batches(columns, batch_rows=2))


@pytest.mark.parametrize(
    ("schema", "error"),
    [
        ({"a": "int"}, ContractBroken),
        (pa.schema([("a", pa.int64()), ("a", pa.int64())]), InvalidSource),
        (pa.schema([]), InvalidSource),
        (pa.schema({"a": pa.list_(pa.int64())}), UnsupportedColumn),
    ],
)
def test_a_schema_that_breaks_the_contract_closes_the_source(schema: object, error: type[Exception]) -> None:
    inner = Breaking(schema)
    with pytest.raises(error):
        Conforming("example", inner)
    assert inner.closed


def test_what_keeps_it_passes_unchanged() -> None:
    assert list(Conforming("example", Breaking(SCHEMA, ONE, ONE)).batches(["a"])) == [ONE, ONE]
