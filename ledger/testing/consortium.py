"""A hub's log and its members' mirrors in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ledger.engines import Engines
from ledger.entries import new_id
from ledger.keys import SigningKey
from ledger.log import Log
from ledger.membership import active_members
from ledger.mirror import Mirror
from ledger.sequencer import Placed
from ledger.source import LogSource
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

    def checkpoint_of(self, size: int) -> bytes:
        """Pass on to the log."""
        return self.log.checkpoint_of(size)

    def entry_bundle(self, number: int, width: int) -> bytes:
        """Pass on to the log."""
        return self.log.entry_bundle(number, width)

    def submit(self, raw: bytes) -> Placed:
        """Pass on to the log."""
        return self.log.submit(raw)

    def promise(self, raw: bytes) -> bytes:
        """Pass on to the log."""
        return self.log.promise(raw)

    def add_cosignature(self, size: int, line: str) -> None:
        """Pass on to the log."""
        self.log.add_cosignature(size, line)


class Consortium:
    """Members with their mirrors around one log. Made by ``consortium``."""

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        kind: DatabaseKind,
        names: tuple[str, ...],
        roles: Mapping[str, str],
        engines: Callable[[LedgerStore], Engines],
    ) -> None:
        self._folder, self._stack, self._kind = folder, stack, kind
        self._engines, self._sources = engines, list[InMemorySource]()
        self.clock = ManualClock()
        self.hub = make_hub()
        self.members = {name: make_member(name, role=roles.get(name, "participant")) for name in names}
        self.genesis = make_genesis(self.hub, list(self.members.values()))
        self.hub_store = self.new_store()
        self.log = Log.create(
            self.hub_store,
            self.genesis,
            self.hub.cosign,
            self.hub.tx,
            clock=self.clock,
            engines=self._open_engines(),
            linger_s=0.0,
        )
        stack.callback(lambda: self.log.close())
        self.mirrors = {name: self.new_mirror(name) for name in names}

    def reopen(self) -> None:
        """Start the hub again on its database; the mirrors go on with the new log."""
        self.log.close()
        self.log = Log.open(
            self.hub_store,
            self.hub.cosign,
            self.hub.tx,
            clock=self.clock,
            engines=self._open_engines(),
            linger_s=0.0,
        )
        for source in self._sources:
            source.log = self.log

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
        cosigner: SigningKey | Sequence[SigningKey] | None = None,
    ) -> Mirror:
        """Open a mirror as a member; on its own database and source if given."""
        return Mirror(
            store or self.new_store(),
            source or self._new_source(),
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

    def decide(self, *actions: dict[str, Any], effective_after: int = 0) -> Placed:
        """Propose actions, have every active member approve and one execute; they wait for a later batch."""
        active = active_members(self.log.next_state)
        names = [name for name, member in self.members.items() if member.did in active]
        proposal = new_id("proposal", self.clock)
        body = {"proposal": proposal, "actions": list(actions), "effective_after": effective_after}
        self.act(names[0], "gov.propose", body)
        for name in names[1:]:
            self.act(name, "gov.vote", {"proposal": proposal, "approve": True})
        return self.act(names[0], "gov.execute", {"proposal": proposal})

    def settle(self) -> None:
        """Let all members sync until everything is final at each of them that can be."""
        changed = True
        while changed:
            changed = False
            for mirror in self.mirrors.values():
                changed = mirror.sync() or changed

    def _open_engines(self) -> Engines:
        engines = self._engines(self.hub_store)
        self._stack.callback(engines.close)
        return engines

    def _new_source(self) -> InMemorySource:
        self._sources.append(InMemorySource(self.log))
        return self._sources[-1]


@contextmanager
def consortium(
    folder: Path,
    *names: str,
    kind: DatabaseKind = "sqlite",
    roles: Mapping[str, str] | None = None,
    engines: Callable[[LedgerStore], Engines] = Engines.of,
) -> Iterator[Consortium]:
    """Found a consortium of these members, with databases in ``folder``; closed at the end.

    Args:
        folder: for the databases.
        names: of the members.
        kind: of the databases.
        roles: of those that are not participants, by name.
        engines: what the hub's log may order in, given the hub's store.
    """
    with ExitStack() as stack:
        yield Consortium(folder, stack, kind, names, roles or {}, engines)
