"""One outside witness or mirror of this hub's log, from the hub's side (C2SP tlog-witness, tlog-mirror)."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import httpx

from exchange.config import OutsideCopy
from exchange.errors import ExchangeError
from exchange.tls import client_context
from ledger.checkpoints import cosigners
from ledger.errors import LedgerError, MalformedNote
from ledger.notes import Note, NoteSignature, Vkey
from ledger.subtrees import subtree_proof
from ledger.tiles import TILE_WIDTH, decode_entries, hash_from_tiles
from ledger.uploads import MirrorInfo, UploadHeader, encode_upload
from ledger.witness import AddCheckpoint, parse_lines

__all__ = ["CopyRefused", "CopyUnreachable", "MirrorCopy", "PushedLog", "WitnessCopy"]

_CONNECT_S = 5.0
_ANSWER_S = 120.0
_ANSWER_LIMIT = 1 << 20
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")
_TRIES = 5


class CopyUnreachable(ExchangeError):
    """An outside witness or mirror does not answer as it should."""

    code = "copy.unreachable"
    blame = "nobody"
    retryable = True


class CopyRefused(ExchangeError):
    """An outside witness or mirror refuses this log's checkpoint: it may know another history."""

    code = "copy.refused"
    blame = "peer"


class PushedLog(Protocol):
    """What is read of a log; ``ledger.log.Log`` is one."""

    def tile(self, level: int, number: int, width: int) -> bytes:
        """Return a tile."""

    def entry_bundle(self, number: int, width: int) -> bytes:
        """Return a bundle of entries."""


class _Client:
    """HTTP to one pinned server, with answers of bounded length."""

    def __init__(self, copy: OutsideCopy) -> None:
        self._http = httpx.Client(
            base_url=copy.url,
            verify=client_context(None, None, copy.certificate),
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S),
            trust_env=False,
        )

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        try:
            with self._http.stream("POST", path, content=body, headers=dict(headers)) as response:
                answer = bytearray()
                for piece in response.iter_raw():
                    answer += piece
                    if len(answer) > _ANSWER_LIMIT:
                        raise CopyUnreachable(f"expected an answer of at most {_ANSWER_LIMIT} bytes")
        except (httpx.HTTPError, OSError) as error:
            raise CopyUnreachable(f"the copy's server does not answer: {type(error).__name__}") from error
        return response.status_code, bytes(answer)

    def close(self) -> None:
        self._http.close()


class WitnessCopy:
    """A witness. One thread uses it."""

    def __init__(self, copy: OutsideCopy, log: PushedLog) -> None:
        self.vkeys, self.name = copy.vkeys, copy.vkeys[0].name
        self._client, self._log, self._cosigned = _Client(copy), log, 0

    def push(self, size: int, note: bytes) -> dict[Vkey, NoteSignature]:
        """Have the log's checkpoint of ``size`` cosigned.

        Returns:
            The valid lines by the keys that are known of it; none if it is ahead of ``size``.

        Raises:
            CopyUnreachable, CopyRefused: it was not cosigned.
        """
        answer = self._add_checkpoint(size, note)
        return {} if answer is None else _verified(note, answer, self.vkeys)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _add_checkpoint(self, size: int, note: bytes) -> bytes | None:
        for _ in range(_TRIES):
            if self._cosigned > size:
                return None
            proof = self._consistency(self._cosigned, size)
            body = AddCheckpoint(self._cosigned, proof, note).encode()
            status, answer = self._client.post("/add-checkpoint", body, {"Content-Type": "text/plain"})
            if status == 200:
                self._cosigned = size
                return answer
            found = _SIZE.fullmatch(answer) if status == 409 else None
            if found is None:
                raise _refusal(status)
            self._cosigned = int(found[1])
        raise CopyUnreachable("another client moves this witness all the time")

    def _consistency(self, old: int, size: int) -> tuple[bytes, ...]:
        return () if old in (0, size) else tuple(subtree_proof(0, old, size, self._hash_of))

    def _hash_of(self, start: int, stop: int) -> bytes:
        return hash_from_tiles(self._log.tile, start, stop)


class MirrorCopy(WitnessCopy):
    """A mirror. One thread uses it."""

    def __init__(self, copy: OutsideCopy, log: PushedLog, origin: str) -> None:
        super().__init__(copy, log)
        self._origin, self._next = origin, 0

    def push(self, size: int, note: bytes) -> dict[Vkey, NoteSignature]:
        """Hand over the checkpoint of ``size`` and every entry below it that the mirror does not hold.

        Returns:
            The valid lines by the keys that are known of it; none if it is ahead of ``size``.

        Raises:
            CopyUnreachable, CopyRefused: it was not cosigned.
        """
        if self._add_checkpoint(size, note) is None:
            return {}
        ticket, idle = b"", 0
        while idle < _TRIES:
            header = UploadHeader(self._origin, min(self._next, size), size, ticket)
            status, answer = self._upload(header)
            if status == 200:
                self._next = max(self._next, size)
                return _verified(note, answer, self.vkeys)
            if status not in (202, 409):
                raise _refusal(status)
            info = _info(answer)
            if info.size > size and status == 409:
                return {}
            idle = idle + 1 if info.next <= self._next else 0
            self._next, ticket = info.next, info.ticket
        raise CopyUnreachable("the mirror does not move on")

    def _upload(self, header: UploadHeader) -> tuple[int, bytes]:
        body = encode_upload(header, self._entries, self._hash_of)
        headers = {"Content-Type": "application/octet-stream", "Content-Encoding": "gzip"}
        return self._client.post("/add-entries", gzip.compress(body, 1), headers)

    def _entries(self, start: int, stop: int) -> list[bytes]:
        number = start // TILE_WIDTH
        width = stop - number * TILE_WIDTH
        return decode_entries(self._log.entry_bundle(number, width))[start - number * TILE_WIDTH :]


def _verified(note: bytes, answer: bytes, vkeys: Sequence[Vkey]) -> dict[Vkey, NoteSignature]:
    try:
        lines = tuple(parse_lines(answer))
        found = cosigners(Note(Note.parse(note).text, lines), vkeys)
    except LedgerError as error:
        raise CopyUnreachable(f"the copy's cosignature is of no use: {error}") from error
    if not found:
        raise CopyUnreachable("expected a cosignature by a known key of the copy, got none")
    return found


def _info(answer: bytes) -> MirrorInfo:
    try:
        return MirrorInfo.parse(answer)
    except MalformedNote as error:
        raise CopyUnreachable(f"the mirror's answer is of no use: {error}") from error


def _refusal(status: int) -> ExchangeError:
    if status == 422:
        return CopyRefused("the copy holds another history of this log, or the proof is wrong")
    if status in (403, 404):
        return CopyRefused(f"the copy does not know this log and its key (it answered {status})")
    return CopyUnreachable(f"expected the copy's cosignature, got status {status}")
