"""A hub's log and its members' mirrors in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ledger.keys import SigningKey
from ledger.log import Log
from ledger.mirror import LogSource, Mirror
from ledger.sequencer import Placed
from ledger.store import LedgerStore
from ledger.testing.databases import DatabaseKind, throw_away_engine
from ledger.testing.members import ManualClock, Member, draft_entry, make_genesis, make_hub, make_member

__all__ = ["Consortium", "InMemorySource", "consortium"]


class InMemorySource:
    """A log as a member reaches it, without a network. Subclass it to play a hub that cheats."""

    def __init__(self, log: LogSource) -> None:
        self.log = log

    def checkpoint(self, *, known: tuple[int, int] = (0, 0), wait_s: float = 0.0) -> bytes:
        """Pass on to the log."""
        return self.log.checkpoint(known=known, wait_s=wait_s)

    def entry_bundle(self, number: int, width: int) -> bytes:
        """Pass on to the log."""
        return self.log.entry_bundle(number, width)

    def submit(self, raw: bytes) -> Placed:
        """Pass on to the log."""
        return self.log.submit(raw)

    def add_cosignature(self, size: int, line: str) -> None:
        """Pass on to the log."""
        self.log.add_cosignature(size, line)


class Consortium:
    """Members with their mirrors around one log. Made by ``consortium``."""

    def __init__(self, folder: Path, stack: ExitStack, kind: DatabaseKind, names: tuple[str, ...]) -> None:
        self._folder, self._stack, self._kind = folder, stack, kind
        self.clock = ManualClock()
        self.hub = make_hub()
        self.members = {name: make_member(name) for name in names}
        self.genesis = make_genesis(self.hub, list(self.members.values()))
        self.hub_store = self.new_store()
        self.log = stack.enter_context(
            Log.create(
                self.hub_store, self.genesis, self.hub.cosign, self.hub.tx, clock=self.clock, linger_s=0.0
            )
        )
        self.mirrors = {name: self.new_mirror(name) for name in names}

    def new_store(self) -> LedgerStore:
        """Open another empty database."""
        return LedgerStore(self._stack.enter_context(throw_away_engine(self._kind, self._folder)))

    def evidence(self, name: str) -> Path:
        """Where a member's mirror leaves evidence."""
        return self._folder / "evidence" / name

    def new_mirror(
        self,
        name: str,
        *,
        store: LedgerStore | None = None,
        source: LogSource | None = None,
        cosigner: SigningKey | None = None,
    ) -> Mirror:
        """Open a mirror as a member; on its own database and source if given."""
        return Mirror(
            store or self.new_store(),
            source or InMemorySource(self.log),
            self.genesis,
            cosigner or self.members[name].cosign,
            self.clock,
            evidence=self.evidence(name),
        )

    def entry(self, name: str, kind: str, body: dict[str, Any]) -> bytes:
        """Sign an entry as a member, now."""
        member: Member = self.members[name]
        return draft_entry(member, kind, body, now=self.clock()).sign(member.kid, member.tx).encode()

    def act(self, name: str, kind: str, body: dict[str, Any]) -> Placed:
        """Sign an entry as a member and have it sequenced."""
        return self.log.submit(self.entry(name, kind, body))

    def settle(self) -> None:
        """Let all members sync until everything is final at each of them that can be."""
        changed = True
        while changed:
            changed = False
            for mirror in self.mirrors.values():
                changed = mirror.sync() or changed


@contextmanager
def consortium(folder: Path, *names: str, kind: DatabaseKind = "sqlite") -> Iterator[Consortium]:
    """Found a consortium of these members, with databases in ``folder``; closed at the end."""
    with ExitStack() as stack:
        yield Consortium(folder, stack, kind, names)
