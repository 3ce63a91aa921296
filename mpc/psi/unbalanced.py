"""Intersection of a large kept set with a few items: an oblivious pseudorandom function and tags kept once.

    server, set S, key k of an epoch              client, items C, tags of a version or none
      1.                     <---  |C|, version of the kept tags  ask
         offer               |S|, public key, version  --->
      2. tags                F(k, s) for all s, sorted, if the version is another  --->
                             <---  go on, for each chunk  next
      3.                     <---  r H(c)  blinded
         evaluated           k r H(c), proof  --->
      4. confirm             transcript hash  <--->  transcript hash

F is the verifiable function of RFC 9497; a tag is its first `TAG_BYTES` bytes. The client removes the blinds
and looks its own F(k, c) up among the tags. The server computes the tags once for each version of its set and
each epoch of its key (`prepare`); the client keeps them, so that a later run costs as much as its few items.

What keeping costs: as long as the key stays, a client can look up again, without asking, what it asked about
before, in every version whose tags it gets, and sees from two versions how many items came and went. Whoever
has the key can compute the tags of any item. A new epoch is a new key: the client loads the tags anew and can
relate nothing to the old ones.

A false match has probability below ``|S| * |C| / 2**96``: 2**-56 for ten million and 65,535 items.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import wire
from mpc.channel import Channel
from mpc.errors import InvalidInput, MalformedMessage, ResultSizeRefused
from mpc.oprf import rfc9497
from mpc.oprf.rfc9497 import MAX_BATCH, OUTPUT_BYTES, PROOF_BYTES, KeyPair
from mpc.psi.own_set import MAX_ITEM_BYTES, MAX_ROWS
from mpc.randomness import Randomness
from mpc.ristretto255 import ELEMENT_BYTES
from mpc.secrecy import Unprintable
from mpc.spec import Adversary, ProtocolSpec
from mpc.transcript import CONFIRMATION_BYTES, ConfirmedChannel, protocol_run

TAG_BYTES: Final = 12
CHUNK_TAGS: Final = 65_536
VERSION_BYTES: Final = 32
_PREPARE_ITEMS: Final = 65_536
_MAGIC: Final = b"parley kept tags 1\n"

SPEC: Final = ProtocolSpec(
    name="psi/unbalanced",
    version=1,
    roles=("server", "client"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of two",
    leaks={
        "server": (
            "the number of the client's items",
            "whether the client has the tags of the current version",
        ),
        "client": (
            "the number of distinct items in the server's set",
            "of two versions under one key: how many items came and went, and whether one it asked about did",
        ),
    },
    cost=(
        "3 rounds; where the client has not the current tags, 1 more for each 65,536 items of the server's "
        "set after the first and 12 bytes for each item; 32 bytes each way for each of the client's items"
    ),
    source=(
        "Jarecki, Liu 2009; Kiss, Liu, Schneider, Asokan, Pinkas 2017 (precomputation); "
        "RFC 9497, VOPRF(ristretto255, SHA-512)"
    ),
    summary="A client learns which of its few items a server's large set has; the server, how many it asked.",
)


@dataclass(frozen=True, repr=False, eq=False)
class KeptTags(Unprintable):
    """The tags of a set under one key: what a server prepares and a client keeps.

    Attributes:
        public: the server's public key of the epoch.
        tags: uint8[N, 12], ascending and distinct.
    """

    public: bytes
    tags: NDArray[np.uint8]

    @property
    def version(self) -> bytes:
        """32 bytes that are equal for equal tags under one key and no others."""
        return _version(self.public, self.tags)

    def encode(self) -> bytes:
        """Encode, for keeping."""
        return _MAGIC + self.public + self.tags.tobytes()

    @classmethod
    def decode(cls, kept: bytes) -> KeptTags:
        """Decode what `encode` made.

        Raises:
            MalformedMessage: the bytes have another form.
        """
        body = kept[len(_MAGIC) + ELEMENT_BYTES :]
        if kept[: len(_MAGIC)] != _MAGIC or len(kept) < len(_MAGIC) + ELEMENT_BYTES or len(body) % TAG_BYTES:
            raise MalformedMessage(f"expected kept tags, got {len(kept)} bytes of something else")
        tags = np.frombuffer(body, np.uint8).reshape(-1, TAG_BYTES)
        _check_order(tags)
        return cls(kept[len(_MAGIC) : len(_MAGIC) + ELEMENT_BYTES], tags)


@dataclass(frozen=True, repr=False, eq=False)
class Found(Unprintable):
    """What the client gets.

    Attributes:
        rows: int64[m], own rows whose item the server's set has, ascending.
        kept: the tags, for the next run.
        server_items: size of the server's set.
    """

    rows: NDArray[np.int64]
    kept: KeptTags
    server_items: int


def prepare(key: KeyPair, batches: Iterable[Sequence[bytes]]) -> KeptTags:
    """Compute the tags of a server's set; once for each version of the set and epoch of the key.

    Args:
        key: of this list and epoch, `rfc9497.derive_key`.
        batches: the items, in batches: byte strings of 1 to 1,024 bytes; one that repeats counts once.

    Raises:
        InvalidInput: an item has another length, or there are too many.

    Security: tags are pseudorandom to whoever has not the key.
    Leaks: nothing; local.
    Cost: local; 35 microseconds an item, divided by the cores.
    Source: RFC 9497, section 3.3.1, Evaluate.
    """
    parts, count = [np.empty((0, TAG_BYTES), np.uint8)], 0
    for items in batches:
        _check_items(items, MAX_ROWS - count)
        count += len(items)
        for start in range(0, len(items), _PREPARE_ITEMS):
            outputs = rfc9497.outputs(key, items[start : start + _PREPARE_ITEMS])
            parts.append(np.ascontiguousarray(_tags_of(outputs)))
    tags = np.concatenate(parts)
    words = _words(tags)
    ordered = tags[np.lexsort((words[1], words[0]))]
    distinct = np.ones(len(ordered), np.bool_)
    distinct[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
    return KeptTags(key.public, np.ascontiguousarray(ordered[distinct]))


def serve(channel: Channel, key: KeyPair, prepared: KeptTags, rng: Randomness) -> int:
    """Play the server, rank 0.

    Args:
        channel: to the client.
        key: of the epoch.
        prepared: what `prepare` made under this key.
        rng: for the proof.

    Returns:
        How many items the client asked about.

    Raises:
        InvalidInput: the tags are not of this key.
        ProtocolAbort: the client's messages are not as the protocol has them, or it aborted.

    Security: semi-honest client; one-more Diffie-Hellman: n answers are worth n items. RFC 9497, section 7.
    Leaks: to the server, n and whether the client has the current tags.
    Cost: `rounds` and `bytes_sent`; 0.2 ms for each of the client's items, divided by the cores.
    Source: RFC 9497; Kiss and others 2017.
    """
    with protocol_run(channel, SPEC) as peer:
        if prepared.public != key.public:
            raise InvalidInput("the prepared tags are of another key")
        # 1. Learn what the client wants and has, say what there is.
        asked, has = _read_ask(peer.receive("ask"))
        version = prepared.version
        peer.send("offer", wire.encode_uint64(len(prepared.tags)) + key.public + version)
        # 2. Send the tags that the client lacks.
        if not hmac.compare_digest(has, version):
            for start in range(0, len(prepared.tags), CHUNK_TAGS):
                peer.send("tags", wire.encode_array(prepared.tags[start : start + CHUNK_TAGS]))
                _read_nothing(peer.receive("next"))
        # 3. Evaluate, and prove under which key.
        if asked:
            elements = _elements("blinded", peer.receive("blinded"), asked)
            evaluated = rfc9497.evaluate(key, elements)
            proof = rfc9497.prove(key, elements, evaluated, rng)
            peer.send("evaluated", _encoded(evaluated) + proof)
        # 4. Compare transcripts.
        peer.confirm()
        return asked


def ask(
    channel: Channel,
    items: Sequence[bytes],
    kept: KeptTags | None,
    rng: Randomness,
    *,
    limits: tuple[int, int] = (0, MAX_ROWS),
) -> Found:
    """Play the client, rank 1.

    Args:
        channel: to the server.
        items: own items, at most 65,535, 1 to 1,024 bytes each; they may repeat.
        kept: tags from an earlier run; None: none. Tags of another version or key are replaced.
        rng: for the blinds.
        limits: the fewest and the most items found with which there is a result.

    Returns:
        The own rows that the server's set has, and the tags to keep.

    Raises:
        InvalidInput: own items are not as stated.
        InvalidProof: the server did not evaluate under the key that it states.
        ResultSizeRefused: the number of items found is outside the limits.
        ProtocolAbort: the server's messages are not as the protocol has them, or it aborted.

    Security: the server sees uniform elements, whatever it does. That its tags are of its set is its word.
    Leaks: to the client, the size of the set; with tags of two versions under one key, how they differ.
    Cost: `rounds` and `bytes_sent`; 0.35 ms for each item, divided by the cores.
    Source: RFC 9497; Kiss and others 2017.
    """
    with protocol_run(channel, SPEC) as peer:
        _check_items(items, MAX_BATCH)
        # 1. Say what is wanted and what is here already.
        has = bytes(VERSION_BYTES) if kept is None else kept.version
        peer.send("ask", wire.encode_uint64(len(items)) + has)
        server_items, public, version = _read_offer(peer.receive("offer"))
        # 2. Load the tags, unless they are those of the last time.
        if kept is None or not hmac.compare_digest(has, version):
            kept = KeptTags(public, _load(peer, server_items))
            if not hmac.compare_digest(kept.version, version):
                raise MalformedMessage("tags: they are not those of the stated version")
        if kept.public != public or len(kept.tags) != server_items:
            raise MalformedMessage("offer: key and size are not those of the stated version")
        # 3. Have the items evaluated, unblind, look them up.
        rows = np.zeros(0, np.int64)
        if items:
            blinding = rfc9497.blind(items, rng)
            peer.send("blinded", _encoded(blinding.elements))
            answer = peer.receive("evaluated")
            evaluated = _elements("evaluated", answer[:-PROOF_BYTES], len(items))
            rfc9497.verify(public, blinding.elements, evaluated, answer[-PROOF_BYTES:])
            rows = _look_up(kept.tags, _tags_of(rfc9497.finalize(blinding, evaluated)))
        if not limits[0] <= len(rows) <= limits[1]:
            raise ResultSizeRefused
        # 4. Compare transcripts.
        peer.confirm()
        return Found(rows, kept, server_items)


def rounds(rank: int, asked: int, loaded: int) -> int:
    """Return the receiving phases of a party; ``loaded``: tags sent, 0 where the client has them."""
    chunks = -(-loaded // CHUNK_TAGS)
    if rank == 0:
        # The blinded items come with the last word on the tags, where there are any.
        return 2 + chunks + int(asked > 0 and not chunks)
    return 2 + max(chunks - 1, 0) + int(asked > 0)


def bytes_sent(rank: int, asked: int, loaded: int) -> int:
    """Return the payload bytes of a party; arguments as `rounds`."""
    chunks = -(-loaded // CHUNK_TAGS)
    elements = wire.array_bytes(1, asked, ELEMENT_BYTES) if asked else 0
    if rank == 1:
        return 8 + VERSION_BYTES + elements + CONFIRMATION_BYTES
    tags = loaded * TAG_BYTES + chunks * wire.array_bytes(1, 0, TAG_BYTES)
    proof = PROOF_BYTES if asked else 0
    return 8 + ELEMENT_BYTES + VERSION_BYTES + tags + elements + proof + CONFIRMATION_BYTES


def _version(public: bytes, tags: NDArray[np.uint8]) -> bytes:
    digest = hashlib.sha256(b"parley/psi/unbalanced/version" + public)
    digest.update(np.ascontiguousarray(tags).data)
    return digest.digest()


def _load(peer: ConfirmedChannel, count: int) -> NDArray[np.uint8]:
    parts = [np.empty((0, TAG_BYTES), np.uint8)]
    for start in range(0, count, CHUNK_TAGS):
        reader = wire.Reader("tags", peer.receive("tags"))
        parts.append(reader.array("tags", "u1", (min(CHUNK_TAGS, count - start), TAG_BYTES)))
        reader.finish()
        peer.send("next", b"")
    tags = np.concatenate(parts)
    _check_order(tags)
    return tags


def _check_order(tags: NDArray[np.uint8]) -> None:
    high, low = _words(tags)
    ascends = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))
    if not np.all(ascends):
        raise MalformedMessage("tags: expected ascending order, each once")


def _look_up(tags: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The rows of ``wanted`` that are among ``tags``, which ascend."""
    if not len(tags):
        return np.zeros(0, np.int64)
    high, low = _words(tags)
    sought, rest = _words(wanted)
    at = np.searchsorted(high, sought)
    found = np.zeros(len(wanted), np.bool_)
    # Tags with equal first halves stand together; there is hardly ever a second one.
    while True:
        last = np.minimum(at, len(high) - 1)
        is_candidate = (at < len(high)) & (high[last] == sought)
        if not np.any(is_candidate):
            return np.flatnonzero(found)
        found |= is_candidate & (low[last] == rest)
        at = np.where(is_candidate, at + 1, len(high))


