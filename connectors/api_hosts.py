"""Which hosts an API connector may talk to: those the operator lists, at addresses that are what they seem.

A steward writes the address of an API, and answers bring links and redirects, so every URL is hostile: it
could name the node's own interfaces, its neighbours or a cloud's metadata service (server-side request
forgery). The operator's list is of ``host:port``, empty unless set. A name is resolved here and the
connection made to the address that was checked, so a second look at the name cannot lead elsewhere. An
address that is not global (private, loopback, link-local, shared, reserved, or one of these inside an IPv6
form) is refused unless ``address:port`` is itself on the list.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from connectors.errors import HostNotAllowed, InvalidSource, SourceUnreachable

__all__ = ["ApiUrl", "Hosts", "Resolve", "parse_api_url", "resolve"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

_PORTS: Final = {"https": 443, "http": 80}
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST6: Final = ipaddress.IPv6Network("2000::/3")
# Special to IETF protocols, and in use for metadata services; not private to older versions of Python.
_SPECIAL4: Final = ipaddress.IPv4Network("192.0.0.0/24")


@dataclass(frozen=True)
class ApiUrl:
    """An absolute URL of an API, without credentials and fragment."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def place(self) -> str:
        """``host:port`` as the operator lists it."""
        host = self.host[:253]
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What must agree for credentials to be sent again."""
        return self.scheme, self.host, self.port

    @property
    def display(self) -> str:
        """The URL without its query, which may hold a key."""
        return f"{self.scheme}://{self.place}{self.target.partition('?')[0]}"


def parse_api_url(text: str, field: str = "location") -> ApiUrl:
    """Read an absolute HTTP URL.

    Raises:
        InvalidSource: it is none, or holds credentials or a fragment. The message does not quote it.
    """
    expected = "an address https://host[:port]/path without credentials and fragment"
    if not text.isascii() or any(mark <= " " or mark in '\\\x7f"<>' for mark in text):
        raise InvalidSource(field, expected, "another text")
    try:
        parts: SplitResult = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidSource(field, expected, "another text") from None
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc or "#" in text or port == 0:
        raise InvalidSource(field, expected, "another text")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return ApiUrl(parts.scheme, host.rstrip(".").lower(), port or _PORTS[parts.scheme], target)


def resolve(host: str, port: int) -> list[str]:
    """Find all addresses of a name with the system's resolver."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Hosts:
    """The operator's list.

    Args:
        listed: entries ``host:port``; a host is a name, an IPv4 address, or an IPv6 address in brackets.
        resolve: finds the addresses of a name.
    """

    def __init__(self, listed: Sequence[str], resolve: Resolve = resolve) -> None:
        self._listed = frozenset(_normal(entry) for entry in listed)
        self._resolve = resolve

    def check(self, url: ApiUrl) -> ApiUrl:
        """Check scheme, host and port, and return the URL. Nothing is resolved.

        Raises:
            HostNotAllowed: the host is not on the list, or the connection would not be encrypted.
        """
        if _normal(url.place) not in self._listed:
            raise HostNotAllowed(url.place, "a host and port that this node's api_hosts lists")
        if url.scheme != "https" and not _is_loopback(url.host):
            raise HostNotAllowed(url.place, "https, or http to this machine itself")
        return url

    def addresses(self, url: ApiUrl) -> tuple[str, ...]:
        """Resolve a URL's host to the addresses that may be connected to.

        Raises:
            HostNotAllowed: the URL is not allowed, or some address of the host is neither global nor listed.
            SourceUnreachable: the host has no address.
        """
        self.check(url)
        found = tuple(self._resolve(url.host, url.port))
        if not found:
            raise SourceUnreachable(url.display, "the host has no address")
        for text in found:
            address = ipaddress.ip_address(text.partition("%")[0])
            listed = f"[{address}]:{url.port}" if address.version == 6 else f"{address}:{url.port}"
            if listed not in self._listed and not all(_is_public(form) for form in _forms(address)):
                expected = "a host with public addresses, or one whose addresses api_hosts lists too"
                raise HostNotAllowed(url.place, expected)
            if url.scheme != "https" and not address.is_loopback:
                raise HostNotAllowed(url.place, "https, or http to this machine itself")
        return found


def _normal(place: str) -> str:
    host, _, port = place.lower().rpartition(":")
    bare = host.removeprefix("[").removesuffix("]").rstrip(".")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return f"{bare}:{port}"
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _forms(address: Address) -> list[Address]:
    """What an address stands for: itself, or the IPv4 addresses it leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address, *([address.sixtofour] if address.sixtofour else []), *(address.teredo or ())]


def _is_public(address: Address) -> bool:
    known = address not in _SPECIAL4 if isinstance(address, ipaddress.IPv4Address) else address in _UNICAST6
    return known and address.is_global and not address.is_multicast and not address.is_reserved
