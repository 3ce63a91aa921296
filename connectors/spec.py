"""How a source is described, and how a description becomes a connector.

Descriptions come from a steward's request, so a path is taken only inside the folders the node's
configuration allows (symbolic links followed first), and a database location never shows its password.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from connectors import plugins
from connectors.api_hosts import Hosts, parse_api_url
from connectors.api_options import ApiOptions
from connectors.errors import InvalidSource, SourceOutsideRoots, SourceUnreachable
from connectors.lists import ListOptions
from connectors.options import is_writable
from connectors.plugins import Reach
from connectors.stream_options import StreamOptions

if TYPE_CHECKING:
    from connectors.connector import Connector
    from connectors.files import FileConnector
    from connectors.sql import SqlConnector

__all__ = ["KINDS", "SourceSpec", "open_source", "pinned", "resolve_inside"]

KINDS: Final = ("table", "file", "document", "api", "list", "stream")

_MYSQL_OPTIONS: Final = frozenset({"unix_socket", "ssl_ca", "ssl_cert", "ssl_key", "ssl_check_hostname"})
_OPTIONS: Final = MappingProxyType(
    {
        ("sqlite", "pysqlite"): frozenset[str](),
        ("postgresql", "psycopg"): frozenset(
            {"host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "application_name"}
        ),
        ("mariadb", "pymysql"): _MYSQL_OPTIONS,
        ("mysql", "pymysql"): _MYSQL_OPTIONS,
    }
)


@dataclass(frozen=True)
class SourceSpec:
    """Where a table is.

    Attributes:
        kind: ``table`` (of a database), ``file`` (a table in a file), ``document`` (any file), ``api``;
            ``list`` (in a table or a file); ``stream`` (in a table or a folder); or a kind that an installed
            connector brings, see ``plugins``.
        location: a database URL (``sqlite:///loans.db``, ``postgresql+psycopg://user:secret@host/db``,
            ``mariadb+pymysql://user:secret@host/db``), a path, or an API's address. May hold a password: it
            is not in ``repr``; show ``display`` instead.
        table: the table or view of a database, with its schema as ``schema.table`` where needed.
        options: what else the kind needs, as JSON: see ``api_options``, ``lists`` and ``streams``. May hold
            credentials: not in ``repr``.
    """

    kind: str
    location: str = field(repr=False)
    table: str | None = None
    options: Mapping[str, object] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS and self.kind not in plugins.installed():
            expected = ", ".join([*KINDS, *sorted(plugins.installed())])
            raise InvalidSource("kind", f"one of {expected}", "another kind")
        if not self.location:
            raise InvalidSource("location", "a database URL, a path or an address", "nothing")
        for name, text in (("location", self.location), ("table", self.table or "")):
            if not is_writable(text):
                raise InvalidSource(name, "a text without NUL and halves of characters", "another text")
        if self.kind not in KINDS:
            return  # the connector that is installed for it says what fits
        if self.in_database and not self.table:
            raise InvalidSource("table", "the name of a table or view", "nothing")
        if not self.in_database and self.table is not None:
            raise InvalidSource("table", f"nothing for {self.kind} outside a database", "a name")
        match self.kind:
            case "api":
                parse_api_url(self.location)
                ApiOptions.parse(self.options)
            case "list":
                ListOptions.parse(self.options)
            case "stream":
                StreamOptions.parse(self.options, is_table=self.in_database)
            case _ if self.options:
                raise InvalidSource("options", f"none for the kind {self.kind}", "some")

    @property
    def in_database(self) -> bool:
        """Whether the location is a database's: always for a table, by its form for a list or a stream."""
        return self.kind == "table" or (self.kind in ("list", "stream") and "://" in self.location)

    @property
    def display(self) -> str:
        """The location without password or options."""
        if self.kind not in KINDS:
            return f"a source of the kind {self.kind}"  # where a password stands in it is not known here
        if self.kind == "api":
            return parse_api_url(self.location).display
        return display_url(parse_url(self.location)) if self.in_database else self.location


def open_source(
    spec: SourceSpec, *, roots: Sequence[Path], text_columns: Sequence[str] = (), hosts: Sequence[str] = ()
) -> Connector:
    """Open the connector for a source.

    Args:
        spec: the source.
        roots: the folders from which files and SQLite databases may be read. A relative path is taken from
            the first of them.
        text_columns: columns of a CSV file to read as text whatever their content looks like, so that an
            identifier such as ``000123`` keeps its zeros. Other sources declare types themselves.
        hosts: the APIs that may be asked, as ``host:port``; see ``connectors.api_hosts``.

    Raises:
        InvalidSource: the description fits no connector.
        SourceOutsideRoots: the file lies elsewhere.
        HostNotAllowed: the API is not one of ``hosts``.
        SourceUnreachable: the database or file cannot be opened.
        MissingTable: the database has no such table.
        MissingColumn: a text column is not in the file.
    """
    # Imported here, so that naming a source does not load a database engine.
    match spec.kind:
        case "api":
            from connectors.api import ApiConnector

            return ApiConnector(spec.location, ApiOptions.parse(spec.options), Hosts(hosts))
        case "document":
            from connectors.documents import DocumentConnector

            return DocumentConnector(resolve_inside(spec.location, roots))
        case "list":
            from connectors.lists import ListConnector

            described = ListOptions.parse(spec.options)
            texts = tuple(dict.fromkeys((*text_columns, *described.text_columns)))
            opened = _table(spec, roots) if spec.in_database else _file(spec, roots, texts)
            return ListConnector(opened, described)
        case "stream":
            from connectors.segments import SegmentStream
            from connectors.streams import TableStream

            prefix = StreamOptions.parse(spec.options, is_table=spec.in_database)
            if spec.in_database:
                return TableStream(_table(spec, roots, prefix.sequence), prefix)
            folder = resolve_inside(spec.location, roots, folder=True)
            return SegmentStream(folder, prefix.position, prefix.digest)
        case "table":
            return _table(spec, roots)
        case "file":
            return _file(spec, roots, text_columns)
        case _:
            return plugins.open_installed(spec, Reach(tuple(roots), tuple(hosts), tuple(text_columns)))


def parse_url(location: str) -> URL:
    """Read a database URL.

    Raises:
        InvalidSource: it is no URL, of a database no test covers, or with an option of the driver other than
            where the server listens and how its certificate is checked: drivers have options that read files
            of this machine, and that send them to the server. The message quotes neither.
    """
    try:
        url = make_url(location)
        backend, driver = url.get_backend_name(), url.get_driver_name()
    except (ArgumentError, ValueError):
        raise InvalidSource("location", "a database URL", "another text") from None
    if (backend, driver) not in _OPTIONS:
        expected = (
            "sqlite:///path, postgresql+psycopg://host/database, mariadb+pymysql://host/database or "
            "mysql+pymysql://host/database"
        )
        raise InvalidSource("location", expected, f"{backend}+{driver}")
    options = _OPTIONS[backend, driver]
    if not options.issuperset(url.query):
        expected = f"options among {', '.join(sorted(options))}" if options else "no options"
        raise InvalidSource("location", expected, "others")
    return url


def display_url(url: URL) -> str:
    """Write a database URL without its password and its options, which may hold one too."""
    return url.set(query={}).render_as_string(hide_password=True)


def pinned(spec: SourceSpec, connector: Connector) -> SourceSpec:
    """The same source as it is now: a stream's description gets the position to which it was opened.

    What is appended later is then not read, and what changes before the position is noticed.
    """
    pin = getattr(connector, "pin", None)
    return spec if pin is None else replace(spec, options={**spec.options, **pin()})


def _file(spec: SourceSpec, roots: Sequence[Path], text_columns: Sequence[str]) -> FileConnector:
    from connectors.files import FileConnector

    return FileConnector(resolve_inside(spec.location, roots), text_columns=text_columns)


def _table(spec: SourceSpec, roots: Sequence[Path], order_by: str | None = None) -> SqlConnector:
    from connectors.sql import SqlConnector

    url = parse_url(spec.location)
    if url.get_backend_name() == "sqlite":
        return SqlConnector.sqlite(_sqlite_path(url, roots), spec.table or "", order_by)
    return SqlConnector.server(url, spec.table or "", order_by)


def resolve_inside(location: str, roots: Sequence[Path], *, folder: bool = False) -> Path:
    """Follow a path's links and check that it is a file, or a folder, inside one of the roots.

    Raises:
        SourceOutsideRoots: it is not inside any. Said before looking whether it exists.
        SourceUnreachable: there is no such file or folder.
    """
    resolved_roots = [root.resolve() for root in roots]
    try:
        path = (resolved_roots[0] / location if resolved_roots else Path(location)).resolve()
    except (OSError, RuntimeError, ValueError):
        raise InvalidSource("location", "a path", "one that cannot be resolved") from None
    if not any(path.is_relative_to(root) for root in resolved_roots):
        raise SourceOutsideRoots(location, [str(root) for root in resolved_roots])
    try:
        exists = path.is_dir() if folder else path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        exists = False
    if not exists:
        raise SourceUnreachable(location, f"there is no such {'folder' if folder else 'file'}")
    return path


def _sqlite_path(url: URL, roots: Sequence[Path]) -> Path:
    if not url.database or url.database == ":memory:":
        raise InvalidSource("location", "the path of a SQLite database", "none")
    return resolve_inside(url.database, roots)
