"""How a JSON API is described: its columns, where records stand, how pages follow, how it knows the caller.

::

    {"columns": [{"name": "person", "type": "text"}, {"name": "income", "type": "decimal/2", "field": "inc"}],
     "records": "/data/items",
     "paging": {"style": "cursor", "parameter": "after", "next": "/data/next"},
     "auth": {"scheme": "bearer", "token": "…"},
     "limits": {"requests_per_minute": 120, "seconds": 600, "bytes": 1073741824, "page_bytes": 16777216}}

Types are those of ``connectors.fingerprints``. ``records`` and ``next`` are JSON pointers (RFC 6901).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import pyarrow as pa

from connectors.errors import InvalidSource
from connectors.options import Options

__all__ = ["ApiColumn", "ApiOptions", "Auth", "Limits", "Paging", "pointed"]

STYLES: Final = ("none", "link", "cursor", "page", "offset")
SCHEMES: Final = ("none", "bearer", "header", "basic")
_TYPES: Final[Mapping[str, pa.DataType]] = MappingProxyType(
    {
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "float": pa.float64(),
        "integer": pa.int64(),
        "text": pa.string(),
        "timestamp": pa.timestamp("us"),
        "timestamp-utc": pa.timestamp("us", tz="UTC"),
    }
)
_DECIMAL: Final = re.compile(r"decimal/(\d|[12]\d|3[0-7])")
# A token of RFC 9110; these would change where the request goes or how long it is.
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_TAKEN: Final = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding"})
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


@dataclass(frozen=True)
class ApiColumn:
    """A column, the member of a record it is read from, and its type in words and in Arrow."""

    name: str
    member: str
    type: str
    arrow: pa.DataType


@dataclass(frozen=True)
class Paging:
    """How the next page is found.

    Attributes:
        style: ``none``: there is one page. ``link``: a ``Link`` header names it (RFC 8288, ``rel="next"``).
            ``cursor``: the page holds a value at ``next`` to be sent as ``parameter``; the last holds none.
            ``page``, ``offset``: ``parameter`` counts pages from ``first``, or the records before; the last
            page is the first without records, since a server may make pages smaller than it was asked to.
        size: records to ask for in a page, as ``size_parameter``; 0: the API's own choice.
    """

    style: str = "none"
    parameter: str = ""
    next: str = ""
    first: int = 0
    size: int = 0
    size_parameter: str = ""


@dataclass(frozen=True)
class Auth:
    """What makes the API know the caller; ``user`` is the header's name in the scheme ``header``."""

    scheme: str = "none"
    user: str = ""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True)
class Limits:
    """How much one read may take.

    Attributes:
        requests_per_minute: at most so many, retries included; 0: as fast as the API answers.
        seconds: for the whole read.
        bytes: of all pages together.
        page_bytes: of one page, which is in memory whole.
        pages: how many.
        attempts: for one page.
    """

    requests_per_minute: int = 0
    seconds: int = 600
    bytes: int = 1 << 30
    page_bytes: int = 16 << 20
    pages: int = 100_000
    attempts: int = 5


@dataclass(frozen=True)
class ApiOptions:
    """A described API. ``ca``: certificates in PEM that may sign the server's, in place of the system's."""

    columns: tuple[ApiColumn, ...]
    records: str = ""
    paging: Paging = Paging()
    auth: Auth = Auth()
    limits: Limits = Limits()
    ca: str | None = None

    @staticmethod
    def parse(value: object) -> ApiOptions:
        """Read a description.

        Raises:
            InvalidSource: naming the field; values are not quoted.
        """
        options = Options(value)
        columns = tuple(_column(part) for part in options.parts("columns"))
        names = [column.name for column in columns]
        if len(set(names)) != len(names):
            raise InvalidSource("options.columns", "distinct names", "a name twice")
        found = ApiOptions(
            columns=columns,
            records=_pointer(options, "records") if options.has("records") else "",
            paging=_paging(options.part("paging")),
            auth=_auth(options.part("auth")),
            limits=_limits(options.part("limits")),
            ca=options.text("ca", longest=100_000) if options.has("ca") else None,
        )
        options.end()
        return found

    @property
    def schema(self) -> pa.Schema:
        """The declared columns."""
        return pa.schema([(column.name, column.arrow) for column in self.columns])


def pointed(document: object, pointer: str) -> object:
    """Follow a JSON pointer through objects; None where there is nothing."""
    for part in pointer.split("/")[1:]:
        if not isinstance(document, dict):
            return None
        document = document.get(part.replace("~1", "/").replace("~0", "~"))
    return document


def _column(options: Options) -> ApiColumn:
    name = options.text("name", longest=200)
    kind = options.text("type", longest=20)
    decimal = _DECIMAL.fullmatch(kind)
    arrow = pa.decimal128(38, int(decimal[1])) if decimal else _TYPES.get(kind)
    if arrow is None:
        raise InvalidSource(
            f"{options.place}.type", f"{', '.join(_TYPES)} or decimal/<scale>", "another text"
        )
    member = options.text("field", longest=200) if options.has("field") else name
    options.end()
    return ApiColumn(name, member, kind, arrow)


def _paging(options: Options) -> Paging:
    style = options.choice("style", STYLES) if options.has("style") else "none"
    found = Paging(style)
    if style == "cursor":
        found = Paging(style, options.text("parameter", longest=100), next=_pointer(options, "next"))
    elif style in ("page", "offset"):
        sized = options.has("size") or options.has("size_parameter")
        found = Paging(
            style,
            options.text("parameter", longest=100),
            first=options.number("first", 0, 1, 1) if style == "page" else 0,
            size=options.number("size", 1, 1_000_000) if sized else 0,
            size_parameter=options.text("size_parameter", longest=100) if sized else "",
        )
    options.end()
    return found


def _auth(options: Options) -> Auth:
    scheme = options.choice("scheme", SCHEMES) if options.has("scheme") else "none"
    user = secret = ""
    if scheme == "bearer":
        secret = _printable(options, "token")
    elif scheme == "header":
        user, secret = options.text("name", longest=100), _printable(options, "value")
        if not _HEADER.fullmatch(user) or user.lower() in _TAKEN:
            raise InvalidSource(f"{options.place}.name", "a header of the API's own", "another text")
    elif scheme == "basic":
        user, secret = _printable(options, "user"), _printable(options, "password")
        if ":" in user:
            raise InvalidSource(f"{options.place}.user", "a text without a colon", "another text")
    options.end()
    return Auth(scheme, user, secret)


def _printable(options: Options, name: str) -> str:
    """A text that cannot end a header."""
    value = options.text(name, longest=8_000)
    if not _PRINTABLE.fullmatch(value):
        raise InvalidSource(f"{options.place}.{name}", "printable ASCII", "another text")
    return value


def _pointer(options: Options, name: str) -> str:
    value = options.text(name, longest=500)
    if not value.startswith("/"):
        raise InvalidSource(f"{options.place}.{name}", "a JSON pointer such as /data/items", "another text")
    return value


def _limits(options: Options) -> Limits:
    usual = Limits()
    found = Limits(
        requests_per_minute=options.number("requests_per_minute", 0, 60_000, usual.requests_per_minute),
        seconds=options.number("seconds", 1, 86_400, usual.seconds),
        bytes=options.number("bytes", 1, 1 << 40, usual.bytes),
        page_bytes=options.number("page_bytes", 1, 1 << 28, usual.page_bytes),
        pages=options.number("pages", 1, 10_000_000, usual.pages),
        attempts=options.number("attempts", 1, 10, usual.attempts),
    )
    options.end()
    return found
