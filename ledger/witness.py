"""A witness of logs (C2SP tlog-witness): cosigns a log's checkpoint if it extends the last one it cosigned.

Without network and clock of its own: ``Witness.add_checkpoint`` takes the body of a request and returns the
answer, status included. The record of what was cosigned moves by compare-and-swap, and an answer is given
only after that: two processes over one database, or one that is killed at any moment, never let out
cosignatures on two roots of one size.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ledger.checkpoints import MAX_SIZE, Checkpoint, Cosigner, signers
from ledger.errors import InvalidConsistencyProof, MalformedNote, StaleHead, UnverifiedNote
from ledger.merkle import EMPTY_ROOT, HASH_SIZE, verify_consistency
from ledger.notes import Note, NoteSignature, Vkey
from ledger.times import Clock, system_clock

__all__ = [
    "MAX_BODY",
    "SIZE_MEDIA",
    "AddCheckpoint",
    "Answer",
    "Seen",
    "Witness",
    "WitnessStore",
    "parse_lines",
]

MAX_BODY = 512 * 1024
"""Largest body of an ``add-checkpoint`` request, in bytes: 128 signatures by ML-DSA-44 fit."""

SIZE_MEDIA = "text/x.tlog.size"
_TEXT = "text/plain; charset=utf-8"

_MAX_PROOF = 63
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")
_TRIES = 3
_BEFORE_LINES = b"answer\n\n"


@dataclass(frozen=True)
class AddCheckpoint:
    """The body of an ``add-checkpoint`` request.

    Attributes:
        old: size of the checkpoint that the witness is thought to have cosigned last.
        proof: consistency proof from there; at most 63 hashes.
        checkpoint: the signed note, as its bytes.
    """

    old: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """Write the body."""
        hashes = "".join(base64.b64encode(node).decode() + "\n" for node in self.proof)
        return f"old {self.old}\n{hashes}\n".encode() + self.checkpoint

    @classmethod
    def parse(cls, body: bytes) -> AddCheckpoint:
        """Read a body. The checkpoint in it is not looked at.

        Raises:
            MalformedNote: another form.
        """
        head, separator, checkpoint = body.partition(b"\n\n")
        try:
            first, *lines = head.decode("ascii").split("\n")
            proof = tuple(base64.b64decode(line, validate=True) for line in lines)
        except (UnicodeDecodeError, binascii.Error) as exc:
            raise MalformedNote("expected an old size and hashes in base64") from exc
        match = _OLD.fullmatch(first)
        if match is None or not separator or int(match[1]) > MAX_SIZE:
            raise MalformedNote("expected an old size, hashes, an empty line and a checkpoint")
        if len(proof) > _MAX_PROOF or any(len(node) != HASH_SIZE for node in proof):
            raise MalformedNote(f"expected at most {_MAX_PROOF} hashes of {HASH_SIZE} bytes")
        request = cls(int(match[1]), proof, checkpoint)
        if request.encode() != body:
            raise MalformedNote("expected canonical base64")
        return request


@dataclass(frozen=True)
class Answer:
    """What a request is answered with: HTTP status, body, media type."""

    status: int
    body: bytes
    media: str = _TEXT


@dataclass(frozen=True)
class Seen:
    """The last checkpoint cosigned for a log.

    Attributes:
        size: its size.
        root: its root.
        note: it with the signatures of the log's known keys and the cosignatures.
    """

    size: int
    root: bytes
    note: bytes


class WitnessStore(Protocol):
    """Where a witness keeps the last checkpoint of each log. Trusted to keep what it committed."""

    def latest(self, origin: str) -> Seen | None:
        """Return the last checkpoint of a log; None before the first."""

    def advance(self, origin: str, old: Seen | None, new: Seen) -> None:
        """Replace the record of a log durably, if it still has the size and root of ``old``.

        Raises:
            StaleHead: it has another; nothing was changed.
        """


class Witness:
    """One witness. Thread-safe as far as its store is.

    Args:
        store: the record of what was cosigned.
        logs: returns the verifier keys trusted for an origin; none for an unknown log.
        cosigners: the witness's keys; each adds a line to an answer. None: only the record is kept, as a
            mirror does for its pending checkpoint.
        clock: the time of cosignatures.
    """

    def __init__(
        self,
        store: WitnessStore,
        logs: Callable[[str], Sequence[Vkey]],
        cosigners: Sequence[Cosigner],
        clock: Clock = system_clock,
    ) -> None:
        self._store, self._logs, self._cosigners, self._clock = store, logs, tuple(cosigners), clock

    @property
    def vkeys(self) -> tuple[Vkey, ...]:
        """What the cosignatures are verified with."""
        return tuple(cosigner.vkey for cosigner in self._cosigners)

    def latest(self, origin: str) -> Seen | None:
        """Return the last checkpoint of a log, as ``GET <origin hash>/checkpoint`` shows it."""
        return self._store.latest(origin)

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer an ``add-checkpoint`` request.

        Returns:
            200 with the cosignature lines; 400 malformed; 403 not signed by the log, or wrongly; 404 unknown
            origin; 409 with the size of the last cosigned checkpoint; 422 not consistent.

        Raises:
            StoreUnavailable: nothing was cosigned.
        """
        try:
            request = AddCheckpoint.parse(body)
            note = Note.parse(request.checkpoint)
            checkpoint = Checkpoint.parse(note.text)
        except MalformedNote as exc:
            return _refused(400, str(exc))
        vkeys = self._logs(checkpoint.origin)
        if not vkeys:
            return _refused(404, "the origin is not one that this witness knows")
        try:
            signed = signers(note, vkeys)
        except UnverifiedNote as exc:
            return _refused(403, str(exc))
        if not signed:
            return _refused(403, "expected a signature by a key of this origin, got none")
        if request.old > checkpoint.size:
            return _refused(400, f"expected an old size of at most {checkpoint.size}, got {request.old}")
        by_log = replace(note, signatures=tuple(signed.values()))
        for _ in range(_TRIES):
            answer = self._decide(request, checkpoint, by_log)
            if answer is not None:
                return answer
        return self._conflict(checkpoint.origin)

    def _decide(self, request: AddCheckpoint, checkpoint: Checkpoint, note: Note) -> Answer | None:
        """Compare with the record and move it; None if somebody else moved it meanwhile."""
        now = int(self._clock().timestamp())
        last = self._store.latest(checkpoint.origin)
        if request.old != (last.size if last else 0):
            return self._conflict(checkpoint.origin)
        try:
            _check_growth(last, request, checkpoint)
        except InvalidConsistencyProof as exc:
            return _refused(422, str(exc))
        lines = [cosigner.cosign(note.text, now) for cosigner in self._cosigners]
        seen = Seen(checkpoint.size, checkpoint.root, _signed(note, lines).encode())
        try:
            self._store.advance(checkpoint.origin, last, seen)
        except StaleHead:
            return None
        return Answer(200, "".join(line.encode() for line in lines).encode())

    def _conflict(self, origin: str) -> Answer:
        last = self._store.latest(origin)
        return Answer(409, f"{last.size if last else 0}\n".encode(), SIZE_MEDIA)


def parse_lines(body: bytes) -> list[NoteSignature]:
    """Read the body of a successful answer: one or more signature lines.

    Raises:
        MalformedNote: another form.
    """
    note = Note.parse(_BEFORE_LINES + body)
    if note.text.encode() + b"\n" != _BEFORE_LINES:
        raise MalformedNote("expected signature lines and nothing else")
    return list(note.signatures)


def _check_growth(last: Seen | None, request: AddCheckpoint, checkpoint: Checkpoint) -> None:
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise InvalidConsistencyProof("expected the root of the empty tree at size 0")
    old_root = last.root if last else EMPTY_ROOT
    verify_consistency(request.old, old_root, checkpoint.size, checkpoint.root, request.proof)


def _signed(note: Note, lines: Iterable[NoteSignature]) -> Note:
    return replace(note, signatures=(*note.signatures, *lines))


def _refused(status: int, reason: str) -> Answer:
    return Answer(status, f"{reason}\n".encode())
