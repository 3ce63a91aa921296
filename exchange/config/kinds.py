"""The forms a setting may have: each reader takes the value of the file or of a variable and checks it.

A reader gets the value and the data directory it belongs to, and returns the value in the program's form or
raises ``Unfit`` with what it expected and what it found.
"""

from __future__ import annotations

import binascii
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from exchange.config.problems import Unfit, found
from ledger.errors import MalformedKey
from ledger.notes import ED25519, Vkey

__all__ = [
    "OutsideCopy",
    "Read",
    "address",
    "addresses",
    "certificate",
    "certificates",
    "database",
    "https",
    "number",
    "one_of",
    "outside_copies",
    "path",
    "paths",
    "processes",
    "seconds",
    "text",
    "urls",
    "yes_or_no",
]

Read = Callable[[Any, Path], object]

_DATABASES = ("sqlite", "postgresql")
_LONGEST_S = 86_400
_LAST_PORT = 65_535
_MOST_PROCESSES = 64
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


def processes(value: Any, _: Path) -> int:  # noqa: ANN401
    """How many processes, from none to 64."""
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _MOST_PROCESSES:
        raise Unfit(f"a whole number from 0 to {_MOST_PROCESSES}", found(value))
    return number


def number(least: int, most: int) -> Read:
    """A whole number within limits."""

    def read(value: Any, _: Path) -> int:  # noqa: ANN401
        given = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
        if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= most:
            raise Unfit(f"a whole number from {least} to {most}", found(value))
        return given

    return read


def address(value: Any, _: Path) -> str:  # noqa: ANN401
    """Host and port; an IPv6 address stands in brackets."""
    host, _colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not _is_port(port):
        raise Unfit(f"host:port with a port from 1 to {_LAST_PORT}", found(value))
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise Unfit("an IPv6 address in brackets", found(value))
    return str(value)


def addresses(value: Any, directory: Path) -> tuple[str, ...]:  # noqa: ANN401
    """A list of ``host:port``; in a variable, with commas between."""
    given = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(given, list | tuple):
        raise Unfit("a list of host:port", found(value))
    return tuple(address(item, directory) for item in given)


def https(value: Any, _: Path) -> str:  # noqa: ANN401
    """An HTTPS address without path, query and credentials."""
    parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
    host, _colon, port = parts.netloc.rpartition(":")
    bare = parts.scheme == "https" and parts.path in ("", "/") and not parts.query and not parts.fragment
    if not bare or not host or "@" in host or not _is_port(port):
        raise Unfit("an address of the form https://host:port", found(value))
    return str(value).rstrip("/")


def web_hook(value: Any, _: Path) -> str:  # noqa: ANN401
    """An HTTPS address with a port and a path, without query, fragment and credentials."""
    parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
    host, _colon, port = parts.netloc.rpartition(":")
    bare = parts.scheme == "https" and not parts.query and not parts.fragment
    if not bare or not host or "@" in host or not _is_port(port) or not parts.path.startswith("/"):
        raise Unfit("an address of the form https://host:port/path", found(value))
    return str(value)


def urls(*schemes: str) -> Read:
    """A list of addresses ``scheme://host:port``; in a variable, with commas between."""

    def read(value: Any, _: Path) -> tuple[str, ...]:  # noqa: ANN401
        given = (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )
        if not isinstance(given, list | tuple):
            raise Unfit("a list of addresses", found(value))
        return tuple(_url(item, schemes) for item in given)

    return read


def _url(item: Any, schemes: tuple[str, ...]) -> str:  # noqa: ANN401
    parts = urlsplit(item) if isinstance(item, str) else urlsplit("")
    host, _colon, port = parts.netloc.rpartition(":")
    bare = parts.scheme in schemes and parts.path in ("", "/") and not parts.query and not parts.fragment
    if not bare or not host or "@" in host or not _is_port(port):
        forms = " or ".join(f"{scheme}://host:port" for scheme in schemes)
        shown = "another text" if isinstance(item, str) else found(item)  # a text may hold a password
        raise Unfit(f"addresses of the form {forms}", shown)
    return str(item).rstrip("/")


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


def certificates(value: Any, directory: Path) -> tuple[bytes, ...]:  # noqa: ANN401
    """A list of DER certificates in base64url; in a variable, with commas between."""
    given = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(given, list | tuple):
        raise Unfit("a list of certificates", found(value))
    return tuple(certificate(item, directory) for item in given)


@dataclass(frozen=True)
class OutsideCopy:
    """A witness or a mirror of this hub's log: address, the one certificate accepted there, its keys."""

    url: str
    certificate: bytes
    vkeys: tuple[Vkey, ...]


def outside_copies(value: Any, directory: Path) -> tuple[OutsideCopy, ...]:  # noqa: ANN401
    """A list of texts ``URL CERTIFICATE VKEY...``; in a variable, one a line."""
    given = value.splitlines() if isinstance(value, str) else value
    if not isinstance(given, list | tuple):
        raise Unfit("a list of texts", found(value))
    return tuple(_outside_copy(item, directory) for item in given)


def _outside_copy(item: Any, directory: Path) -> OutsideCopy:  # noqa: ANN401
    words = item.split() if isinstance(item, str) else []
    if len(words) < 3:
        raise Unfit("an address, a certificate and verifier keys, with spaces between", found(item))
    try:
        vkeys = tuple(Vkey.parse(word) for word in words[2:])
    except MalformedKey as error:
        raise Unfit("verifier keys of cosigners", str(error)) from None
    if any(vkey.type == ED25519 for vkey in vkeys):
        raise Unfit("verifier keys of cosigners", "a log's")
    return OutsideCopy(https(words[0], directory), certificate(words[1], directory), vkeys)


def yes_or_no(value: Any, _: Path) -> bool:  # noqa: ANN401
    """True or false; in a variable, as a word."""
    words = {"true": True, "false": False}
    read = words.get(value.lower(), value) if isinstance(value, str) else value
    if not isinstance(read, bool):
        raise Unfit("true or false", found(value))
    return read


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
