"""The walk from the genesis: the shown entries in log order, governance applied, every signer held to it."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from functools import partial

from ledger.batches import read_seal
from ledger.bundle.epochs import Inherited
from ledger.bundle.files import entry_name, guard
from ledger.bundle.report import KeyPeriod
from ledger.entries import Entry
from ledger.errors import InvalidBundle, Refusal
from ledger.membership import Network
from ledger.rules.act import Act
from ledger.rules.epochs import begin
from ledger.state import EPOCH, SEAL, apply, check_attributable, settle
from ledger.tables import Row
from ledger.times import parse_time

__all__ = ["GOVERNANCE", "Walk"]

GOVERNANCE = ("gov.", "member.")
"""How the types begin of the entries that say whose keys count."""


class Walk:
    """Walks the shown entries: governance is applied, of other entries the signer is checked.

    Attributes:
        state: what governance has made so far.
        entries: the shown entries, by index.
        types: entries taken so far by type, seals apart.
        times: the times of their batches.
        refused: how many of them their seal refuses.
    """

    def __init__(self, raws: Mapping[int, bytes], inherited: Inherited | None = None) -> None:
        self._inherited = inherited or Inherited()
        self.state = self._inherited.state
        self.types: Counter[str] = Counter()
        self.times: list[str] = []
        self.refused = 0
        self.entries = {
            index: guard(entry_name(index), partial(Entry.parse, raw)) for index, raw in sorted(raws.items())
        }
        self._seals = {
            index: guard(entry_name(index), partial(read_seal, entry, index))
            for index, entry in self.entries.items()
            if entry.type == SEAL
        }
        self._sealed = list(self._seals)

    @property
    def keys(self) -> tuple[KeyPeriod, ...]:
        """Which entry key was whose and when, by member and index."""
        names = {did: row["name"] for did, row in self.state.rows("members").items()}
        periods = [
            KeyPeriod(names[row["did"]], row["key"]["kid"], row["from"], row["until"])
            for row in self.state.rows("keys").values()
            if row["use"] == "tx"
        ]
        return tuple(sorted(periods, key=lambda period: (period.member, period.since)))

    def run(self) -> None:
        """Take all entries.

        Raises:
            InvalidBundle: naming the first entry that is not what its seal says.
        """
        for index, entry in self.entries.items():
            self._step(index, entry)

    def seal_at_the_end(self, size: int) -> Row:
        """Return what the seal states that ends the checkpoint of ``size``."""
        if size - 1 not in self._seals:
            raise InvalidBundle(
                entry_name(size - 1), "expected the seal that ends the checkpoint, found none"
            )
        return self._seals[size - 1]

    def code(self, index: int) -> str | None:
        """Return the code with which its seal refuses an entry; None where it is valid."""
        code: str | None = dict(self._seal_of(index)["refused"]).get(index)
        return code

    def time(self, index: int) -> str:
        """Return the time of an entry's batch."""
        time: str = self._seal_of(index)["time"]
        return time

    def _step(self, index: int, entry: Entry) -> None:
        self.state = settle(self.state, self._seal_of(index)["first"])
        if index in self._seals:
            self._check_seal(index, entry)
            return
        code, time = self.code(index), self.time(index)
        found = self._execute(index, entry, parse_time(time))
        if found is not None and found != code:
            raise InvalidBundle(
                entry_name(index), f"it is refused ({found}), its seal says {code or 'valid'}"
            )
        if found is None and code is not None and entry.type.startswith(GOVERNANCE):
            raise InvalidBundle(entry_name(index), f"it is valid, its seal says {code}")
        self.types[entry.type] += 1
        self.refused += code is not None
        self.times.append(time)

    def _execute(self, index: int, entry: Entry, time: datetime) -> str | None:
        """Apply governance, and of other entries check who signed; return the code of a refusal."""
        try:
            if entry.type == EPOCH and index == 0:
                self.state = begin(self.state, Act(entry, index, time), self._inherited.others)
            elif entry.type.startswith(GOVERNANCE):
                self.state = apply(self.state, entry, index=index, time=time)
            else:
                check_attributable(self.state, entry)
        except Refusal as refusal:
            return refusal.code
        return None

    def _seal_of(self, index: int) -> Row:
        at = bisect.bisect_left(self._sealed, index)
        if at == len(self._sealed):
            raise InvalidBundle(entry_name(index), "expected the seal of its batch, found none")
        seal = self._seals[self._sealed[at]]
        if seal["first"] > index:
            raise InvalidBundle(entry_name(index), "expected the seal of its batch, found a later one")
        return seal

    def _check_seal(self, index: int, seal: Entry) -> None:
        network = Network.of(self.state)
        if network is None or seal.actor != network.hub_did or seal.net != network.name:
            raise InvalidBundle(entry_name(index), "expected a seal of this network's hub")
        guard(entry_name(index), lambda: seal.verify(network.hub_key.kid, network.hub_key.public))
        if self._seals[index]["first"] + self._seals[index]["count"] != index:
            raise InvalidBundle(entry_name(index), "expected a seal at the end of its batch")
