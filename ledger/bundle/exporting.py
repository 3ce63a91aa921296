"""Writing a bundle from a member's copy of the log.

The log is not replayed: governance entries and seals are looked up by type, proofs come from the tree, the
roots of the tables from the state. What was written is then verified as a stranger would, so a copy that was
altered, or a state of another size, gives an error and no bundle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ledger import canonical
from ledger.bundle.earlier import Consistent, choose_stamps, earlier_file, stamp_files
from ledger.bundle.epochs import epoch_files
from ledger.bundle.files import (
    CHECKPOINT,
    POLICY,
    TABLES,
    attachment_name,
    entry_name,
    log_name,
    payload_name,
    proof_name,
    salt_name,
    sign_manifest,
)
from ledger.bundle.verification import verify
from ledger.bundle.walk import GOVERNANCE
from ledger.commitments import Opening
from ledger.container import pack
from ledger.errors import NotFinal, NotPublished
from ledger.keys import SigningKey
from ledger.membership import Network, electorate, genesis_hash
from ledger.notes import Note, NoteSignature
from ledger.proofs import Proof
from ledger.rules import RULES
from ledger.state import EPOCH, GENESIS
from ledger.tables import State
from ledger.tiles import TILE_WIDTH, encode_entries
from ledger.timestamps import Stamp

if TYPE_CHECKING:
    from ledger.search import Search
    from ledger.store import LedgerStore, Record

__all__ = ["Provable", "cosigned", "export"]

_CARRIED_OUT = ("effective", "lapsed")
_GOVERNANCE_TYPES = (GENESIS, EPOCH, *sorted(kind for kind in RULES if kind.startswith(GOVERNANCE)))


class Provable(Consistent, Protocol):
    """What proves that an entry is in the log; ``ledger.merkle.Tree`` does."""

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Return the audit path of leaf ``index`` in the tree of ``size`` leaves."""


def export(
    store: LedgerStore,
    final_size: int,
    txids: Iterable[str],
    *,
    tree: Provable,
    state: State,
    did: str,
    kid: str,
    key: SigningKey,
    attachments: Mapping[str, bytes] | None = None,
    disclosed: Mapping[str, Opening] | None = None,
    timestamps: Iterable[Stamp] = (),
    earlier: Sequence[int] = (),
    everything: bool = False,
) -> bytes:
    """Write a bundle.

    Args:
        store: a copy of the log, with the cosignatures of the checkpoint at ``final_size``.
        final_size: size of a checkpoint that is final.
        txids: the entries to show; governance and seals come along.
        tree: the copy's tree, of at least ``final_size`` leaves.
        state: what the entries below ``final_size`` make.
        did: the exporting member.
        kid: name of its entry key.
        key: signs the manifest.
        attachments: papers whose SHA-256 an entry states, by name.
        disclosed: payload and salt of entries that commit to private content, by txid; they are shown too.
        timestamps: time stamps on this log's checkpoints; of each authority one is chosen, the first that
            covers all entries asked for, or else its latest.
        earlier: sizes of earlier checkpoints that the bundle is to prove prefixes of its own.
        everything: add all entries of the log, so that a reader can replay it.

    Raises:
        NotFinal: an entry is not below ``final_size``, or that is not the size of a final checkpoint.
        NotPublished: the log has no such entry, or an earlier size is above ``final_size``.
        InvalidBundle: what was written does not verify: the copy was altered, ``state`` is that of another
            size, an attachment is stated by no entry shown, or the key is not the member's.
    """
    from ledger.search import Query, Search  # not at the top: reading a bundle needs no database

    note = cosigned(store, final_size)
    asked = _asked(store, final_size, {*txids, *(disclosed or {})})
    last = max((record.index for record in asked), default=0)
    search = Search(store)
    governance = search.every(Query(_GOVERNANCE_TYPES), below=final_size)
    shown = {record.index: record for record in (*asked, *governance)}
    begun = {row["index"] for row in state.rows("proposals").values() if row["status"] in _CARRIED_OUT}
    shown |= {seal.index: seal for seal in _seals(search, final_size, sorted({*shown, *begun}))}
    network, voters = Network.of(state), electorate(state)
    if network is None:
        raise NotFinal(f"expected the state at size {final_size}, got an empty one")
    members = {
        CHECKPOINT: note.encode(),
        POLICY: voters.policy(network.log),
        TABLES: canonical.encode({name: root.hex() for name, root in state.table_roots().items()}),
    }
    for index, record in shown.items():
        path = tuple(tree.inclusion_proof(index, final_size))
        members[entry_name(index)] = record.raw
        members[proof_name(index)] = Proof(index, path, note.encode()).encode()
        if opening := (disclosed or {}).get(record.txid):
            members[payload_name(index)], members[salt_name(index)] = opening.payload, opening.salt
    beyond = [size for size in earlier if not 0 < size <= final_size]
    if beyond:
        raise NotPublished(f"expected earlier sizes of 1 to {final_size}, got {beyond[0]}")
    stamps = choose_stamps(timestamps, last, final_size)
    for size in sorted({*earlier, *(stamp.size for stamp in stamps)}):
        members |= earlier_file(tree, size, final_size)
    members |= stamp_files(stamps)
    members |= epoch_files(store.carried(), everything=everything)
    members |= {attachment_name(name): content for name, content in (attachments or {}).items()}
    if everything:
        members |= _whole_log(store, final_size)
    genesis = genesis_hash(shown[0].raw)
    data = pack(sign_manifest(members, genesis, final_size, did=did, kid=kid, key=key))
    verify(data)
    return data


def cosigned(store: LedgerStore, size: int) -> Note:
    """Return the checkpoint of a size with the cosignatures on it.

    Raises:
        NotFinal: there is none.
    """
    raw = store.checkpoint(size)
    if raw is None:
        raise NotFinal(f"there is no checkpoint of size {size}")
    note = Note.parse(raw)
    for line in store.cosignatures(size).values():
        note = note.with_signature(NoteSignature.parse(line))
    return note


def _asked(store: LedgerStore, size: int, txids: set[str]) -> list[Record]:
    found = [record for record in map(store.find, txids) if record is not None]
    if len(found) < len(txids):
        raise NotPublished(f"{len(txids) - len(found)} of the entries asked for are not in the log")
    if late := sum(record.index >= size for record in found):
        raise NotFinal(f"{late} of the entries asked for are not below the final size {size}")
    return found


def _seals(search: Search, size: int, indexes: Iterable[int]) -> Iterator[Record]:
    """The seals of the batches with ``indexes``, which ascend, and the one that ends the checkpoint.

    Among them are the batches at whose beginning a proposal was carried out, whatever else is in them.
    """
    sealed = -1
    for index in [*indexes, size - 1]:
        if index <= sealed:
            continue
        found = search.seal_of(index, below=size)
        if found is None:
            raise NotFinal(f"expected a checkpoint of size {size} that ends with a seal")
        sealed = found.index
        yield found


def _whole_log(store: LedgerStore, size: int) -> dict[str, bytes]:
    return {
        log_name(start // TILE_WIDTH): encode_entries(
            record.raw for record in store.records(start, min(start + TILE_WIDTH, size))
        )
        for start in range(0, size, TILE_WIDTH)
    }
