"""Evidence bundles: everything an outsider needs to check some entries, in one file and without a server.

A bundle holds the genesis, every governance entry, the entries asked for, the seals that say which of them
are valid, a proof for each, and one checkpoint that a quorum of members cosigned. Who checks it trusts the
hash of the genesis and nobody else.

An exporter chooses which entries to show, so what is absent from a bundle proves nothing, with one exception:
every governance entry that took effect is there. The seal that ends the checkpoint states the root of the
whole state; the bundle holds the roots of its tables, and those of ``params``, ``members`` and ``proposals``
must be the ones that the governance entries shown lead to. Leaving one out would change them, so the keys and
the quorum that the other checks rest on are the consortium's, not the exporter's choice.
"""

from __future__ import annotations

import bisect
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ledger import base64url, canonical
from ledger.batches import EMPTY_HEAD, read_seal, verify_batch
from ledger.checkpoints import Checkpoint, open_checkpoint
from ledger.container import pack, unpack
from ledger.entries import Entry
from ledger.errors import InvalidBundle, LedgerError, NotFinal, Refusal
from ledger.keys import SigningKey, verify_signature
from ledger.membership import Network, electorate, genesis_hash, member_key
from ledger.merkle import Tree, leaf_hash, verify_inclusion
from ledger.notes import Note, NoteSignature
from ledger.proofs import Proof, encode_policy
from ledger.state import SEAL, apply, check_attributable
from ledger.tables import Row, State, combine_table_roots
from ledger.times import parse_time

if TYPE_CHECKING:
    from ledger.store import LedgerStore

__all__ = ["Report", "export", "verify"]

T = TypeVar("T")

_DOMAIN = b"parley-bundle/v1\n"
_VERSION = 1
_GOVERNANCE = ("gov.", "member.")
_GOVERNED = ("members", "params", "proposals")
_ENTRY = re.compile(r"entries/(0|[1-9][0-9]{0,15})\.json")
_MANIFEST, _SIGNATURE = "manifest.json", "manifest.sig"
_CHECKPOINT, _POLICY, _TABLES = "checkpoint", "policy", "tables.json"


@dataclass(frozen=True)
class Report:
    """What a bundle proves.

    Attributes:
        genesis: hash of the genesis; compare it with the one you were given.
        pinned: whether the caller named that hash.
        origin: name of the log.
        size: entries under the cosigned checkpoint.
        members: names of the members at that size.
        cosigners: names of those that cosigned it.
        exporter: name of the member that exported and signed the bundle.
        entries: entries shown, seals apart, by type.
        refused: how many of them the ledger refused.
        first: time of the first of their batches; last: of the last.
        attachments: names of papers whose digest an entry states.
    """

    genesis: str
    pinned: bool
    origin: str
    size: int
    members: tuple[str, ...]
    cosigners: tuple[str, ...]
    exporter: str
    entries: Mapping[str, int]
    refused: int
    first: str
    last: str
    attachments: tuple[str, ...]


