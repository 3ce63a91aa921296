"""The ledger as people look at it: search, single entries with their batch, proofs, checkpoints, members.

Everything is read from this node's own copy. What is shown as final stands under a checkpoint that a quorum
cosigned; single entries and batches are shown before that too, and say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from exchange.errors import ExchangeError, NotFound, SearchNotReady
from exchange.node.indexer import MOST_BEHIND
from exchange.node.services import NodeServices
from ledger.bundle.exporting import cosigned
from ledger.entries import Entry
from ledger.errors import LedgerError
from ledger.membership import electorate
from ledger.notes import Note, Vkey
from ledger.proofs import Proof
from ledger.search import Query
from ledger.standing import final_checkpoint
from ledger.store import Record
from ledger.times import show_time

__all__ = ["Explorer"]

_MOST_BEHIND = 2 * MOST_BEHIND
"""Entries that a search takes into the index itself; that is some seconds."""


_MOST_OUTSIDE = 16
"""Cosignatures or keys of outside witnesses that are taken from the hub at most."""


class Explorer:
    """Reads of one node's copy of the log."""

    def __init__(self, services: NodeServices) -> None:
        self._services = services
        self._mirror = services.ledger.mirror

    def resolved(self, participant: str) -> str:
        """The DID of a participant who may be named by its name; anything else as it is."""
        return {name: did for did, name in self._names().items()}.get(participant, participant)

    def page(
        self, query: Query, *, cursor: int | None, newest_first: bool, limit: int
    ) -> tuple[list[dict[str, Any]], int | None]:
        """Final entries that meet a query, and the cursor of the next page.

        Raises:
            SearchNotReady: the index is far behind, as after an upgrade; it is being made.
        """
        self._check_ready()
        page = self._mirror.search(query, cursor=cursor, newest_first=newest_first, limit=limit)
        names = self._names()
        return [_row(record, names) for record in page.records], page.cursor

    def counts(self, query: Query) -> list[dict[str, Any]]:
        """How many final entries meet a query, by type.

        Raises:
            SearchNotReady: see ``page``.
        """
        self._check_ready()
        found = self._mirror.index.counts(query, below=self._mirror.final_size)
        return [{"type": one.type, "count": one.count, "exact": one.is_exact} for one in found]

    def entry(self, place: str) -> dict[str, Any]:
        """One entry by index or txid, decoded, with its batch and whether it is final.

        Raises:
            NotFound: this node's copy has none there.
        """
        record = self._record(place)
        seal = self._mirror.index.seal_of(record.index, below=self._mirror.size)
        parsed = record.entry
        return {
            **_row(record, self._names()),
            "final": record.index < self._mirror.final_size,
            "leaf": record.leaf.hex(),
            "net": parsed.net,
            "seq": parsed.seq,
            "exp": parsed.exp,
            "refs": list(parsed.refs),
            "commit": parsed.commit,
            "signatures": [{"kid": one.kid, "alg": one.alg} for one in parsed.sigs],
            "batch": None if seal is None else _sealed(seal),
        }

    def batch(self, height: int) -> dict[str, Any]:
        """The batch at a height: where its entries are, what was refused, the state root, who ordered it.

        Raises:
            NotFound: this node's copy does not reach so far.
        """
        seal = self._mirror.index.seal_at(height, below=self._mirror.size)
        if seal is None:
            raise NotFound(f"this node's copy has no batch at height {height}")
        body = seal.entry.body
        return {
            **_sealed(seal),
            "count": body["count"],
            "refused": [{"index": index, "code": code} for index, code in body["refused"]],
            "state": body["state"],
            "prev_seal": body["prev_seal"],
            "final": seal.index < self._mirror.final_size,
        }

    def proof(self, place: str) -> bytes:
        """A proof file (C2SP tlog-proof) that a final entry is in the log; the entry's bytes are its extra.

        Raises:
            NotFound: this node's copy has no such entry, or it is not final yet.
        """
        record, size = self._record(place), self._mirror.final_size
        if record.index >= size:
            raise NotFound(f"entry {record.index} is not final yet: {size} entries are")
        path = tuple(self._mirror.tree.inclusion_proof(record.index, size))
        return Proof(record.index, path, self._cosigned(size).encode(), record.raw).encode()

    def checkpoint(self) -> bytes:
        """The final checkpoint with its cosignatures, as a signed note.

        Raises:
            NotFinal: nothing is final yet.
        """
        return self._cosigned(self._mirror.final_size).encode()

    def policy(self) -> bytes:
        """Who has to sign a checkpoint for it to be final, as a policy file (C2SP tlog-policy).

        Outside witnesses that the hub names are listed too, without a part in the quorum.
        """
        members, log = electorate(self._mirror.final_state), self._mirror.network.log
        taken = {log.public, *(vkey.public for vkey in members.vkeys)}
        return members.policy(log, [vkey for vkey in self._outside() if vkey.public not in taken])

    def members(self) -> list[dict[str, Any]]:
        """Members with their keys and the index from which they, and each key now in use, count."""
        state = self._mirror.final_state
        begun: dict[str, int] = {}
        in_use: dict[str, dict[str, int]] = {}
        for row in state.rows("keys").values():
            begun[row["did"]] = min(row["from"], begun.get(row["did"], row["from"]))
            if row["until"] is None:
                in_use.setdefault(row["did"], {})[row["use"]] = row["from"]
        return [
            {
                "did": did,
                "name": row["name"],
                "title": row["title"],
                "role": row["role"],
                "status": row["status"],
                "since": begun.get(did),
                "kid": row["tx"]["kid"],
                "alg": row["tx"]["alg"],
                "cosign": row["cosign"],
                "keys_since": in_use.get(did, {}),
            }
            for did, row in state.rows("members").items()
        ]

    def status(self) -> dict[str, Any]:
        """How this node's copy stands, who cosigned, and whether this node trusts the hub's log."""
        services, mirror = self._services, self._mirror
        now = int(services.clock().timestamp())
        size, state = mirror.final
        final = final_checkpoint(mirror.store, size, electorate(state)) if size else None
        last = mirror.store.records(mirror.size - 1, mirror.size)
        return {
            "net": services.net,
            "genesis": services.genesis,
            "origin": mirror.network.origin,
            "size": mirror.size,
            "height": last[0].entry.body["height"] + 1 if last else 0,
            "final_size": size,
            "lag": mirror.size - size,
            "final_root": None if final is None else final.root.hex(),
            "final_time": None if final is None else _time(final.time),
            "final_age_s": None if final is None else max(0, now - final.time),
            "quorum": None if final is None else final.quorum,
            "cosigners": [
                asdict(one)
                | {"time": _time(one.time), "age_s": None if one.time is None else max(0, now - one.time)}
                for one in (final.cosigners if final else ())
            ],
            "engine": last[0].entry.body["engine"]["kind"] if last else None,
            "indexed": mirror.index.postings.size(),
            "divergence": services.ledger.divergence,
            "overdue": [asdict(one) for one in services.ledger.receipts.overdue()],
        }

    def _cosigned(self, size: int) -> Note:
        """The checkpoint of a size with the members' cosignatures and, if the hub answers, outside ones.

        What the hub adds is not checked here: lines by unknown keys are for readers who know the keys.
        """
        note = cosigned(self._mirror.store, size)
        try:
            shown = Note.parse(self._services.hub.checkpoint_of(size))
        except (ExchangeError, LedgerError):
            return note
        if shown.text == note.text:
            known = {(line.name, line.key_id) for line in note.signatures}
            new = [line for line in shown.signatures if (line.name, line.key_id) not in known]
            for line in new[:_MOST_OUTSIDE]:
                note = note.with_signature(line)
        return note

    def _outside(self) -> list[Vkey]:
        try:
            words = [word for copy in self._services.hub.witnesses() for word in copy.get("vkeys", [])]
            return list(dict.fromkeys(Vkey.parse(str(word)) for word in words[:_MOST_OUTSIDE]))
        except (ExchangeError, LedgerError):
            return []

    def _record(self, place: str) -> Record:
        store = self._mirror.store
        if len(place) == 64:
            found = store.find(place)
        else:
            index = int(place)
            found = next(iter(store.records(index, index + 1)), None)
        if found is None:
            raise NotFound(f"this node's copy has no entry {place}")
        return found

    def _check_ready(self) -> None:
        size, final = self._mirror.index.postings.size(), self._mirror.final_size
        if final - size > _MOST_BEHIND:
            raise SearchNotReady(f"the search index is being made: it has {size} of {final} entries")

    def _names(self) -> Mapping[str, str]:
        return {did: row["name"] for did, row in self._mirror.final_state.rows("members").items()}


def _row(record: Record, names: Mapping[str, str]) -> dict[str, Any]:
    entry: Entry = record.entry
    return {
        "index": record.index,
        "txid": record.txid,
        "type": record.type,
        "actor": record.actor,
        "name": names.get(record.actor, "hub"),
        "code": record.code,
        "time": _time(record.time),
        "body": entry.body,
    }


def _sealed(seal: Record) -> dict[str, Any]:
    body = seal.entry.body
    return {
        "height": body["height"],
        "first": body["first"],
        "seal": seal.index,
        "time": body["time"],
        "engine": body["engine"],
    }


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else show_time(seconds)
