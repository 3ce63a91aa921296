"""How a source is described, and how a description becomes a connector.

Descriptions come from a steward's request, so a path is taken only inside the folders the node's
configuration allows (symbolic links followed first), and a database location never shows its password.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from connectors.errors import InvalidSource, SourceOutsideRoots, SourceUnreachable

if TYPE_CHECKING:
    from connectors.connector import Connector

__all__ = ["SourceSpec", "open_source", "resolve_inside"]


@dataclass(frozen=True)
class SourceSpec:
    """Where a table is.

    Attributes:
        kind: ``sql`` or ``file``.
        location: a database URL (``sqlite:///loans.db``, ``postgresql+psycopg://user:secret@host/db``) or a
            file path. May hold a password: it is not in ``repr``; show ``display`` instead.
        table: the table or view of a database, with its schema as ``schema.table`` where needed.
    """

    kind: Literal["sql", "file"]
    location: str = field(repr=False)
    table: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("sql", "file"):
            raise InvalidSource("kind", "sql or file", "another kind")
        if not self.location:
            raise InvalidSource("location", "a database URL or a path", "nothing")
        if self.kind == "sql" and not self.table:
            raise InvalidSource("table", "the name of a table or view", "nothing")
        if self.kind == "file" and self.table is not None:
            raise InvalidSource("table", "nothing for a file", "a name")

    @property
    def display(self) -> str:
        """The location without password or options."""
        return self.location if self.kind == "file" else display_url(parse_url(self.location))


def open_source(spec: SourceSpec, *, roots: Sequence[Path], text_columns: Sequence[str] = ()) -> Connector:
    """Open the connector for a source.

    Args:
        spec: the source.
        roots: the folders from which files and SQLite databases may be read. A relative path is taken from
            the first of them.
        text_columns: columns of a CSV file to read as text whatever their content looks like, so that an
            identifier such as ``000123`` keeps its zeros. Other sources declare types themselves.

    Raises:
        InvalidSource: the description fits no connector.
        SourceOutsideRoots: the file lies elsewhere.
        SourceUnreachable: the database or file cannot be opened.
        MissingTable: the database has no such table.
        MissingColumn: a text column is not in the file.
    """
    # Imported here, so that naming a source does not load a database engine.
    if spec.kind == "file":
        from connectors.files import FileConnector

        return FileConnector(resolve_inside(spec.location, roots), text_columns=text_columns)
    from connectors.sql import SqlConnector

    url = parse_url(spec.location)
    if url.get_backend_name() == "sqlite":
        return SqlConnector.sqlite(_sqlite_path(url, roots), spec.table or "")
    return SqlConnector.server(url, spec.table or "")


def parse_url(location: str) -> URL:
    """Read a database URL.

    Raises:
        InvalidSource: it is no URL, or of a database no test covers. The message does not quote it.
    """
    try:
        url = make_url(location)
        backend, driver = url.get_backend_name(), url.get_driver_name()
    except (ArgumentError, ValueError):
        raise InvalidSource("location", "a database URL", "another text") from None
    if (backend, driver) not in {("sqlite", "pysqlite"), ("postgresql", "psycopg")}:
        expected = "sqlite:///path or postgresql+psycopg://host/database"
        raise InvalidSource("location", expected, f"{backend}+{driver}")
    return url


def display_url(url: URL) -> str:
    """Write a database URL without its password and its options, which may hold one too."""
    return url.set(query={}).render_as_string(hide_password=True)


def resolve_inside(location: str, roots: Sequence[Path]) -> Path:
    """Follow a path's links and check that it is a file inside one of the roots.

    Raises:
        SourceOutsideRoots: it is not inside any. Said before looking whether the file exists.
        SourceUnreachable: there is no such file.
    """
    resolved_roots = [root.resolve() for root in roots]
    try:
        path = (resolved_roots[0] / location if resolved_roots else Path(location)).resolve()
    except (OSError, RuntimeError, ValueError):
        raise InvalidSource("location", "a path", "one that cannot be resolved") from None
    if not any(path.is_relative_to(root) for root in resolved_roots):
        raise SourceOutsideRoots(location, [str(root) for root in resolved_roots])
    if not path.is_file():
        raise SourceUnreachable(location, "there is no such file")
    return path


def _sqlite_path(url: URL, roots: Sequence[Path]) -> Path:
    if url.query:
        raise InvalidSource("location", "a SQLite path without options", "options")
    if not url.database or url.database == ":memory:":
        raise InvalidSource("location", "the path of a SQLite database", "none")
    return resolve_inside(url.database, roots)