def export(
    store: LedgerStore,
    final_size: int,
    txids: Iterable[str],
    *,
    did: str,
    kid: str,
    key: SigningKey,
    attachments: Mapping[str, bytes] | None = None,
) -> bytes:
    """Write a bundle.

    Args:
        store: a copy of the log, with the cosignatures of the checkpoint at ``final_size``.
        final_size: size of a checkpoint that is final.
        txids: the entries to show; governance and seals come along.
        did: the exporting member.
        kid: name of its entry key.
        key: signs the manifest.
        attachments: papers whose SHA-256 an entry states, by name.

    Raises:
        NotFinal: an entry is not below ``final_size``, or that is not the size of a final checkpoint.
        InvalidBundle: what was written does not verify: the copy was altered, an attachment is stated by no
            entry shown, or the key is not the member's.
    """
    wanted = set(txids)
    tree, head = Tree(), EMPTY_HEAD
    shown: dict[int, bytes] = {}
    batch: list[Entry] = []
    for page in store.pages(final_size):
        for record in page:
            tree.append(record.leaf)
            batch.append(record.entry)
            if record.txid in wanted or record.type.startswith(_GOVERNANCE):
                shown[record.index] = record.raw
                wanted.discard(record.txid)
            if record.type == SEAL:
                if any(index in shown for index in range(head.size, record.index)) or len(tree) == final_size:
                    shown[record.index] = record.raw
                head = verify_batch(head, batch, now=None, seen=lambda _: frozenset()).head
                batch = []
    if wanted:
        raise NotFinal(f"{len(wanted)} of the entries asked for are not below the final size {final_size}")
    state = head.state
    network = Network.of(state)
    if network is None or head.size != final_size:
        raise NotFinal(f"expected a checkpoint of size {final_size}, the copy ends a batch at {head.size}")
    note = _cosigned(store, final_size)
    voters = electorate(state)
    members = {
        _CHECKPOINT: note.encode(),
        _POLICY: encode_policy(network.log, sorted(voters.vkeys, key=lambda vkey: vkey.name), voters.quorum),
        _TABLES: canonical.encode({name: root.hex() for name, root in state.table_roots().items()}),
    }
    for index, raw in shown.items():
        path = tuple(tree.inclusion_proof(index, final_size))
        members[f"entries/{index}.json"] = raw
        members[f"proofs/{index}.tlog-proof"] = Proof(index, path, note.encode()).encode()
    members |= {f"attachments/{name}": content for name, content in (attachments or {}).items()}
    manifest = canonical.encode(
        {
            "v": _VERSION,
            "genesis": genesis_hash(shown[0]),
            "size": final_size,
            "exporter": {"did": did, "kid": kid},
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
        }
    )
    signature = base64url.encode(key.sign(_DOMAIN + manifest)).encode()
    data = pack({**members, _MANIFEST: manifest, _SIGNATURE: signature})
    verify(data)
    return data


def _cosigned(store: LedgerStore, size: int) -> Note:
    raw = store.checkpoint(size)
    if raw is None:
        raise NotFinal(f"there is no checkpoint of size {size}")
    note = Note.parse(raw)
    for line in store.cosignatures(size).values():
        note = note.with_signature(NoteSignature.parse(line))
    return note


def verify(data: bytes, genesis: str | None = None) -> Report:
    """Check a bundle.

    Args:
        data: the file.
        genesis: hash of the genesis that the reader trusts; without it the bundle shows only that it agrees
            with itself, and the report says so.

    Raises:
        InvalidBundle: naming the file in the bundle, or the container, and the reason.
    """
    members = unpack(data)
    manifest = _manifest(members)
    raws = _entries(members)
    first = genesis_hash(raws[0])
    if manifest["genesis"] != first or (genesis is not None and genesis != first):
        expected = genesis or str(manifest["genesis"])
        raise InvalidBundle("entries/0.json", f"expected the genesis {expected}, got {first}")
    walk = _Walk(raws)
    for index in sorted(raws):
        walk.step(index)
    network = Network.of(walk.state)
    if network is None:
        raise InvalidBundle("entries/0.json", "expected a genesis")
    checkpoint, note = _checkpoint(members, network, manifest)
    voters = electorate(walk.state)
    cosigners = _guard(_CHECKPOINT, lambda: voters.cosigners(note))
    if not voters.is_final(cosigners):
        raise InvalidBundle(
            _CHECKPOINT,
            f"expected {voters.quorum} cosignatures of {len(voters.vkeys)} members, got {len(cosigners)}",
        )
    if members[_POLICY] != encode_policy(
        network.log, sorted(voters.vkeys, key=lambda vkey: vkey.name), voters.quorum
    ):
        raise InvalidBundle(_POLICY, "expected the log and the members that the governance entries lead to")
    _check_tables(members, walk, checkpoint)
    _check_proofs(members, raws, checkpoint)
    exporter = _check_exporter(members, manifest, walk.state)
    attachments = _check_attachments(members, raws)
    names = {vkey.name: vkey.name.rpartition("/")[2] for vkey in voters.vkeys}
    return Report(
        genesis=first,
        pinned=genesis is not None,
        origin=checkpoint.origin,
        size=checkpoint.size,
        members=tuple(sorted(names.values())),
        cosigners=tuple(sorted(names[vkey.name] for vkey in cosigners)),
        exporter=exporter,
        entries=dict(sorted(walk.types.items())),
        refused=walk.refused,
        first=walk.times[0],
        last=walk.times[-1],
        attachments=attachments,
    )


