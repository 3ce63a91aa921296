"""Promises: the hub's signed word that an entry will be in the log by some time, and what it is held to.

A log that leaves an entry out shows nothing by that: every history without it is consistent. So a member
whose entry does not come through asks for a promise. The hub keeps the entry and its promise durably before
it answers, and puts every entry that it owes at the head of the next batch; an honest hub that crashes in
between keeps its word. A final checkpoint whose last seal is later than the promised time, over a log without
the entry, is the proof that the hub did not: the hub signed both.

A promise is canonical JSON: ``v``, ``net``, ``txid``, ``by`` (time), ``kid``, ``alg``, ``sig``. The signature
by the hub's entry key is over ``parley-promise/v1`` and a newline, then the same without ``sig``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ledger import algorithms, base64url, canonical
from ledger.algorithms import Signer
from ledger.batches import read_seal
from ledger.canonical import JsonValue
from ledger.checkpoints import open_checkpoint
from ledger.entries import Entry
from ledger.errors import InvalidPromise, LedgerError
from ledger.membership import Electorate, Network
from ledger.merkle import leaf_hash, root_of, verify_inclusion
from ledger.rules import shapes
from ledger.state import SEAL
from ledger.times import format_time, parse_time

__all__ = ["BOUND_S", "OVERDUE", "Promise", "make_promise", "overdue_facts", "verify_overdue"]

BOUND_S = 10
"""Seconds after which a promised entry has to be in, on top of the clock skew that the network tolerates."""

OVERDUE = "overdue-promise"
"""The kind of the evidence file."""

_DOMAIN = b"parley-promise/v1\n"
_VERSION = 1
_SHAPE = shapes.record(
    {
        "v": shapes.POSITIVE,
        "net": shapes.SENTENCE,
        "txid": shapes.DIGEST,
        "by": shapes.TIME,
        "kid": shapes.SENTENCE,
        "alg": shapes.WORD,
        "sig": shapes.BYTES,
    }
)


@dataclass(frozen=True)
class Promise:
    """That the entry ``txid`` will be in the log of ``net`` before any batch that is sealed after ``by``."""

    raw: bytes
    net: str
    txid: str
    by: datetime

    @classmethod
    def read(cls, raw: bytes, network: Network) -> Promise:
        """Read and verify a promise of this network's hub.

        Raises:
            InvalidPromise: another form, another network, or not signed by the hub's entry key.
        """
        try:
            facts = _SHAPE(canonical.decode(raw), "promise")
            signature = base64url.decode(facts.pop("sig"))
            message = _DOMAIN + canonical.encode(facts)
            if facts["v"] != _VERSION or facts["net"] != network.name:
                raise InvalidPromise(f"expected version {_VERSION} and the network {network.name}")
            hub = network.hub_key
            if (facts["kid"], facts["alg"]) != (hub.kid, hub.alg):
                raise InvalidPromise("expected a promise by the hub's entry key")
            algorithms.verify(hub.alg, hub.public, message, signature)
        except InvalidPromise:
            raise
        except (LedgerError, ValueError) as exc:
            raise InvalidPromise(f"expected the hub's promise: {exc}") from exc
        return cls(raw, facts["net"], facts["txid"], parse_time(facts["by"]))


def make_promise(network: Network, txid: str, now: datetime, key: Signer) -> Promise:
    """Promise an entry, as the hub.

    Args:
        network: whose log.
        txid: the entry.
        now: the hub's time, or the time of its last seal if that is later.
        key: the hub's entry key.
    """
    by = now.replace(microsecond=0) + timedelta(seconds=1 + network.max_clock_skew_s + BOUND_S)
    facts: dict[str, JsonValue] = {
        "v": _VERSION,
        "net": network.name,
        "txid": txid,
        "by": format_time(by),
        "kid": network.hub_key.kid,
        "alg": network.hub_key.alg,
    }
    signature = key.sign(_DOMAIN + canonical.encode(facts))
    raw = canonical.encode({**facts, "sig": base64url.encode(signature)})
    return Promise(raw, network.name, txid, by)


def verify_overdue(
    evidence: bytes, network: Network, electorate: Callable[[int], Electorate], raws: Iterable[bytes]
) -> Promise:
    """Check an evidence file about a promise that was not kept, against the log's entries.

    Args:
        evidence: the file.
        network: whose hub promised.
        electorate: who made the checkpoint of a size final.
        raws: all entries of the log from index 0 on, from any copy; those beyond the checkpoint are ignored.

    Returns:
        The promise that was not kept.

    Raises:
        InvalidPromise: the file does not show that.
    """
    try:
        return _verified(canonical.decode(evidence), network, electorate, raws)
    except InvalidPromise:
        raise
    except (LedgerError, KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InvalidPromise(f"expected evidence of an overdue promise: {exc}") from exc


def overdue_facts(
    promise: Promise, entry: bytes, note: str, seal: bytes, path: Iterable[bytes]
) -> Mapping[str, JsonValue]:
    """Return what an evidence file states: promise, entry, final checkpoint, seal and its proof."""
    return {
        "network": promise.net,
        "promise": promise.raw.decode(),
        "entry": base64url.encode(entry),
        "checkpoint": note,
        "seal": base64url.encode(seal),
        "seal_proof": [node.hex() for node in path],
    }


def _verified(
    facts: Any,  # noqa: ANN401 - outside bytes
    network: Network,
    electorate: Callable[[int], Electorate],
    raws: Iterable[bytes],
) -> Promise:
    promise = Promise.read(facts["promise"].encode(), network)
    checkpoint, note = open_checkpoint(facts["checkpoint"].encode(), network.log)
    voters = electorate(checkpoint.size)
    if not voters.is_final(voters.cosigners(note)):
        raise InvalidPromise("expected a checkpoint that a quorum cosigned")
    seal = Entry.parse(base64url.decode(facts["seal"]))
    index, path = checkpoint.size - 1, [bytes.fromhex(node) for node in facts["seal_proof"]]
    verify_inclusion(checkpoint.root, checkpoint.size, index, leaf_hash(seal.raw), path)
    if seal.type != SEAL or parse_time(read_seal(seal, index)["time"]) <= promise.by:
        raise InvalidPromise(f"expected a seal after {format_time(promise.by)}")
    entries = [raw for position, raw in enumerate(raws) if position < checkpoint.size]
    if root_of([leaf_hash(raw) for raw in entries]) != checkpoint.root:
        raise InvalidPromise("expected the entries under that checkpoint")
    if any(Entry.parse(raw).txid == promise.txid for raw in entries):
        raise InvalidPromise("the entry is in the log")
    return promise
