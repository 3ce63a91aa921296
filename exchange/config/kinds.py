"""The forms a setting may have: each reader takes the value of the file or of a variable and checks it.

A reader gets the value and the data directory it belongs to, and returns the value in the program's form or
raises ``Unfit`` with what it expected and what it found.
"""

from __future__ import annotations

import binascii
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from exchange.config.problems import Unfit, found

__all__ = [
    "Read",
    "address",
    "certificate",
    "database",
    "https",
    "one_of",
    "path",
    "paths",
    "seconds",
    "text",
]

Read = Callable[[Any, Path], object]

_DATABASES = ("sqlite", "postgresql")
_LONGEST_S = 86_400
_LAST_PORT = 65_535
_ASN1_SEQUENCE = b"\x30"  # the first byte of every DER certificate


def text(expected: str, pattern: re.Pattern[str]) -> Read:
    """A text that matches ``pattern`` as a whole; ``expected`` says it in words."""

    def read(value: Any, _: Path) -> str:  # noqa: ANN401
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise Unfit(expected, found(value))
        return value

    return read


def one_of(*choices: str) -> Read:
    """One of a few words."""

    def read(value: Any, _: Path) -> str:  # noqa: ANN401
        if value not in choices:
            raise Unfit(f"one of {', '.join(choices)}", found(value))
        return str(value)

    return read


def seconds(value: Any, _: Path) -> int:  # noqa: ANN401
    """Whole seconds, from one to a day."""
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= _LONGEST_S:
        raise Unfit(f"whole seconds from 1 to {_LONGEST_S}", found(value))
    return number


def address(value: Any, _: Path) -> str:  # noqa: ANN401
    """Host and port; an IPv6 address stands in brackets."""
    host, _colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not _is_port(port):
        raise Unfit(f"host:port with a port from 1 to {_LAST_PORT}", found(value))
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise Unfit("an IPv6 address in brackets", found(value))
    return str(value)


def https(value: Any, _: Path) -> str:  # noqa: ANN401
    """An HTTPS address without path, query and credentials."""
    parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
    host, _colon, port = parts.netloc.rpartition(":")
    bare = parts.scheme == "https" and parts.path in ("", "/") and not parts.query and not parts.fragment
    if not bare or not host or "@" in host or not _is_port(port):
        raise Unfit("an address of the form https://host:port", found(value))
    return str(value).rstrip("/")


def certificate(value: Any, _: Path) -> bytes:  # noqa: ANN401
    """A DER certificate in base64url."""
    expected = "a DER certificate in base64url without padding"
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise Unfit(expected, found(value))
    try:
        der = binascii.a2b_base64(value.translate(str.maketrans("-_", "+/")) + "=" * (-len(value) % 4))
    except binascii.Error:
        raise Unfit(expected, "a text of another length") from None
    if der[:1] != _ASN1_SEQUENCE:
        raise Unfit(expected, "other bytes")
    return der


def path(value: Any, directory: Path) -> Path:  # noqa: ANN401
    """A path, absolute or inside the data directory."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise Unfit("a path, absolute or inside the data directory", found(value))
    return directory / Path(value).expanduser()


def paths(value: Any, directory: Path) -> tuple[Path, ...]:  # noqa: ANN401
    """A list of folders; in a variable, separated as in ``PATH``."""
    given = [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value
    if not isinstance(given, list | tuple):
        raise Unfit("a list of folders", found(value))
    return tuple(path(part, directory).resolve() for part in given)


def database(value: Any, directory: Path) -> str:  # noqa: ANN401
    """A SQLAlchemy URL; a SQLite file without an absolute path lies in the data directory."""
    expected = f"the URL of a database of kind {' or '.join(_DATABASES)}"
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):  # the value may hold a password, so it is not shown
        raise Unfit(expected, "another text" if isinstance(value, str) else found(value)) from None
    if url.get_backend_name() not in _DATABASES:
        raise Unfit(expected, f"kind {url.get_backend_name()}")
    if url.get_backend_name() == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise Unfit(expected, "a database that is lost when the process ends")
        url = url.set(database=str(directory / str(url.database)))
    return url.render_as_string(hide_password=False)


def _is_port(word: str) -> bool:
    return word.isascii() and word.isdigit() and 1 <= int(word) <= _LAST_PORT