class _Walk:
    """Walks the shown entries in log order: governance is applied, everything is held to its signer."""

    def __init__(self, raws: Mapping[int, bytes]) -> None:
        self.state = State()
        self.types: Counter[str] = Counter()
        self.times: list[str] = []
        self.refused = 0
        self._entries = {
            index: _guard(_name(index), partial(Entry.parse, raw)) for index, raw in raws.items()
        }
        self._seals = {
            index: _guard(_name(index), partial(read_seal, entry, index))
            for index, entry in sorted(self._entries.items())
            if entry.type == SEAL
        }
        self._sealed = list(self._seals)

    def seal_at_the_end(self, size: int) -> Row:
        """What the seal states that ends the checkpoint of ``size``."""
        if size - 1 not in self._seals:
            raise InvalidBundle(_name(size - 1), "expected the seal that ends the checkpoint, found none")
        return self._seals[size - 1]

    def step(self, index: int) -> None:
        """Take the entry at ``index``."""
        entry = self._entries[index]
        if index in self._seals:
            self._check_seal(index, entry)
            return
        seal = self._seal_of(index)
        code = dict(seal["refused"]).get(index)
        found = self._execute(index, entry, parse_time(seal["time"]))
        if found is not None and found != code:
            raise InvalidBundle(_name(index), f"it is refused ({found}), its seal says {code or 'valid'}")
        if found is None and code is not None and entry.type.startswith(_GOVERNANCE):
            raise InvalidBundle(_name(index), f"it is valid, its seal says {code}")
        self.types[entry.type] += 1
        self.refused += code is not None
        self.times.append(seal["time"])

    def _execute(self, index: int, entry: Entry, time: datetime) -> str | None:
        """Apply governance, and of other entries check who signed; return the code of a refusal."""
        try:
            if entry.type.startswith(_GOVERNANCE):
                self.state = apply(self.state, entry, index=index, time=time)
            else:
                check_attributable(self.state, entry)
        except Refusal as refusal:
            return refusal.code
        return None

    def _seal_of(self, index: int) -> Row:
        at = bisect.bisect_right(self._sealed, index)
        if at == len(self._sealed):
            raise InvalidBundle(_name(index), "expected the seal of its batch, found none")
        seal = self._seals[self._sealed[at]]
        if seal["first"] > index:
            raise InvalidBundle(_name(index), "expected the seal of its batch, found a later one")
        return seal

    def _check_seal(self, index: int, seal: Entry) -> None:
        network = Network.of(self.state)
        if network is None or seal.actor != network.hub_did or seal.net != network.name:
            raise InvalidBundle(_name(index), "expected a seal of this network's hub")
        _guard(_name(index), lambda: seal.verify(network.hub_key.kid, network.hub_key.public))
        if self._seals[index]["first"] + self._seals[index]["count"] != index:
            raise InvalidBundle(_name(index), "expected a seal at the end of its batch")


def _name(index: int) -> str:
    return f"entries/{index}.json"


def _guard(name: str, check: Callable[[], T]) -> T:
    """Run a check on a file of the bundle and name the file if it fails."""
    try:
        return check()
    except LedgerError as exc:
        raise InvalidBundle(name, str(exc)) from exc


def _manifest(members: Mapping[str, bytes]) -> dict[str, Any]:
    """The manifest, after comparing every file with it."""
    for name in (_MANIFEST, _SIGNATURE, _CHECKPOINT, _POLICY, _TABLES, "entries/0.json"):
        if name not in members:
            raise InvalidBundle(name, "expected this file, found none")
    manifest = _guard(_MANIFEST, lambda: canonical.decode(members[_MANIFEST]))
    if not isinstance(manifest, dict) or set(manifest) != {"v", "genesis", "size", "exporter", "files"}:
        raise InvalidBundle(_MANIFEST, "expected v, genesis, size, exporter and files")
    files, exporter = manifest["files"], manifest["exporter"]
    if manifest["v"] != _VERSION or not isinstance(files, dict) or not isinstance(exporter, dict):
        raise InvalidBundle(_MANIFEST, f"expected version {_VERSION} with files and an exporter")
    for name in sorted({*files, *members} - {_MANIFEST, _SIGNATURE}):
        content = members.get(name)
        if content is None or name not in files:
            raise InvalidBundle(name, "it is in the manifest and not in the bundle, or the other way round")
        actual = hashlib.sha256(content).hexdigest()
        if files[name] != actual:
            raise InvalidBundle(name, f"expected SHA-256 {files[name]}, got {actual}")
    return manifest


