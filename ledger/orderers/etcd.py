"""Order by compare-and-swap in an etcd cluster, over its JSON gateway.

Keys, all under ``parley/<space>/``; heights as 16 hex digits:

| key | value |
| --- | --- |
| ``head`` | the next free height; absent before the first batch of an order that starts at 0 |
| ``start`` | where the order starts; absent if that is 0 |
| ``b/<height>`` | the batch: a line ``<writer> <parts>``, then the batch itself if ``parts`` is 0 |
| ``p/<height>/<writer>/<part>`` | part of a batch that is larger than one request may be |

A batch is ordered by one transaction: if ``head`` is its height and its key was never made, its key is made
and ``head`` moves. Parts are written before, under a name that nobody else uses. So a proposer that dies
leaves either an ordered batch, whole, or parts that no batch names; the next trim deletes those.

A request that was not answered is repeated, elsewhere: the writer's name in the value tells whether it had
been carried out. What stays unknown is reported as ``StoreUnavailable``, and ``follow`` tells later.
"""

from __future__ import annotations

import base64
import secrets
import ssl
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
from sqlalchemy import Connection

from ledger.errors import EngineUnusable, OrderConflict, StoreCorrupt, StoreUnavailable
from ledger.orderers import Faults

__all__ = ["EtcdOrderer"]

_PART = 1024 * 1024
"""Bytes in one value; etcd refuses requests above 1.5 MiB."""

_PAGE = 8
_ATTEMPT_S = 1.5
_PAUSE_S = 0.1
_COMPACTED = 11
_LOSSY_VERSIONS = frozenset({"3.5.0", "3.5.1", "3.5.2"})
"""They may lose committed transactions in a crash: etcd's own post-mortem of April 2022."""