def _words(tags: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    high = np.ascontiguousarray(tags[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
    low = np.ascontiguousarray(tags[:, 8:]).view(">u4").reshape(-1).astype(np.uint32)
    return high, low


def _tags_of(outputs: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(outputs, np.uint8).reshape(-1, OUTPUT_BYTES)[:, :TAG_BYTES]


def _read_ask(payload: bytes) -> tuple[int, bytes]:
    asked = wire.Reader("ask", payload).uint64("items")
    if len(payload) != 8 + VERSION_BYTES or asked > MAX_BATCH:
        raise MalformedMessage(
            f"ask: expected at most {MAX_BATCH} items and a version, got {len(payload)} bytes"
        )
    return asked, payload[8:]


def _read_offer(payload: bytes) -> tuple[int, bytes, bytes]:
    items = wire.Reader("offer", payload).uint64("items")
    if len(payload) != 8 + ELEMENT_BYTES + VERSION_BYTES or items > MAX_ROWS:
        raise MalformedMessage(f"offer: expected at most {MAX_ROWS} items, a key and a version")
    return items, payload[8 : 8 + ELEMENT_BYTES], payload[8 + ELEMENT_BYTES :]


def _read_nothing(payload: bytes) -> None:
    if payload:
        raise MalformedMessage(f"next: expected no bytes, got {len(payload)}")


def _encoded(elements: bytes) -> bytes:
    return wire.encode_array(np.frombuffer(elements, np.uint8).reshape(-1, ELEMENT_BYTES))


def _elements(message: str, payload: bytes, count: int) -> bytes:
    reader = wire.Reader(message, payload)
    elements = reader.array("elements", "u1", (count, ELEMENT_BYTES))
    reader.finish()
    return elements.tobytes()


def _check_items(items: Sequence[bytes], most: int) -> None:
    if len(items) > most:
        raise InvalidInput(f"expected at most {most} items, got {len(items)}")
    misfits = sum(not 0 < len(item) <= MAX_ITEM_BYTES for item in items)
    if misfits:
        raise InvalidInput(f"items are 1 to {MAX_ITEM_BYTES} bytes each: {misfits} of {len(items)} are not")
