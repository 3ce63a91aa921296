"""What a rule is given, and the checks that rules share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ledger.entries import Entry
from ledger.errors import Refusal
from ledger.tables import Row, State

__all__ = ["Act", "Rule", "actor_alone", "existing", "require"]


@dataclass(frozen=True)
class Act:
    """An entry at its place: who acts, where in the log, at which batch time."""

    entry: Entry
    index: int
    time: datetime

    @property
    def actor(self) -> str:
        """The DID that acts."""
        return self.entry.actor

    def put(self, state: State, table: str, key: str, row: Row) -> State:
        """Write a row as this entry."""
        return state.put(table, key, row, index=self.index)


def actor_alone(state: State, entry: Entry) -> Sequence[str]:
    """Return the DIDs that sign an entry of most types: its actor."""
    return (entry.actor,)


@dataclass(frozen=True)
class Rule:
    """The validity of one entry type.

    Attributes:
        apply: the new state, or a ``Refusal``. The envelope and the signatures are checked already.
        signers: the DIDs whose keys sign such an entry, all of them and nobody else. It reads the body before
            its shape is checked, so it refuses a malformed one itself.
    """

    apply: Callable[[State, Act], State]
    signers: Callable[[State, Entry], Sequence[str]] = actor_alone


def require(holds: bool, code: str, message: str) -> None:
    """Refuse with ``code`` unless the condition holds."""
    if not holds:
        raise Refusal(code, message)


def existing(state: State, table: str, key: str, code: str) -> Row:
    """Return a row that has to be there, or refuse with ``code``."""
    row = state.get(table, key)
    if row is None:
        raise Refusal(code, f"expected a row in {table}, found none")
    return row