class EtcdOrderer:
    """One order in an etcd cluster of its own: trimming compacts the whole key space.

    Args:
        endpoints: client URLs of all servers.
        space: names the order; the hash of the genesis, so that two ledgers never meet.
        tls: for ``https`` endpoints, with the client certificate if the servers ask for one.
        patience_s: how long a request is repeated before it fails; elections take one to two seconds.

    Raises:
        EngineUnusable: a server has a version that may lose data.
        StoreUnavailable: no server answers.
    """

    kind = "etcd"
    faults: Faults = "crash"
    max_batch = 16 * 1024 * 1024

    def __init__(
        self,
        endpoints: Sequence[str],
        space: str,
        *,
        tls: ssl.SSLContext | None = None,
        patience_s: float = 6.0,
    ) -> None:
        self._endpoints = [endpoint.rstrip("/") for endpoint in endpoints]
        self._prefix = f"parley/{space}/"
        self._patience_s = patience_s
        self._client = httpx.Client(verify=tls or True, trust_env=False)
        self._checked: set[str] = set()
        self._current = 0
        try:
            self._check_versions()
        except (EngineUnusable, StoreUnavailable):
            self.close()
            raise

    def reference(self, height: int) -> str:
        """Return the height: revisions and terms are known only after the seal is signed."""
        return str(height)

    def begin(self, height: int) -> None:
        """Set ``head`` and ``start``; see ``Orderer.begin``."""
        head, start = self._bounds()
        if start == height:
            return
        if head is not None and not start < head < height:
            raise OrderConflict(f"expected an order that starts at {height}, it started at {start}")
        old = [_delete(self._key(table, 0), _end(self._key(table))) for table in ("b", "p")]
        done = self._transact(
            [self._head_is(head)],
            [*old, _put(self._key("head"), str(height)), _put(self._key("start"), str(height))],
            [],
        )
        if not done["succeeded"] and self._bounds()[1] != height:
            raise OrderConflict("another writer began an order")

    def propose(self, height: int, batch: bytes, connection: Connection) -> None:
        """Compare and swap; see ``Orderer.propose``."""
        writer = secrets.token_hex(16)
        parts = [batch[start : start + _PART] for start in range(0, len(batch), _PART)]
        value = f"{writer} {len(parts)}\n".encode()
        if len(parts) == 1:
            value = f"{writer} 0\n".encode() + batch
        else:
            self._require_head(height)
            for number, part in enumerate(parts):
                self._transact([], [_put(self._part(height, writer, number), part)], [])
        key = self._key("b", height)
        done = self._transact(
            [self._head_is(height or None), _absent(key)],
            [_put(key, value), _put(self._key("head"), str(height + 1))],
            [{"request_range": {"key": _encoded(key)}}],
        )
        if not done["succeeded"]:
            found = _ranges(done)[0]
            if not found or found[0][1].partition(b" ")[0] != writer.encode():
                raise OrderConflict(f"expected the next height, got {height}: it was taken, or is not next")

    def follow(self, height: int) -> Iterator[tuple[int, bytes]]:
        """Yield batches in order, as they stood at one revision."""
        revision = "0"
        while True:
            page = self._range(self._key("b", height), _end(self._key("b")), revision, _PAGE)
            revision = _revision(page)
            found = _values(page)
            for key, value in found:
                if _height(key) < height:
                    raise StoreCorrupt(f"etcd: expected height {height} or a later one, found {_height(key)}")
                height = _height(key) + 1
                yield height - 1, self._assemble(height - 1, value, revision)
            if not found or not page.get("more"):
                return

    def head(self) -> int:
        """Return the next free height."""
        return self._bounds()[0] or 0

    def trim(self, below: int) -> None:
        """Delete batches and unused parts below a height, and compact, which frees the memory."""
        stop = min(below, self.head() - 1)
        if stop <= 0:
            return
        old = [_delete(self._key(table, 0), self._key(table, stop)) for table in ("b", "p")]
        done = self._transact([], old, [])
        self._call("/v3/kv/compaction", {"revision": _revision(done)}, ignored=_COMPACTED)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _key(self, table: str, height: int | None = None) -> str:
        if height is None:
            return f"{self._prefix}{table}" + ("/" if len(table) == 1 else "")
        return f"{self._prefix}{table}/{height:016x}"

    def _part(self, height: int, writer: str, number: int) -> str:
        return f"{self._key('p', height)}/{writer}/{number:04x}"

    def _bounds(self) -> tuple[int | None, int]:
        """Return head and start, from one revision."""
        reads = [{"request_range": {"key": _encoded(self._key(name))}} for name in ("head", "start")]
        done = self._transact([], reads, [])
        head, start = (_number(values[0][1]) if values else None for values in _ranges(done, len(reads)))
        return head, start or 0

    def _require_head(self, height: int) -> None:
        head = self.head()
        if head != height:
            raise OrderConflict(f"expected height {head}, got {height}")

    def _head_is(self, height: int | None) -> dict[str, str]:
        key = self._key("head")
        if height is None:
            return _absent(key)
        return {
            "key": _encoded(key),
            "target": "VALUE",
            "result": "EQUAL",
            "value": _encoded(str(height)),
        }

    def _assemble(self, height: int, value: bytes, revision: str) -> bytes:
        line, _, batch = value.partition(b"\n")
        writer, _, count = line.decode("ascii", "replace").partition(" ")
        parts = _number(count.encode())
        if not parts:
            return batch
        prefix = f"{self._key('p', height)}/{writer}/"
        found: list[bytes] = []
        while len(found) < parts:
            first = self._part(height, writer, len(found))
            page = _values(self._range(first, _end(prefix), revision, _PAGE))
            if not page or page[0][0] != first:
                raise StoreCorrupt(f"etcd: batch {height}: expected {parts} parts, found {len(found)}")
            found += [part for _, part in page]
        return b"".join(found)

    def _range(self, key: str, end: str, revision: str, limit: int) -> dict[str, Any]:
        return self._call(
            "/v3/kv/range",
            {"key": _encoded(key), "range_end": _encoded(end), "revision": revision, "limit": str(limit)},
        )

    def _transact(
        self, compare: list[dict[str, str]], success: list[dict[str, Any]], failure: list[dict[str, Any]]
    ) -> dict[str, Any]:
        done = self._call("/v3/kv/txn", {"compare": compare, "success": success, "failure": failure})
        return {"succeeded": False, **done}

    def _check_versions(self) -> None:
        """Ask every server once; one that is away is asked before its first use."""
        failure: StoreUnavailable | None = None
        for endpoint in self._endpoints:
            try:
                self._check_version(endpoint)
            except httpx.HTTPError as exc:
                failure = StoreUnavailable(f"etcd at {endpoint}: {type(exc).__name__}: {exc}")
        if not self._checked:
            raise failure or EngineUnusable("etcd: expected at least one endpoint")

    def _check_version(self, endpoint: str) -> None:
        if endpoint in self._checked:
            return
        answer = self._client.post(f"{endpoint}/v3/maintenance/status", json={}, timeout=_ATTEMPT_S)
        answer.raise_for_status()
        version = _document(answer).get("version")
        if not version or not isinstance(version, str) or version.partition("-")[0] in _LOSSY_VERSIONS:
            raise EngineUnusable(
                f"etcd at {endpoint}: expected a version other than {', '.join(sorted(_LOSSY_VERSIONS))}, "
                f"which may lose committed data, got {version or 'none'}"
            )
        self._checked.add(endpoint)

    def _call(self, path: str, body: dict[str, Any], ignored: int | None = None) -> dict[str, Any]:
        """Have one server carry out a request; repeat it at the next one until patience ends."""
        deadline = time.monotonic() + self._patience_s
        while True:
            endpoint = self._endpoints[self._current % len(self._endpoints)]
            remaining = max(_PAUSE_S, deadline - time.monotonic())
            try:
                self._check_version(endpoint)
                answer = self._client.post(endpoint + path, json=body, timeout=min(_ATTEMPT_S, remaining))
            except httpx.HTTPError as exc:
                reason = f"{type(exc).__name__}: {exc}"
            else:
                document = _document(answer)
                if answer.status_code == httpx.codes.OK:
                    return document
                code, reason = document.get("code"), str(document.get("error", answer.status_code))
                if code == ignored and ignored is not None:
                    return {}
                if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR and code not in _TRANSIENT:
                    raise StoreUnavailable(f"etcd refused a request: {reason}")
            if time.monotonic() >= deadline:
                raise StoreUnavailable(
                    f"etcd did not answer in {self._patience_s:g} s, so it is not known whether the request "
                    f"was carried out; last answer: {reason}"
                )
            self._current += 1
            time.sleep(_PAUSE_S)


