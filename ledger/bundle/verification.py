"""Checking a bundle: no server, no network, no database; the reader trusts the hash of the genesis."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from cryptography import x509

from ledger import algorithms, base64url, canonical, commitments
from ledger.bundle.anchors import ELSEWHERE, find_anchor
from ledger.bundle.earlier import check_stamps, read_earlier
from ledger.bundle.epochs import check_follows, read_carried_rows, read_inherited
from ledger.bundle.files import (
    CHECKPOINT,
    DOMAIN,
    MANIFEST,
    POLICY,
    SIGNATURE,
    TABLES,
    attachment_name,
    check_names,
    entry_name,
    guard,
    indexed,
    payload_name,
    proof_name,
    read_manifest,
    salt_name,
)
from ledger.bundle.replaying import read_log, replay
from ledger.bundle.report import AnchoredIn, Report
from ledger.bundle.walk import Walk
from ledger.checkpoints import Checkpoint, cosignature_time, median_time, open_checkpoint
from ledger.container import unpack
from ledger.entries import Entry
from ledger.errors import InvalidBundle
from ledger.membership import GOVERNED_TABLES, Electorate, Network, electorate, genesis_hash, member_key
from ledger.merkle import leaf_hash, verify_inclusion
from ledger.notes import NoteSignature, Vkey
from ledger.proofs import Proof
from ledger.rules.epochs import epoch_of
from ledger.state import EPOCH
from ledger.tables import State, combine_table_roots
from ledger.times import show_time

__all__ = ["verify"]

_BEFORE = "previous"


@dataclass(frozen=True)
class _Examined:
    """A bundle that holds: what it proves, and what an anchor elsewhere is compared with."""

    report: Report
    walk: Walk
    log: Vkey
    checkpoints: Mapping[int, Checkpoint]


def verify(
    data: bytes,
    genesis: str | None = None,
    *,
    tsa_roots: Sequence[x509.Certificate] = (),
    anchored_in: bytes | None = None,
    anchor_genesis: str | None = None,
    previous: Sequence[bytes] = (),
    replayed: bool = False,
) -> Report:
    """Check a bundle.

    Args:
        data: the file.
        genesis: hash of the genesis that the reader trusts; without it the bundle shows only that it agrees
            with itself, and the report says so.
        tsa_roots: root certificates of time stamp authorities that the reader trusts; with any, the bundle
            must hold time stamps and all of them must lead there.
        anchored_in: a bundle of another ledger that must have this one's history on record.
        anchor_genesis: hash of that ledger's genesis, as far as the reader trusts it.
        previous: if the log is of a later epoch, bundles of the logs before, the latest first; each must end
            where the next log begins. ``genesis`` is then the hash of the first of these logs' genesis.
        replayed: execute all entries again, up to the state root; the bundle must hold them.

    Raises:
        InvalidBundle: naming the file in the bundle, or the container, and the reason. Names of files in the
            other ledger's bundle begin with ``anchored-in/``, of the logs before with ``previous/``.
    """
    found = _examine(data, genesis, tsa_roots, previous, replayed=replayed)
    if anchored_in is None:
        return found.report
    try:
        other = _examine(anchored_in, anchor_genesis, (), (), replayed=False)
    except InvalidBundle as exc:
        raise InvalidBundle(f"{ELSEWHERE}/{exc.member}", exc.reason) from exc
    return replace(found.report, anchored=_anchored(found, other))


def _examine(
    data: bytes,
    genesis: str | None,
    tsa_roots: Sequence[x509.Certificate],
    previous: Sequence[bytes],
    *,
    replayed: bool,
) -> _Examined:
    # 1. Container and manifest: no byte was changed after the exporter signed.
    members = unpack(data)
    check_names(members)
    manifest = read_manifest(members)
    # 2. The walk from the pinned genesis: who the members are, and whether everybody signed what is shown.
    raws = indexed(members, "entries/#.json")
    first = guard(entry_name(0), partial(Entry.parse, raws[0]))
    before = _examine_previous(first, genesis, previous)
    own = _check_genesis(first, str(manifest["genesis"]), genesis if before is None else None)
    walk = Walk(raws, read_inherited(members, first))
    walk.run()
    network, voters = Network.of(walk.state), electorate(walk.state)
    if network is None:
        raise InvalidBundle(entry_name(0), "expected a genesis")
    # 3. The checkpoint: a quorum of those members cosigned it.
    checkpoint, cosigners = _check_checkpoint(members, network, voters, manifest)
    # 4. The walk was complete, and every entry shown is under the checkpoint.
    _check_tables(members, walk, checkpoint)
    _check_proofs(members, raws, checkpoint)
    # 5. What comes with the entries: who exported, private content, papers,
    #    time stamps, the rest of the log.
    exporter = _check_exporter(members, manifest, walk.state)
    disclosed = _check_disclosed(members, walk)
    attachments = _check_attachments(members, raws)
    earlier = read_earlier(members, checkpoint)
    timestamps = check_stamps(members, earlier, tsa_roots)
    log = read_log(members, checkpoint)
    if replayed:
        replay(log, members[TABLES], read_carried_rows(members))
    names = {vkey.name: vkey.name.rpartition("/")[2] for vkey in voters.vkeys}
    report = Report(
        genesis=own,
        pinned=genesis is not None,
        origin=checkpoint.origin,
        size=checkpoint.size,
        members=tuple(sorted(names.values())),
        cosigners=tuple(sorted(names[vkey.name] for vkey in cosigners)),
        cosigned=show_time(median_time(map(cosignature_time, cosigners.values()))),
        exporter=exporter,
        entries=dict(sorted(walk.types.items())),
        refused=walk.refused,
        first=walk.times[0],
        last=walk.times[-1],
        keys=walk.keys,
        disclosed=disclosed,
        attachments=attachments,
        timestamps=timestamps,
        anchored=None,
        complete=bool(log),
        replayed=replayed,
        epoch=epoch_of(walk.state),
        follows=None if before is None else before.report.follows or before.report.genesis,
    )
    return _Examined(report, walk, network.log, {**earlier, checkpoint.size: checkpoint})


def _anchored(found: _Examined, other: _Examined) -> AnchoredIn:
    index, body = find_anchor(found.report.genesis, found.log.encode(), found.checkpoints, other.walk)
    return AnchoredIn(
        origin=other.report.origin,
        genesis=other.report.genesis,
        pinned=other.report.pinned,
        index=index,
        time=other.walk.time(index),
        size=body["size"],
        cosigners=other.report.cosigners,
    )


def _examine_previous(first: Entry, genesis: str | None, previous: Sequence[bytes]) -> _Examined | None:
    """Check the bundles of the logs before, and that this log follows; None if none are given."""
    if not previous:
        return None
    if first.type != EPOCH:
        raise InvalidBundle(
            entry_name(0), "expected no bundle of a log before: this log began with a genesis"
        )
    try:
        before = _examine(previous[0], genesis, (), previous[1:], replayed=False)
    except InvalidBundle as exc:
        raise InvalidBundle(f"{_BEFORE}/{exc.member}", exc.reason) from exc
    last = max(before.checkpoints)
    state = before.walk.seal_at_the_end(last)["state"]
    check_follows(first, before.report.genesis, before.checkpoints[last], state)
    return before


def _check_genesis(entry: Entry, stated: str, pinned: str | None) -> str:
    first = genesis_hash(entry.raw)
    if entry.type == EPOCH and pinned not in (None, first):
        raise InvalidBundle(
            entry_name(0),
            f"the log is of a later epoch and begins with {first}: pin that hash, "
            "or bring bundles of the logs before and pin the genesis of the first",
        )
    if stated != first or (pinned is not None and pinned != first):
        raise InvalidBundle(entry_name(0), f"expected the genesis {pinned or stated}, got {first}")
    return first


def _check_checkpoint(
    members: Mapping[str, bytes], network: Network, voters: Electorate, manifest: Mapping[str, Any]
) -> tuple[Checkpoint, dict[Vkey, NoteSignature]]:
    """Check size, cosignatures and the policy that asks for them; lines by non-members count for nothing."""
    checkpoint, note = guard(CHECKPOINT, lambda: open_checkpoint(members[CHECKPOINT], network.log))
    if checkpoint.size != manifest["size"]:
        raise InvalidBundle(CHECKPOINT, f"expected size {manifest['size']}, got {checkpoint.size}")
    cosigners = guard(CHECKPOINT, lambda: voters.cosigners(note))
    if not voters.is_final(cosigners):
        expected = f"expected {voters.quorum} cosignatures of {len(voters.vkeys)} members"
        needed = voters.rule.regulators_needed(len(voters.regulators))
        veto = f", {needed} of them regulators" if needed else ""
        raise InvalidBundle(CHECKPOINT, f"{expected}{veto}, got {len(cosigners)}")
    if members[POLICY] != voters.policy(network.log):
        raise InvalidBundle(POLICY, "expected the log and the members that the governance entries lead to")
    return checkpoint, cosigners


def _check_tables(members: Mapping[str, bytes], walk: Walk, checkpoint: Checkpoint) -> None:
    """Check that the governance entries shown are all that took effect; see the package's text."""
    seal = walk.seal_at_the_end(checkpoint.size)
    tables = guard(TABLES, lambda: canonical.decode(members[TABLES]))
    if not isinstance(tables, dict) or not all(isinstance(root, str) for root in tables.values()):
        raise InvalidBundle(TABLES, "expected roots by table")
    try:
        roots = {name: bytes.fromhex(str(root)) for name, root in tables.items()}
    except ValueError as exc:
        raise InvalidBundle(TABLES, "expected roots in hex") from exc
    if {name: root.hex() for name, root in roots.items()} != tables:
        raise InvalidBundle(TABLES, "expected roots in lower-case hex")
    if combine_table_roots(roots).hex() != seal["state"]:
        raise InvalidBundle(TABLES, "the roots do not lead to the state root of the last seal")
    walked = walk.state.table_roots()
    for name in GOVERNED_TABLES:
        if walked.get(name) != roots.get(name):
            raise InvalidBundle(TABLES, f"the governance entries shown do not lead to the table {name}")


