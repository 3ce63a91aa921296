"""A finished step as bytes: what a node keeps, sealed to its own key, to go on after a restart.

A canonical head says what the receipt states and how long each part is; the parts follow as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exchange.jobs.component import Outcome
from exchange.web.kinds import read_as
from ledger import canonical

__all__ = ["Finished", "pack", "unpack"]

_HEAD_LENGTH = 4
_LOCAL, _RELEASE, _FILE = "local", "release", "file:"


@dataclass(frozen=True)
class Finished:
    """A step's outcome and the body of its receipt, without the peers' receipts."""

    outcome: Outcome
    receipt: Mapping[str, object]


@dataclass(frozen=True)
class _Head:
    receipt: dict[str, object]
    cohort: int
    parts: dict[str, int]


def pack(finished: Finished) -> bytes:
    """Encode; the inverse of ``unpack``."""
    outcome = finished.outcome
    parts = {_LOCAL: outcome.local}
    if outcome.release is not None:
        parts[_RELEASE] = outcome.release
    parts |= {_FILE + name: content for name, content in outcome.files.items()}
    lengths = {name: len(content) for name, content in sorted(parts.items())}
    head = canonical.encode({"receipt": dict(finished.receipt), "cohort": outcome.cohort, "parts": lengths})
    return b"".join((len(head).to_bytes(_HEAD_LENGTH, "big"), head, *(parts[name] for name in lengths)))


def unpack(raw: bytes) -> Finished:
    """Decode what ``pack`` wrote.

    Raises:
        InvalidRequest: the bytes have another form; a kept step of another build is not guessed at.
    """
    at = _HEAD_LENGTH + int.from_bytes(raw[:_HEAD_LENGTH], "big")
    head = read_as(_Head, canonical.decode(raw[_HEAD_LENGTH:at]), "kept step")
    parts = {}
    for name, length in sorted(head.parts.items()):
        parts[name] = raw[at : at + length]
        at += length
    files = {name.removeprefix(_FILE): part for name, part in parts.items() if name.startswith(_FILE)}
    return Finished(Outcome(parts[_LOCAL], parts.get(_RELEASE), head.cohort, files), head.receipt)
