"""The log of a later epoch in a bundle: what it began with, and how it follows from the log before.

The walk over such a bundle begins with the governed tables of the carried state. They are shown whole, and
with the roots of the other tables they must lead to the state root that entry 0 states; the quorum that
cosigned the old log's last checkpoint and the signatures on entry 0 are then checked by the keys in them. So
a bundle of a later epoch holds by itself for whoever trusts the hash of its entry 0. Who trusts the hash of
the first genesis needs a bundle of every log before as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ledger import canonical
from ledger.bundle.files import CARRIED, EPOCH_TABLES, entry_name, guard
from ledger.carried import read_carried, write_carried
from ledger.checkpoints import Checkpoint
from ledger.entries import Entry
from ledger.errors import InvalidBundle
from ledger.membership import GOVERNED_TABLES
from ledger.merkle import HASH_SIZE
from ledger.state import EPOCH
from ledger.tables import State, Table

__all__ = ["Inherited", "check_follows", "epoch_files", "read_carried_rows", "read_inherited"]


@dataclass(frozen=True)
class Inherited:
    """What a log begins with: the governed tables, and the roots of the tables that are not shown."""

    state: State = field(default_factory=State)
    others: Mapping[str, bytes] = field(default_factory=dict)


def epoch_files(carried: State, *, everything: bool) -> dict[str, bytes]:
    """Write the files that show what a log began with; none for a network's first log."""
    roots = carried.table_roots()
    if not roots:
        return {}
    rows = {
        name: {key: dict(row) for key, row in carried.rows(name).items()}
        for name in GOVERNED_TABLES
        if name in roots
    }
    others = {name: root.hex() for name, root in roots.items() if name not in GOVERNED_TABLES}
    files = {
        EPOCH_TABLES: canonical.encode([[[name, list(rows[name].items())] for name in sorted(rows)], others])
    }
    if everything:
        files[CARRIED] = b"".join(write_carried(carried))
    return files


def read_inherited(members: Mapping[str, bytes], first: Entry) -> Inherited:
    """Read what a log began with; empty for one that began with a genesis.

    Raises:
        InvalidBundle: the file is missing, is not of this form, or is there for a first log.
    """
    if first.type != EPOCH:
        for name in (EPOCH_TABLES, CARRIED):
            if name in members:
                raise InvalidBundle(name, "expected no such file for a log that begins with a genesis")
        return Inherited()
    if EPOCH_TABLES not in members:
        raise InvalidBundle(
            EPOCH_TABLES, "expected this file, because the log is of a later epoch; found none"
        )
    return _inherited(guard(EPOCH_TABLES, lambda: canonical.decode(members[EPOCH_TABLES])))


def read_carried_rows(members: Mapping[str, bytes]) -> State:
    """Return the whole carried state of a bundle with everything; an empty one for a first log.

    Raises:
        InvalidBundle: it is not there although the log is of a later epoch, or not of its form.
    """
    if EPOCH_TABLES not in members:
        return State()
    if CARRIED not in members:
        raise InvalidBundle(CARRIED, "expected this file; export the bundle with everything")
    return guard(CARRIED, lambda: read_carried(members[CARRIED].splitlines(keepends=True)))


def check_follows(first: Entry, genesis: str, checkpoint: Checkpoint, state: str) -> None:
    """Check that a log begins where a bundle of the log before ends.

    Args:
        first: entry 0 of the log.
        genesis: hash of the first entry of the log before.
        checkpoint: that the bundle of the log before holds.
        state: the state root under it, in hex.

    Raises:
        InvalidBundle: it does not.
    """
    name, previous = entry_name(0), first.body["previous"]
    if previous["genesis"] != genesis:
        raise InvalidBundle(name, f"it follows the log of genesis {previous['genesis']}, not of {genesis}")
    if previous["size"] < checkpoint.size:
        cosigned = f"a quorum cosigned {checkpoint.size} entries of the log before"
        raise InvalidBundle(name, f"{cosigned}, and the epoch begins at {previous['size']}")
    if previous["size"] > checkpoint.size:
        raise InvalidBundle(
            name,
            f"expected a bundle of the log before with {previous['size']} entries, got {checkpoint.size}",
        )
    text = previous["checkpoint"].partition("\n\n")[0] + "\n"
    if text != checkpoint.encode() or previous["state"] != state:
        raise InvalidBundle(name, "it begins with another checkpoint or state than the log before ends with")


def _inherited(value: Any) -> Inherited:  # noqa: ANN401 - whatever stands there
    try:
        rows, others = value
        tables = {str(name): Table.of(dict(pairs)) for name, pairs in rows}
        roots = {str(name): bytes.fromhex(root) for name, root in others.items()}
    except (TypeError, ValueError, AttributeError) as exc:
        raise InvalidBundle(
            EPOCH_TABLES, "expected the rows of some tables and the roots of the others"
        ) from exc
    if not set(tables) <= set(GOVERNED_TABLES) or set(roots) & set(GOVERNED_TABLES):
        raise InvalidBundle(EPOCH_TABLES, "expected the governed tables with rows and the others with roots")
    if any(len(root) != HASH_SIZE for root in roots.values()):
        raise InvalidBundle(EPOCH_TABLES, f"expected roots of {HASH_SIZE} bytes")
    if not all(isinstance(row, dict) for table in tables.values() for row in table.values()):
        raise InvalidBundle(EPOCH_TABLES, "expected objects as rows")
    return Inherited(State(tables), roots)
