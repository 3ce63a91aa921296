"""Requests to a JSON API: to the checked address, within limits, again where the server asks for patience."""

from __future__ import annotations

import base64
import contextvars
import email.utils
import logging
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urljoin

import httpx

from connectors.api_hosts import ApiUrl, Hosts, parse_api_url
from connectors.api_options import ApiOptions, Auth
from connectors.errors import InvalidSource, LimitExceeded, SourceUnreachable

__all__ = ["ApiClient", "Clock", "Page"]

CONNECT_S: Final = 10.0
SILENCE_S: Final = 30.0
LONGEST_WAIT_S: Final = 120.0
_FIRST_WAIT_S: Final = 0.5
_PATIENCE: Final = frozenset({408, 429, 500, 502, 503, 504})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 3
_asking: Final = contextvars.ContextVar("asking", default=False)


@dataclass(frozen=True)
class Clock:
    """Where time comes from and how it passes."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True)
class Page:
    """One answer: its bytes, and the address of the next page where a ``Link`` header gives one."""

    body: bytes
    link: str | None


class ApiClient:
    """The requests of one read. Close it after use.

    The host is resolved and checked once, here; every request goes to an address found then, while names and
    certificates are checked against the host. Nothing of the environment (proxies, netrc) is used.
    """

    def __init__(self, url: ApiUrl, options: ApiOptions, hosts: Hosts, clock: Clock) -> None:
        self._url, self._limits, self._clock = url, options.limits, clock
        self._addresses = hosts.addresses(url)
        self._headers = {
            "Host": url.place if url.port not in (80, 443) else url.place.rpartition(":")[0],
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # a compressed page could be of any size
            "User-Agent": "parley",
            **_credentials(options.auth),
        }
        self._client = httpx.Client(
            verify=_tls(options.ca), trust_env=False, timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S)
        )
        self._deadline = clock.monotonic() + options.limits.seconds
        self._bytes_left = options.limits.bytes
        self._not_before = clock.monotonic()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, target: str) -> Page:
        """Fetch one page.

        Raises:
            SourceUnreachable: the server does not answer, or answers with something else than a page.
            LimitExceeded: the page is too large, or the time is over.
        """
        for redirects in range(_MOST_REDIRECTS + 1):
            found = self._patiently(target)
            if isinstance(found, Page):
                return found
            target = self._same_origin(found, target)
            if redirects == _MOST_REDIRECTS:
                break
        raise SourceUnreachable(self._url.display, f"more than {_MOST_REDIRECTS} redirects")

    def follow(self, link: str, target: str) -> str:
        """Turn a link of the page at ``target`` into the next target; it must stay at the same server."""
        return self._same_origin(link, target)

    def _same_origin(self, link: str, target: str) -> str:
        here = f"{self._url.scheme}://{self._url.place}"
        try:
            url = parse_api_url(urljoin(here + target, link))
        except (InvalidSource, ValueError):
            url = None
        if url is None or url.origin != self._url.origin:
            # To another server the credentials would go along, or the reader would.
            raise SourceUnreachable(
                self._url.display, "a link or redirect to another server, which is not followed"
            )
        return url.target

    def _patiently(self, target: str) -> Page | str:
        wait = _FIRST_WAIT_S
        for attempt in range(self._limits.attempts):
            self._take_turn()
            address = self._addresses[attempt % len(self._addresses)]
            try:
                found = self._once(address, target)
            except httpx.HTTPError as exc:
                # Not chained: the cause's request holds the credentials.
                reason, asked = type(exc).__name__, None
            else:
                if not isinstance(found, _Busy):
                    return found
                reason, asked = f"answered {found.status}", found.wait
            if asked is not None and asked > LONGEST_WAIT_S:
                raise SourceUnreachable(self._url.display, f"{reason} and asks to wait {int(asked)} s")
            if attempt + 1 < self._limits.attempts:
                self._sleep(asked if asked is not None else wait * (1 + secrets.randbelow(256) / 1024))
                wait *= 2
        raise SourceUnreachable(self._url.display, f"{reason}, {self._limits.attempts} times")

    def _once(self, address: str, target: str) -> Page | _Busy | str:
        token = _asking.set(True)
        try:
            return self._answer(address, target)
        finally:
            _asking.reset(token)

    def _answer(self, address: str, target: str) -> Page | _Busy | str:
        host = f"[{address}]" if ":" in address else address
        request = self._client.build_request(
            "GET",
            f"{self._url.scheme}://{host}:{self._url.port}{target}",
            headers=self._headers,
            extensions={"sni_hostname": self._url.host},
        )
        with self._sent(request) as response:
            if response.status_code in _PATIENCE:
                return _Busy(response.status_code, _asked(response.headers.get("Retry-After"), self._clock))
            if response.status_code in _REDIRECTS and "Location" in response.headers:
                return str(response.headers["Location"])
            if response.status_code != httpx.codes.OK:
                raise SourceUnreachable(self._url.display, f"answered {response.status_code}")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise SourceUnreachable(self._url.display, "answers compressed, though asked not to")
            body = bytearray()
            for chunk in response.iter_raw():
                body += chunk
                self._bytes_left -= len(chunk)
                if len(body) > self._limits.page_bytes:
                    raise LimitExceeded(
                        self._url.display, f"pages of at most {self._limits.page_bytes} bytes"
                    )
                if self._bytes_left < 0:
                    raise LimitExceeded(self._url.display, f"at most {self._limits.bytes} bytes")
                self._check_time()
            return Page(bytes(body), response.links.get("next", {}).get("url"))

    @contextmanager
    def _sent(self, request: httpx.Request) -> Iterator[httpx.Response]:
        response = self._client.send(request, stream=True)
        try:
            yield response
        finally:
            response.close()

    def _take_turn(self) -> None:
        """Wait until the rate limit allows a request."""
        if self._limits.requests_per_minute:
            now = self._clock.monotonic()
            if now < self._not_before:
                self._sleep(self._not_before - now)
            self._not_before = max(now, self._not_before) + 60 / self._limits.requests_per_minute
        self._check_time()

    def _sleep(self, wait_s: float) -> None:
        if self._clock.monotonic() + wait_s > self._deadline:
            raise LimitExceeded(self._url.display, f"at most {self._limits.seconds} s")
        self._clock.sleep(wait_s)

    def _check_time(self) -> None:
        if self._clock.monotonic() > self._deadline:
            raise LimitExceeded(self._url.display, f"at most {self._limits.seconds} s")


class _Unlogged(logging.Filter):
    """Drops what the HTTP library would log of these requests: addresses and headers, which may hold keys."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _asking.get()


for _name in ("httpx", "httpcore.connection", "httpcore.http11"):
    logging.getLogger(_name).addFilter(_Unlogged())


@dataclass(frozen=True)
class _Busy:
    """The server asks for patience: for how many seconds, where it says."""

    status: int
    wait: float | None


def _credentials(auth: Auth) -> dict[str, str]:
    match auth.scheme:
        case "bearer":
            return {"Authorization": f"Bearer {auth.secret}"}
        case "header":
            return {auth.user: auth.secret}
        case "basic":
            pair = base64.b64encode(f"{auth.user}:{auth.secret}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        case _:
            return {}


def _tls(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError):
        raise InvalidSource("options.ca", "certificates in PEM", "another text") from None


def _asked(header: str | None, clock: Clock) -> float | None:
    """Read ``Retry-After`` (RFC 9110, 10.2.3): seconds, or a date."""
    if header is None:
        return None
    if header.isascii() and header.isdigit():
        return float(header[:10])
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - clock.now()).total_seconds())
