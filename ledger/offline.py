"""Proofs and verdicts checked against an evidence bundle: no server, no network, no database.

``Shown`` is a bundle that verifies, read: its entries with code and time, and the members with their keys,
past ones included. ``check_proof`` finds a document in it, ``check_verdict`` the member that signed a
verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ledger import bundle
from ledger.bundle import Report
from ledger.bundle.epochs import read_inherited
from ledger.bundle.files import indexed
from ledger.bundle.walk import Walk
from ledger.container import unpack
from ledger.entries import Entry
from ledger.errors import InvalidNotarization, InvalidVerdict
from ledger.membership import key_at
from ledger.notarization import Proof
from ledger.tables import State
from ledger.verdicts import VERDICT, Verdict

__all__ = ["OnRecord", "Shown", "ShownEntry", "check_proof", "check_verdict"]


@dataclass(frozen=True)
class ShownEntry:
    """An entry under the bundle's checkpoint: index, the code of its refusal if any, time of its batch."""

    entry: Entry
    index: int
    code: str | None
    time: str


@dataclass(frozen=True)
class Shown:
    """A bundle that has been checked. Make it with ``open``.

    Attributes:
        report: what the check found.
        state: what governance made in all entries below the bundle's size; keeps past keys.
    """

    report: Report
    state: State = field(repr=False)
    _entries: Mapping[int, ShownEntry] = field(repr=False)

    @classmethod
    def open(cls, data: bytes, genesis: str | None = None) -> Shown:
        """Check a bundle and read it.

        Args:
            data: the file.
            genesis: hash of the genesis that the reader trusts; see ``ledger.bundle.verify``.

        Raises:
            InvalidBundle: it does not verify.
        """
        report = bundle.verify(data, genesis)
        members = unpack(data)
        raws = indexed(members, "entries/#.json")
        walk = Walk(raws, read_inherited(members, Entry.parse(raws[0])))
        walk.run()
        shown = {
            index: ShownEntry(entry, index, walk.code(index), walk.time(index))
            for index, entry in walk.entries.items()
        }
        return cls(report, walk.state, shown)

    def entry(self, index: int) -> ShownEntry | None:
        """Return the entry at ``index``, if the bundle shows it."""
        return self._entries.get(index)

    def is_silent_on(self, proof: Proof) -> bool:
        """Tell whether the bundle leaves out what the proof names, so that it says neither yes nor no."""
        place, size = proof.place, self.report.size
        return place.genesis == self.report.genesis and place.index < size and self.entry(place.index) is None

    def of_type(self, type: str) -> list[ShownEntry]:
        """Return the entries of one type, in log order."""
        return [shown for shown in self._entries.values() if shown.entry.type == type]


@dataclass(frozen=True)
class OnRecord:
    """What the ledger says of a notarized document.

    Attributes:
        did, name, title: the member that notarized it.
        time: when its batch was sealed.
        kind, note: that member's words about the batch; None where it gave none.
        net: the network.
    """

    did: str
    name: str
    title: str
    time: str
    kind: str | None
    note: str | None
    net: str


def check_proof(proof: Proof, shown: Shown) -> OnRecord:
    """Check that a document is on the ledger that the bundle shows.

    Raises:
        InvalidNotarization: another ledger, an entry that the bundle does not show or that was refused, or
            a proof that does not lead to it.
    """
    if proof.place.genesis != shown.report.genesis:
        expected = f"expected the ledger of genesis {shown.report.genesis}"
        raise InvalidNotarization("genesis", f"{expected}, the proof is of {proof.place.genesis}")
    found = shown.entry(proof.place.index)
    if found is None:
        raise InvalidNotarization("index", f"the bundle shows no entry at {proof.place.index}")
    if found.code is not None:
        raise InvalidNotarization("index", f"the ledger refused the entry: {found.code}")
    proof.check(found.entry, found.index)
    entry = found.entry
    member = shown.state.rows("members")[entry.actor]
    return OnRecord(
        did=entry.actor,
        name=member["name"],
        title=member["title"],
        time=found.time,
        kind=entry.body.get("kind"),
        note=entry.body.get("note"),
        net=entry.net,
    )


def check_verdict(
    verdict: Verdict, shown: Shown, *, copy: bytes | None = None, challenge: str | None = None
) -> int | None:
    """Check that a member found what a verdict says.

    Args:
        verdict: the document.
        shown: a bundle of its network, at least as large as what the verifier had.
        copy: fingerprint of the copy that lies before the reader.
        challenge: what the reader gave the verifier.

    Returns:
        The index of the entry with which the verifier put it on record; None if the bundle shows none.

    Raises:
        InvalidVerdict: another ledger, not signed by a member, about another copy or challenge, or not what
            the ledger says of the document or of the verdict itself.
    """
    if verdict.genesis != shown.report.genesis:
        raise InvalidVerdict("genesis", f"expected a verdict on the ledger of genesis {shown.report.genesis}")
    if verdict.size > shown.report.size:
        raise InvalidVerdict("size", f"expected a bundle of {verdict.size} entries, got {shown.report.size}")
    verdict.check_signature(
        [key_at(shown.state, verdict.did, index) for index in (verdict.size - 1, verdict.size)]
    )
    if copy is not None and copy != verdict.copy:
        raise InvalidVerdict("copy", "the verdict is about another copy than the one presented")
    if challenge is not None and challenge != verdict.challenge:
        raise InvalidVerdict("challenge", "the verdict does not answer this challenge")
    _check_claim(verdict, shown)
    for found in shown.of_type(VERDICT):
        entry = found.entry
        if found.code is None and entry.actor == verdict.did and entry.body["verdict"] == verdict.verdict:
            if entry.body != verdict.body() or entry.commit != verdict.commitment():
                raise InvalidVerdict("record", f"entry {found.index} records another document under this id")
            return found.index
    return None


def _check_claim(verdict: Verdict, shown: Shown) -> None:
    """Check the proof in the verdict anew, and that the verdict says of it what the ledger says."""
    if verdict.reason is not None and verdict.proof.place.index >= verdict.size:
        return  # the verifier's ledger had no such entry yet
    if shown.is_silent_on(verdict.proof):
        raise InvalidVerdict("index", f"expected a bundle that shows entry {verdict.proof.place.index}")
    try:
        found = check_proof(verdict.proof, shown)
    except InvalidNotarization as exc:
        if verdict.reason is None:
            raise InvalidVerdict("proof", str(exc)) from exc
        return
    if verdict.reason is not None:
        raise InvalidVerdict("reason", "the ledger shows what the verdict calls unproven")
    if (found.did, found.time) != (verdict.actor, verdict.time_on_record):
        raise InvalidVerdict("notarized", "the ledger names another member or time")