def _entries(members: Mapping[str, bytes]) -> dict[int, bytes]:
    raws = {}
    for name, content in members.items():
        if name.startswith("entries/"):
            match = _ENTRY.fullmatch(name)
            if match is None:
                raise InvalidBundle(name, "expected entries/<index>.json")
            raws[int(match[1])] = content
    return raws


def _checkpoint(
    members: Mapping[str, bytes], network: Network, manifest: Mapping[str, Any]
) -> tuple[Checkpoint, Note]:
    checkpoint, note = _guard(_CHECKPOINT, lambda: open_checkpoint(members[_CHECKPOINT], network.log))
    if checkpoint.size != manifest["size"]:
        raise InvalidBundle(_CHECKPOINT, f"expected size {manifest['size']}, got {checkpoint.size}")
    return checkpoint, note


def _check_tables(members: Mapping[str, bytes], walk: _Walk, checkpoint: Checkpoint) -> None:
    """Check that the governance entries shown are all there are; see the module's text."""
    seal = walk.seal_at_the_end(checkpoint.size)
    tables = _guard(_TABLES, lambda: canonical.decode(members[_TABLES]))
    if not isinstance(tables, dict) or not all(isinstance(root, str) for root in tables.values()):
        raise InvalidBundle(_TABLES, "expected roots by table")
    try:
        roots = {name: bytes.fromhex(str(root)) for name, root in tables.items()}
    except ValueError as exc:
        raise InvalidBundle(_TABLES, "expected roots in hex") from exc
    if combine_table_roots(roots).hex() != seal["state"]:
        raise InvalidBundle(_TABLES, "the roots do not lead to the state root of the last seal")
    walked = walk.state.table_roots()
    for name in _GOVERNED:
        if walked.get(name) != roots.get(name):
            raise InvalidBundle(_TABLES, f"the governance entries shown do not lead to the table {name}")


def _check_proofs(members: Mapping[str, bytes], raws: Mapping[int, bytes], checkpoint: Checkpoint) -> None:
    proofs = {name for name in members if name.startswith("proofs/")}
    expected = {f"proofs/{index}.tlog-proof" for index in raws}
    for name in sorted(proofs ^ expected):
        raise InvalidBundle(name, "expected one proof for each entry")
    for index, raw in raws.items():
        name = f"proofs/{index}.tlog-proof"
        proof = _guard(name, partial(Proof.parse, members[name]))
        if proof.index != index or proof.checkpoint != members[_CHECKPOINT]:
            raise InvalidBundle(name, f"expected a proof of index {index} under the bundle's checkpoint")
        check = partial(verify_inclusion, checkpoint.root, checkpoint.size, index, leaf_hash(raw), proof.path)
        _guard(name, check)


def _check_exporter(members: Mapping[str, bytes], manifest: Mapping[str, Any], state: State) -> str:
    did, kid = str(manifest["exporter"].get("did")), manifest["exporter"].get("kid")
    key, row = member_key(state, did), state.get("members", did)
    if key is None or row is None or key.kid != kid:
        raise InvalidBundle(_MANIFEST, "expected a member and its key as exporter")
    try:
        signature = base64url.decode(members[_SIGNATURE].decode("ascii"))
    except ValueError as exc:
        raise InvalidBundle(_SIGNATURE, "expected base64url without padding") from exc
    _guard(_SIGNATURE, lambda: verify_signature(key.public, _DOMAIN + members[_MANIFEST], signature))
    return str(row["name"])


def _check_attachments(members: Mapping[str, bytes], raws: Mapping[int, bytes]) -> tuple[str, ...]:
    names = sorted(name for name in members if name.startswith("attachments/"))
    for name in names:
        digest = hashlib.sha256(members[name]).hexdigest().encode()
        if not any(digest in raw for raw in raws.values()):
            raise InvalidBundle(name, "no entry shown states its SHA-256")
    known = {_MANIFEST, _SIGNATURE, _CHECKPOINT, _POLICY, _TABLES}
    for name in sorted(members):
        if name not in known and not name.startswith(("entries/", "proofs/", "attachments/")):
            raise InvalidBundle(name, "expected no such file in a bundle")
    return tuple(name.removeprefix("attachments/") for name in names)