def _check_proofs(members: Mapping[str, bytes], raws: Mapping[int, bytes], checkpoint: Checkpoint) -> None:
    proofs = indexed(members, "proofs/#.tlog-proof")
    for index in sorted(set(proofs) ^ set(raws)):
        raise InvalidBundle(proof_name(index), "expected one proof for each entry")
    for index, raw in raws.items():
        name = proof_name(index)
        proof = guard(name, partial(Proof.parse, proofs[index]))
        if proof.index != index or proof.checkpoint != members[CHECKPOINT]:
            raise InvalidBundle(name, f"expected a proof of index {index} under the bundle's checkpoint")
        check = partial(verify_inclusion, checkpoint.root, checkpoint.size, index, leaf_hash(raw), proof.path)
        guard(name, check)


def _check_exporter(members: Mapping[str, bytes], manifest: Mapping[str, Any], state: State) -> str:
    did, kid = str(manifest["exporter"].get("did")), manifest["exporter"].get("kid")
    key, row = member_key(state, did), state.get("members", did)
    if key is None or row is None or key.kid != kid:
        raise InvalidBundle(MANIFEST, "expected a member and its key as exporter")
    try:
        signature = base64url.decode(members[SIGNATURE].decode("ascii"))
    except ValueError as exc:
        raise InvalidBundle(SIGNATURE, "expected base64url without padding") from exc
    guard(SIGNATURE, lambda: algorithms.verify(key.alg, key.public, DOMAIN + members[MANIFEST], signature))
    return str(row["name"])


def _check_disclosed(members: Mapping[str, bytes], walk: Walk) -> tuple[int, ...]:
    """Check private content against the commitments of its entries."""
    payloads, salts = indexed(members, "disclosed/#.bin"), indexed(members, "disclosed/#.salt")
    for index in sorted(set(payloads) ^ set(salts)):
        missing = payload_name(index) if index in salts else salt_name(index)
        raise InvalidBundle(missing, "expected a payload and its salt")
    for index, payload in payloads.items():
        name = payload_name(index)
        entry = walk.entries.get(index)
        if entry is None or entry.commit is None:
            raise InvalidBundle(name, "expected the payload of an entry shown that commits to one")
        guard(name, partial(commitments.check, entry.commit, payload, salts[index]))
    return tuple(sorted(payloads))


def _check_attachments(members: Mapping[str, bytes], raws: Mapping[int, bytes]) -> tuple[str, ...]:
    prefix = attachment_name("")
    names = sorted(name for name in members if name.startswith(prefix))
    for name in names:
        digest = hashlib.sha256(members[name]).hexdigest().encode()
        if not any(digest in raw for raw in raws.values()):
            raise InvalidBundle(name, "no entry shown states its SHA-256")
    return tuple(name.removeprefix(prefix) for name in names)
