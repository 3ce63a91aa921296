"""Lists of identifiers: what belongs to one, and what makes it no list."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from connectors import (
    Connector,
    EmptyIdentifiers,
    InvalidSource,
    MissingColumn,
    SourceSpec,
    UnknownMaintainers,
    WrongColumnType,
    open_source,
)
from connectors.lists import ListConnector

BLACK = {
    "colour": "black",
    "identifier": "person",
    "attributes": ["reason"],
    "maintainer": "bank",
    "maintainers": ["north", "south"],
}
CSV = "note,bank,person,reason\nx,north,000123,fraud\ny,south,000124,\n"


def opened(folder: Path, text: str, **more: object) -> Connector:
    (folder / "list.csv").write_text(text)
    return open_source(SourceSpec("list", "list.csv", options=BLACK | more), roots=[folder])


def test_a_list_is_its_identifiers_attributes_and_maintainers(tmp_path: Path) -> None:
    connector = opened(tmp_path, CSV)
    assert isinstance(connector, ListConnector)
    assert connector.colour == "black"
    assert connector.schema().names == ["person", "reason", "bank"]
    rows = [row for batch in connector.batches(["bank", "person"]) for row in batch.to_pylist()]
    assert rows == [{"bank": "north", "person": "000123"}, {"bank": "south", "person": "000124"}]
    with pytest.raises(MissingColumn):
        connector.batches(["note"])


def test_a_list_in_a_database(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "l.db")) as database, database:
        database.execute("CREATE TABLE l (person INTEGER PRIMARY KEY, secret TEXT)")
        database.execute("INSERT INTO l VALUES (7, 'x')")
    spec = SourceSpec("list", "sqlite:///l.db", "l", {"colour": "white", "identifier": "person"})
    connector = open_source(spec, roots=[tmp_path])
    assert connector.schema().names == ["person"]
    assert [batch.to_pydict() for batch in connector.batches(["person"])] == [{"person": [7]}]


@pytest.mark.parametrize("row", ["z,north,,fraud\n", 'z,north,"",fraud\n'])
def test_a_row_without_identifier_is_counted_and_refused(tmp_path: Path, row: str) -> None:
    with pytest.raises(EmptyIdentifiers, match="found 2 empty"):
        opened(tmp_path, CSV + row * 2)


@pytest.mark.parametrize("bank", ["east", "", "North", "north "])
def test_a_row_of_another_maintainer_is_counted_and_refused(tmp_path: Path, bank: str) -> None:
    with pytest.raises(UnknownMaintainers, match="found 1 without") as caught:
        opened(tmp_path, CSV + f"z,{bank},000125,fraud\n")
    assert "000125" not in str(caught.value)


def test_without_named_maintainers_anyone_may_but_somebody_must(tmp_path: Path) -> None:
    opened(tmp_path, CSV + "z,east,000125,fraud\n", maintainers=[])
    with pytest.raises(UnknownMaintainers):
        opened(tmp_path, CSV + "z,,000125,fraud\n", maintainers=[])


def test_identifiers_are_texts_or_integers(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "l.db")) as database, database:
        database.execute("CREATE TABLE l (rate REAL)")
    spec = SourceSpec("list", "sqlite:///l.db", "l", {"colour": "grey", "identifier": "rate"})
    with pytest.raises(WrongColumnType):
        open_source(spec, roots=[tmp_path])


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"colour": "red"}, "options.colour"),
        ({"identifier": None}, "options.identifier"),
        ({"attributes": ["person"]}, "options"),
        ({"attributes": ["a", "a"]}, "options.attributes"),
        ({"maintainer": None}, "options.maintainer"),
        ({"color": "black"}, "options"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(more: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidSource) as caught:
        SourceSpec("list", "list.csv", options=BLACK | more)
    assert caught.value.field == field
