"""Notarizing fingerprints for people at this node, and telling them what a presented copy is.

The node sees fingerprints, never documents. It keeps them with their salts, because the ledger cannot give
them back. What it says about somebody's copy it has checked on its own copy of the ledger.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from exchange.errors import Conflict, InvalidRequest, LedgerRefused, NotFound, TimedOut
from exchange.node.audit import Audit, Selection
from exchange.node.ledger_client import FinalEntry
from exchange.node.services import NodeServices
from exchange.store import KeptNotarization
from ledger.commitments import SALT_SIZE, Opening, commit
from ledger.entries import Entry, new_id
from ledger.errors import InvalidNotarization, NotKept, Refusal
from ledger.notarization import NOTARIZE, Batch, Place, Proof, notarize_digests
from ledger.search import Query
from ledger.store import Record
from ledger.times import format_time
from ledger.verdicts import VERDICT, Verdict

__all__ = ["Fingerprints", "Notarizations", "Notarized", "Presented", "Verified"]

_CATCH_UP_S = 3.0
_STALE = frozenset({"entry.expired", "entry.key-retired", "entry.wrong-signers"})
"""Refusals of an entry that lay too long, or since before a change of keys; it is signed anew."""


@dataclass(frozen=True)
class Fingerprints:
    """What a person asks to notarize, under an id of their own, so that asking again is safe.

    ``kind`` and ``note`` are for every member to read; ``private`` stays here, and the entry commits to it.
    """

    notarization: str
    digests: tuple[bytes, ...]
    kind: str | None
    note: str | None
    private: str | None = None


@dataclass(frozen=True)
class Notarized:
    """A batch that is final on the ledger, with the place and time of its entry."""

    batch: Batch
    place: Place
    time: str

    def proofs(self) -> list[Proof]:
        """Return the proof of each document, in the order in which they were given."""
        return [self.batch.proof(position, self.place) for position in range(len(self.batch.digests))]


@dataclass(frozen=True)
class Presented:
    """What a person asks to verify: a proof, the copy's fingerprint, and the original's if it is at hand."""

    proof: object
    copy: bytes
    original: bytes | None
    challenge: str | None
    record: bool


@dataclass(frozen=True)
class Verified:
    """The signed verdict, and where it is on record if that was asked for."""

    verdict: Verdict
    entry: FinalEntry | None


class Notarizations:
    """This participant's notarizations, and its verdicts on anybody's."""

    def __init__(self, services: NodeServices) -> None:
        self._services = services

    def notarize(self, asked: Fingerprints) -> Notarized:
        """Put a batch on the ledger and wait until it is final. Asking again gives the same answer.

        Raises:
            Conflict: the id stands for other fingerprints, or for a batch that was forgotten. TimedOut,
            HubUnreachable: not final yet; ask again with the same id.
        """
        kept = self._services.store.notarizations.find(asked.notarization) or self._keep(asked)
        if not kept.leaves:
            raise Conflict(f"{asked.notarization} was notarized and forgotten")
        batch, entry = Batch.decode(kept.notarization, kept.leaves), Entry.parse(kept.entry)
        is_same = batch.digests == asked.digests and self._is_private(asked.private, entry)
        if not is_same or entry.body != batch.body(kind=asked.kind, note=asked.note):
            raise Conflict(f"{asked.notarization} stands for other fingerprints, kind or notes")
        return self._placed(batch, self._send(kept, entry))

    def find(self, notarization: str) -> Notarized:
        """Return a batch of this participant's that is final.

        Raises:
            NotFound: no such batch, or it was forgotten. Conflict: it is not final yet.
        """
        kept = self._services.store.notarizations.find(notarization)
        if kept is None or not kept.leaves:
            raise NotFound(f"this node keeps no notarization {notarization}")
        batch, entry = Batch.decode(notarization, kept.leaves), Entry.parse(kept.entry)
        placed = self._services.ledger.mirror.final_entry(entry.txid)
        if placed is None or placed.code is not None:
            raise Conflict(f"{notarization} is not final yet; ask for the same notarization again")
        return self._placed(batch, FinalEntry(placed.index, placed.txid))

    def forget(self, notarization: str) -> None:
        """Drop this node's fingerprints and salts of a batch; proofs that were handed out stay valid.

        Raises:
            NotFound: no such batch.
        """
        if self._services.store.notarizations.find(notarization) is None:
            raise NotFound(f"this node keeps no notarization {notarization}")
        self._services.store.notarizations.forget(notarization)

    def evidence(self, notarization: str, index: int | None = None) -> bytes:
        """Export a bundle that shows the entry of anybody's batch and the verdicts on record about it.

        Args:
            notarization: the id of the batch.
            index: of an entry to show too, whatever it is; that refutes a proof which names it falsely.

        Raises:
            NotFound: no final entry has this id or index.
        """
        mirror = self._services.ledger.mirror
        query = Query(types=(NOTARIZE, VERDICT), concerning=(notarization,))
        found = list(mirror.found(query))
        if index is not None and index < self._services.ledger.final_size:
            found += mirror.store.records(index, index + 1)
        if not found:
            raise NotFound(f"no final entry notarizes {notarization}")
        chosen = dict.fromkeys(record.txid for record in found)
        return Audit(self._services).export(Selection(entries=tuple(chosen)))

    def verify(self, presented: Presented, operator: str) -> Verified:
        """Compare ledger, original and copy, and sign what was found.

        Args:
            presented: what to compare.
            operator: the person who asks; the verdict names them.

        Raises:
            InvalidRequest: the proof does not have a proof's form. A proof that does not hold is no error but
                a verdict.
        """
        services = self._services
        try:
            proof = Proof.of(presented.proof)
        except InvalidNotarization as exc:
            raise InvalidRequest("proof", "the object that a .parley-proof file holds", exc.reason) from exc
        actor, time, reason = None, None, None
        try:
            record = self._on_record(proof)
            actor, time = record.actor, _time(record)
        except InvalidNotarization as exc:
            reason = str(exc)[:256]
        verdict = Verdict(
            verdict=new_id("verdict", services.clock),
            genesis=services.genesis,
            proof=proof,
            actor=actor,
            time_on_record=time,
            original=presented.original,
            copy=presented.copy,
            reason=reason,
            size=services.ledger.final_size,
            time=format_time(services.clock()),
            operator=operator,
            challenge=presented.challenge,
            salt=secrets.token_bytes(SALT_SIZE),
            did=services.keys.did,
            kid=services.keys.kid,
        ).sign(services.keys.tx)
        if not presented.record:
            return Verified(verdict, None)
        entry = services.ledger.sign(VERDICT, verdict.body(), commit=verdict.commitment())
        services.payloads.keep(entry, Opening(verdict.encode(), verdict.salt))
        return Verified(verdict, services.ledger.send(entry))

    def _keep(self, asked: Fingerprints) -> KeptNotarization:
        batch = notarize_digests(asked.digests, notarization=asked.notarization)
        services, body = self._services, batch.body(kind=asked.kind, note=asked.note)
        if asked.private is None:
            entry = services.ledger.sign(NOTARIZE, body)
        else:
            payload = asked.private.encode()
            commitment, salt = commit(payload)
            entry = services.ledger.sign(NOTARIZE, body, commit=commitment)
            services.payloads.keep(entry, Opening(payload, salt))
        first = services.store.notarizations.put(
            KeptNotarization(asked.notarization, entry.raw, batch.encode())
        )
        if first.entry != entry.raw and entry.commit is not None:
            services.payloads.erase(entry.txid)
        return first

    def _is_private(self, note: str | None, entry: Entry) -> bool:
        """Tell whether an entry commits to this private note; one that was erased is taken for the same."""
        if note is None or entry.commit is None:
            return note is None and entry.commit is None
        try:
            return self._services.payloads.opening(entry.txid).payload == note.encode()
        except NotKept:
            return True

    def _send(self, kept: KeptNotarization, entry: Entry) -> FinalEntry:
        """Send the kept entry; if it has become stale before it was sequenced, sign it anew."""
        ledger = self._services.ledger
        try:
            return ledger.send(entry)
        except (LedgerRefused, Refusal) as exc:
            if (exc.reason if isinstance(exc, LedgerRefused) else exc.code) not in _STALE:
                raise
        renewed = ledger.sign(entry.type, entry.body, commit=entry.commit)
        if entry.commit is not None:
            self._services.payloads.move(entry, renewed)
        self._services.store.notarizations.replace_entry(kept.notarization, kept.entry, renewed.raw)
        return ledger.send(renewed)

    def _placed(self, batch: Batch, entry: FinalEntry) -> Notarized:
        services = self._services
        record = services.ledger.mirror.store.find(entry.txid)
        if record is None:
            raise NotFound(f"this node keeps no notarization {batch.notarization}")
        place = Place(services.net, services.genesis, entry.txid, entry.index)
        return Notarized(batch, place, _time(record))

    def _on_record(self, proof: Proof) -> Record:
        """Find the final entry that a proof names, and check the proof against it.

        Raises:
            InvalidNotarization: there is none, or the proof does not lead to it.
        """
        services, ledger = self._services, self._services.ledger
        if proof.place.genesis != services.genesis:
            raise InvalidNotarization("genesis", "expected a proof of this network's ledger")
        txid = proof.place.txid
        if proof.place.index >= ledger.final_size:
            try:
                ledger.wait_until(lambda: ledger.mirror.final_entry(txid), _CATCH_UP_S, "the entry to arrive")
            except TimedOut:
                raise InvalidNotarization("txid", "the ledger has no such final entry") from None
        record = ledger.mirror.store.find(txid)
        if record is None or record.index >= ledger.final_size:
            raise InvalidNotarization("txid", "the ledger has no such final entry")
        if record.code is not None:
            raise InvalidNotarization("txid", f"the ledger refused the entry: {record.code}")
        proof.check(record.entry, record.index)
        return record


def _time(record: Record) -> str:
    return format_time(datetime.fromtimestamp(record.time, UTC))