_TRANSIENT = (4, 14)
"""gRPC's DEADLINE_EXCEEDED and UNAVAILABLE: no leader, leader changed, timed out."""


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {}


def _encoded(value: str | bytes) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def _end(prefix: str) -> str:
    """Return the key after all that start with ``prefix``, which ends with an ASCII character."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _put(key: str, value: str | bytes) -> dict[str, Any]:
    return {"request_put": {"key": _encoded(key), "value": _encoded(value)}}


def _delete(start: str, end: str) -> dict[str, Any]:
    return {"request_delete_range": {"key": _encoded(start), "range_end": _encoded(end)}}


def _absent(key: str) -> dict[str, str]:
    return {"key": _encoded(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}


def _values(answer: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Return the keys and values of a range."""
    try:
        return [
            (base64.b64decode(kv["key"]).decode(), base64.b64decode(kv.get("value", "")))
            for kv in answer.get("kvs", [])
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise _unexpected(exc) from exc


def _ranges(answer: dict[str, Any], count: int = 1) -> list[list[tuple[str, bytes]]]:
    """Return the ranges that a transaction read."""
    try:
        return [_values(answer["responses"][position]["response_range"]) for position in range(count)]
    except (IndexError, KeyError, TypeError) as exc:
        raise _unexpected(exc) from exc


def _revision(answer: dict[str, Any]) -> str:
    try:
        return str(int(answer["header"]["revision"]))
    except (KeyError, TypeError, ValueError) as exc:
        raise _unexpected(exc) from exc


def _unexpected(cause: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"etcd: expected an answer of its v3 interface, got another ({type(cause).__name__})"
    )


def _height(key: str) -> int:
    try:
        return int(key.rpartition("/")[2], 16)
    except ValueError:
        raise StoreCorrupt("etcd: expected a height as the end of a key, found another text") from None


def _number(value: bytes) -> int:
    if not value.isdigit():
        raise StoreCorrupt("etcd: expected a number of decimal digits, found another value")
    return int(value)
