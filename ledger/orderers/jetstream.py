"""One JetStream stream behind blocking calls: the client's event loop runs in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import ssl
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.js.api import Header, RawStreamMsg, RetentionPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import APIError, BadRequestError, NotFoundError, ServiceUnavailableError

from ledger.errors import EngineUnusable, StoreUnavailable

__all__ = ["Stream"]

_T = TypeVar("_T")

_READ_S = 0.7
_WRITE_S = 2.0
_PAUSE_S = 0.1
_REPLICAS = 3
_NO_MESSAGE = 10037
_NO_STREAM = 10059
_NO_PEERS = 10005
_IN_PROCESS = 10158
_WRONG_LAST_SEQUENCE = frozenset({10071, 10164})


class Stream:
    """A stream with three replicas in files, made if it is missing. Thread-safe.

    Args:
        name: of the stream.
        subjects: the subjects that it stores, as a wildcard.
        servers: client URLs.
        hosts: names of the servers that it may lie on.
        tls: for servers that begin with TLS (``handshake_first``).
        patience_s: how long a request is repeated before it fails.

    Raises:
        EngineUnusable: the stream that is there is not one that keeps what it acknowledged.
        StoreUnavailable: the cluster does not answer.
    """

    def __init__(
        self,
        name: str,
        subjects: str,
        servers: Sequence[str],
        *,
        hosts: Collection[str],
        tls: ssl.SSLContext | None,
        patience_s: float,
    ) -> None:
        self._name, self._subjects, self._patience_s = name, subjects, patience_s
        self._client = Client()
        self._stream = self._client.jetstream(timeout=_READ_S)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()
        self._closed = False
        try:
            self._run(self._connect(list(servers), tls))
            self._check(self._run(self._persist(self._make)), hosts)
        except BaseException:
            self.close()
            raise

    @property
    def max_payload(self) -> int:
        """The largest message the server takes, headers included, in bytes."""
        return self._client.max_payload

    def append(
        self, subject: str, data: bytes, headers: dict[str, str], *, after: int, name: str
    ) -> int | None:
        """Store a message if the last one has sequence ``after``; None if that is not so.

        Args:
            subject: its subject.
            data: its payload.
            headers: its headers, but those that make it conditional and unique.
            after: 0 for the first message.
            name: makes it unique.

        Raises:
            StoreUnavailable: not stored, or not known to be.
        """
        return self._run(self._persist(lambda: self._append(subject, data, headers, after, name)))

    def last(self, subject: str) -> RawStreamMsg | None:
        """Return the last message on a subject, which may be a wildcard."""
        return self._run(self._persist(lambda: self._get(subject=subject)))

    def get(self, sequence: int) -> RawStreamMsg | None:
        """Return the first message that has this sequence or a higher one."""
        return self._run(
            self._persist(lambda: self._get(seq=max(sequence, 1), subject=self._subjects, next=True))
        )

    def purge(self, below: int) -> None:
        """Delete the messages below a sequence."""
        self._run(self._persist(lambda: self._stream.purge_stream(self._name, seq=below)))

    def close(self) -> None:
        """End the connection and the thread. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        if self._closed:
            work.close()
            raise StoreUnavailable("nats: the connection is closed")
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except concurrent.futures.CancelledError as exc:
            raise StoreUnavailable("nats: the connection was closed") from exc

    async def _persist(self, request: Callable[[], Awaitable[_T]]) -> _T:
        """Repeat a request until patience ends; each may be carried out twice without harm."""
        deadline = self._loop.time() + self._patience_s
        while True:
            try:
                async with asyncio.timeout(2 * _WRITE_S):
                    return await request()
            except (BadRequestError, NotFoundError) as exc:
                if exc.err_code not in (_NO_PEERS, _IN_PROCESS):
                    raise StoreUnavailable(f"nats refused a request: {_words(exc)}") from exc
                reason: Exception = exc
            except (nats.errors.Error, OSError, KeyError, TypeError, ValueError) as exc:
                reason = exc  # the last three: an answer that is none of JetStream's
            if self._loop.time() >= deadline:
                raise StoreUnavailable(
                    f"nats did not answer in {self._patience_s:g} s, so it is not known whether the request "
                    f"was carried out; last answer: {_words(reason)}"
                ) from reason
            await asyncio.sleep(_PAUSE_S)

    async def _connect(self, servers: list[str], tls: ssl.SSLContext | None) -> None:
        connecting = self._client.connect(
            servers,
            error_cb=_ignore,
            tls=tls,
            tls_handshake_first=tls is not None,  # or whoever sits between could say that there is no TLS
            connect_timeout=2,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0,
        )
        try:
            await asyncio.wait_for(connecting, self._patience_s)
        except (TimeoutError, nats.errors.Error, OSError) as exc:
            reason = self._client.last_error or exc
            raise StoreUnavailable(f"nats: expected a server to connect to: {_words(reason)}") from exc

    async def _make(self) -> StreamInfo:
        """Return the stream once it has a leader; make it if it is missing."""
        try:
            info = await self._stream.stream_info(self._name)
            if info.cluster is not None and not info.cluster.leader:
                raise ServiceUnavailableError(description="the stream has no leader")
            return info
        except NotFoundError as exc:
            if exc.err_code != _NO_STREAM:
                raise
        await self._stream.add_stream(
            StreamConfig(
                name=self._name,
                subjects=[self._subjects],
                retention=RetentionPolicy.LIMITS,
                storage=StorageType.FILE,
                num_replicas=_REPLICAS,
                allow_direct=False,
            )
        )
        return await self._stream.stream_info(self._name)

    def _check(self, info: StreamInfo, hosts: Collection[str]) -> None:
        config, cluster = info.config, info.cluster
        found = {
            "storage": (config.storage, StorageType.FILE.value),
            "subjects": (config.subjects, [self._subjects]),
            "retention": (config.retention, RetentionPolicy.LIMITS.value),
            "max_msgs": (config.max_msgs, -1),
            "max_bytes": (config.max_bytes, -1),
            "max_age": (config.max_age, 0),
            "max_msgs_per_subject": (config.max_msgs_per_subject, -1),
        }
        for field, (actual, expected) in found.items():
            if actual != expected:
                raise EngineUnusable(f"nats: stream {self._name}: {field}: expected {expected}, got {actual}")
        if (config.num_replicas or 0) < _REPLICAS:
            raise EngineUnusable(
                f"nats: stream {self._name}: num_replicas: expected at least {_REPLICAS}, "
                f"got {config.num_replicas}"
            )
        replicas = (cluster.replicas or []) if cluster else []
        names = {replica.name for replica in replicas} | {cluster.leader if cluster else None}
        for name in sorted(name for name in names if name and name not in hosts):
            raise EngineUnusable(f"nats: server {name} holds the stream, and no monitoring URL belongs to it")

    async def _append(
        self, subject: str, data: bytes, headers: dict[str, str], after: int, name: str
    ) -> int | None:
        sent = {**headers, Header.EXPECTED_LAST_SEQUENCE: str(after), Header.MSG_ID: name}
        try:
            answer = await self._stream.publish(
                subject, data, timeout=_WRITE_S, stream=self._name, headers=sent
            )
        except APIError as exc:
            if exc.err_code not in _WRONG_LAST_SEQUENCE:
                raise
            stored = await self._get(seq=after + 1, subject=self._subjects, next=True)
            if stored is None:
                raise ServiceUnavailableError(description="a message was not replicated yet") from exc
            return stored.seq if (stored.headers or {}).get(Header.MSG_ID) == name else None
        return answer.seq

    async def _get(self, **which: Any) -> RawStreamMsg | None:  # noqa: ANN401 - the client's arguments
        try:
            return await self._stream.get_msg(self._name, **which)
        except NotFoundError as exc:
            if exc.err_code == _NO_MESSAGE:
                return None
            raise

    async def _end(self) -> None:
        await asyncio.wait([self._loop.create_task(self._client.close())], timeout=_WRITE_S)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_WRITE_S)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


async def _ignore(_: Exception) -> None:
    """Errors between requests show in the next request."""
