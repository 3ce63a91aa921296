"""A consortium that leaves its log and goes on in the one of the next epoch, in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ledger.archive import archive, begin_anew
from ledger.epochs import Final, draft_epoch, last_final
from ledger.log import Log
from ledger.mirror import Mirror
from ledger.store import LedgerStore
from ledger.tables import State
from ledger.testing.consortium import Consortium, InMemorySource
from ledger.testing.members import Member, draft_entry, make_hub

__all__ = ["NextEpoch", "founding", "leave_log", "rekeyed_hub"]


def rekeyed_hub(exchange: Consortium, number: int = 2) -> Member:
    """The same hub with the log key of epoch ``number``."""
    return replace(exchange.hub, cosign=make_hub(f"hub-{number}").cosign)


def founding(
    exchange: Consortium,
    final: Final,
    *signers: str,
    hub: Member | None = None,
    **changes: Any,  # noqa: ANN401
) -> bytes:
    """The entry of the next epoch, signed by the hub and these members; ``changes`` replace parts of it."""
    hub = hub or rekeyed_hub(exchange)
    draft = draft_epoch(final, hub.record, hub.cosign, exchange.clock)
    draft = replace(draft, body={**draft.body, **changes})
    for member in (hub, *(exchange.members[name] for name in signers)):
        draft = draft.sign(member.kid, member.tx)
    return draft.encode()


def leave_log(store: LedgerStore, path: Path, carried: State) -> None:
    """Archive the log of a store and leave there what it carries."""
    archive(store, path)
    head = store.head()
    if head is not None:
        begin_anew(store, head, carried)


class NextEpoch:
    """All databases of a consortium, gone on to the next epoch; archives are ``<name>-<number - 1>.sqlite``.

    Args:
        exchange: its log, and that of an epoch in between, are to be closed first.
        folder: for the archives.
        signers: members that sign the new epoch.
        number: of the new epoch.
        final: what it goes on from; what the hub's database says unless told otherwise.
    """

    def __init__(
        self,
        exchange: Consortium,
        folder: Path,
        signers: Sequence[str],
        *,
        number: int = 2,
        final: Final | None = None,
    ) -> None:
        self.exchange, self.hub = exchange, rekeyed_hub(exchange, number)
        self.final = final or last_final(exchange.hub_store)
        self.genesis = founding(exchange, self.final, *signers, hub=self.hub)
        self.stores = {name: mirror.store for name, mirror in exchange.mirrors.items()}
        for name, store in (("hub", exchange.hub_store), *self.stores.items()):
            leave_log(store, folder / f"{name}-{number - 1}.sqlite", self.final.state)
        exchange.clock.advance(60)
        self.log = Log.create(
            exchange.hub_store, self.genesis, self.hub.cosign, self.hub.tx, clock=exchange.clock, linger_s=0.0
        )
        self.mirrors = {name: self.new_mirror(name) for name in self.stores}
        self.settle()

    def new_mirror(
        self, name: str, *, store: LedgerStore | None = None, genesis: bytes | None = None
    ) -> Mirror:
        """Open a member's mirror of the new log; on another database or genesis if given."""
        return Mirror(
            store or self.stores[name],
            InMemorySource(self.log),
            genesis or self.genesis,
            self.exchange.members[name].cosign,
            self.exchange.clock,
            evidence=self.exchange.evidence(name),
        )

    def settle(self) -> None:
        """Let all members sync until everything is final."""
        changed = True
        while changed:
            changed = sum(mirror.sync() for mirror in self.mirrors.values()) > 0

    def entry(self, name: str, *, lifetime_s: float, endpoint: str = "new:1") -> bytes:
        """Sign a ``member.update`` that expires in ``lifetime_s`` seconds."""
        member, now = self.exchange.members[name], self.exchange.clock()
        draft = draft_entry(member, "member.update", {"endpoint": endpoint}, now=now, lifetime_s=lifetime_s)
        return draft.sign(member.kid, member.tx).encode()
