"""What a party keeps of a run under way, so that a later attempt at it goes on from there.

Checkpoints are numbered by what is entered next: a round, a tree or an epoch, counted from 1. All parties of
an attempt begin at one that all of them hold. What a party enters after a checkpoint is part of it: if that
is played again, the same is entered again, under fresh masks, shares and keys.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import astuple, is_dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput

__all__ = ["HELD", "Arrays", "Checkpoints", "as_text", "decode", "encode", "from_text", "rows_of"]

Arrays = Mapping[str, NDArray[Any]]

HELD: Final = 2
"""Parties of a run are at most one checkpoint apart, so that the two newest have one in common."""


class Checkpoints:
    """Those of one party, in memory.

    Args:
        attempt: at the run, from 1.
        begins_at: the number of the checkpoint that all parties begin this attempt at; 0 for the start.
        held: by number.
    """

    def __init__(self, attempt: int = 1, begins_at: int = 0, held: Mapping[int, bytes] | None = None) -> None:
        self.attempt, self.begins_at = attempt, begins_at
        self._held = dict(held or {})
        self.is_closed = False
        """Whether no later attempt is allowed."""

    @property
    def held(self) -> dict[int, bytes]:
        """Those that this party holds, encoded, by number."""
        return dict(self._held)

    @property
    def begun(self) -> Arrays | None:
        """The checkpoint that this attempt begins at; None for the start.

        Raises:
            InvalidInput: this party does not hold it.
        """
        if not self.begins_at:
            return None
        found = self.get(self.begins_at)
        if found is None:
            raise InvalidInput(
                f"checkpoint: expected to hold number {self.begins_at}, got {sorted(self._held)}"
            )
        return found

    def get(self, number: int) -> Arrays | None:
        """The checkpoint of that number, of this attempt or an earlier one; None where there is none."""
        raw = self._held.get(number)
        return None if raw is None else decode(raw)

    def keep(self, number: int, arrays: Arrays) -> None:
        """Keep a checkpoint before anything is sent of what follows it; older ones go but for the last.

        Where no later attempt is allowed, nothing is kept.
        """
        if self.is_closed:
            return
        self._held = {one: raw for one, raw in self._held.items() if one > number - HELD}
        self._held[number] = encode(arrays)
        self._store(number, self._held[number])

    def forget_later(self) -> None:
        """Drop what comes after the checkpoint that this attempt begins at.

        Shares of an earlier attempt do not fit those that other parties make anew.
        """
        self._held = {one: raw for one, raw in self._held.items() if one <= self.begins_at}

    def close(self) -> None:
        """Allow no later attempt; the checkpoints go."""
        self.is_closed = True
        self._held.clear()

    def _store(self, number: int, raw: bytes) -> None:
        """Keep it elsewhere too, where that is asked for."""


def encode(arrays: Arrays) -> bytes:
    """Arrays by name as bytes, in numpy's own form."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def decode(raw: bytes) -> Arrays:
    """The inverse of `encode`."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def as_text(value: object) -> NDArray[np.uint8]:
    """A JSON value as an array of bytes; numbers come back as they were."""
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


def from_text(array: NDArray[np.uint8]) -> Any:  # noqa: ANN401 - whatever was written
    """The inverse of `as_text`."""
    return json.loads(array.tobytes())


def rows_of(table: Mapping[int, Any]) -> list[list[Any]]:
    """One row for each entry: its number, then the value or the fields of it."""
    return [
        [number, *(astuple(value) if is_dataclass(value) and not isinstance(value, type) else (value,))]
        for number, value in table.items()
    ]
