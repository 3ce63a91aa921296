"""Anonymous query: a client looks up records by key in an owner's list; neither learns more than that.

    client, keys x, hint H                              server, list D, key k
      1. blinded      r H(x), for each key      --->
      2.                                        <---    k r H(x), proof           evaluated
      3. query        SimplePIR, for F(k, x)'s bin  --->
      4.                                        <---    the bins, encrypted       answer
         (3 and 4 for each `BLOCK_KEYS` keys)
      5. confirm      transcript hash           <--->   transcript hash

The owner does not learn the keys, nor whether the list has them: it sees uniform elements and uniform words,
and does the same work for each. The client cannot open records of keys it did not have evaluated: it receives
whole bins, but each record is sealed under the pseudorandom function of its own key. So the number of
evaluations is a quota on what a client can learn.

What a client keeps between runs, manifest, hint and stash, it has from the owner's files. A miss is told from
damage: the manifest's digest covers hint and stash, the proof its key, and a checksum each bin.

Not here: a client that asks one key many times pays the owner once for the function and each time for the
answer; counting either is the service's. A server that departs from the protocol can answer wrongly, and can
learn from the client's reaction to wrong answers whether a key is in the bins it left right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from mpc import wire
from mpc.channel import Channel
from mpc.oprf import rfc9497
from mpc.pir.manifest import DIGEST_BYTES, PROTOCOL, VERSION, Shape
from mpc.pir.messages import ANSWER_WORD_BYTES, QUERY_WORD_BYTES, Answers, BlindedKeys, EvaluatedKeys, Queries
from mpc.randomness import Randomness
from mpc.ristretto255 import ELEMENT_BYTES
from mpc.spec import Adversary, ProtocolSpec
from mpc.transcript import CONFIRMATION_BYTES, protocol_run

if TYPE_CHECKING:
    from mpc.pir.client import ListClient, Prepared
    from mpc.pir.server import ListServer

BLOCK_KEYS: Final = 256
"""Keys that one pass over the matrix answers."""
PIECE_BYTES: Final = 1024 * 1024
"""A message holds as many queries or answers as fit."""

SPEC: Final = ProtocolSpec(
    name=PROTOCOL,
    version=VERSION,
    roles=("client", "server"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of two",
    leaks={
        "client": (
            "the number of records in the list, their size, and how many are in the stash",
            "which slots of the list changed between two versions it fetched",
            "the later records of a key it asked once, until the epoch ends",
        ),
        "server": ("the number of keys asked, and when",),
    },
    cost=(
        "2 rounds and 1 for each 256 keys; for each key the client sends 32 bytes and 4 a column, the server "
        "32 bytes and 2 for each byte of a bin; the server multiplies each byte of the list once for each "
        "key, and reads it once for each 256; once a version, the client fetches 4,096 bytes for each byte "
        "of a bin"
    ),
    source=(
        "retrieval: Henzinger, Hong, Corrigan-Gibbs, Meiklejohn, Vaikuntanathan 2023 (SimplePIR); function: "
        "RFC 9497; keywords and symmetric privacy by it: Freedman, Ishai, Pinkas, Reingold 2005"
    ),
    summary=(
        "The client gets the records of its keys, or that there are none; the owner does not learn which "
        "keys, nor whether it has them."
    ),
)


def client(
    channel: Channel,
    source: ListClient,
    keys: Sequence[bytes],
    rng: Randomness,
    *,
    prepared: Prepared | None = None,
) -> list[bytes | None]:
    """Look up keys; rank 0.

    Args:
        channel: to the owner.
        source: the version the owner serves.
        keys: 1 to `messages.MAX_KEYS` byte strings of at most 65,535 bytes, as the owner encodes its own.
        rng: own randomness.
        prepared: queries made before, at least as many as keys.

    Returns:
        For each key its record, or None where the list has no such key.

    Raises:
        InvalidInput: the keys are not as stated, or too few queries are prepared.
        StaleVersion: by `PeerAborted`, the owner serves another version.
        ProtocolAbort: the owner's messages are not as the protocol has them.

    Security: semi-honest owner; learning with errors (`mpc.pir.simple`: 2**133 operations by the primal
        attack), and blinding, which is perfect.
    Leaks: to the owner, the number of keys. The records are opened after the last message.
    Cost: `rounds` and `bytes_sent`; 0.4 ms a key for the function, then `ListClient.prepare`.
    Source: Henzinger and others 2023; RFC 9497.
    """
    with protocol_run(channel, SPEC) as peer:
        blinding, request = source.blind(keys, rng)
        peer.send("blinded", request.encode())
        labels = source.labels(blinding, EvaluatedKeys.decode(peer.receive("evaluated"), len(keys)))
        answered, shape = [], source.manifest.shape
        for block in _blocks(len(keys)):
            pending, queries = source.query(labels[block], rng, prepared)
            for part in _pieces(block, query_bytes(shape)):
                peer.send("query", Queries(queries.version, queries.vectors[part]).encode())
            parts = [
                (part, Answers.decode(peer.receive("answer"), source.manifest, part.stop - part.start))
                for part in _pieces(block, answer_bytes(shape))
            ]
            answered.append((pending, [answers for _, answers in parts]))
        peer.confirm()
        return [
            record
            for pending, answers in answered
            for record in source.recover(pending, Answers.joined(answers))
        ]


def server(channel: Channel, source: ListServer, rng: Randomness) -> int:
    """Answer one run of `client`; rank 1.

    Args:
        channel: to the client.
        source: the version served.
        rng: own randomness, for the proof.

    Returns:
        The number of keys asked.

    Raises:
        StaleVersion: the client has another version.
        ProtocolAbort: the client's messages are not as the protocol has them.

    Security: semi-honest client; one-more Diffie-Hellman: q evaluations open the records of q keys.
    Leaks: to the client, the records of its keys; the list's size and shape.
    Cost: `rounds` and `bytes_sent`; `ListServer.evaluate` and `ListServer.answer`.
    Source: Henzinger and others 2023; RFC 9497.
    """
    with protocol_run(channel, SPEC) as peer:
        manifest = source.manifest
        request = BlindedKeys.decode(peer.receive("blinded"), manifest)
        peer.send("evaluated", source.evaluate(request, rng).encode())
        for block in _blocks(len(request)):
            parts = [
                Queries.decode(peer.receive("query"), manifest, part.stop - part.start)
                for part in _pieces(block, query_bytes(manifest.shape))
            ]
            answers = source.answer(Queries.joined(parts))
            for part in _pieces(block, answer_bytes(manifest.shape)):
                peer.send("answer", Answers(answers.vectors[part]).encode())
        peer.confirm()
        return len(request)


def query_bytes(shape: Shape) -> int:
    """Return the size of one query."""
    return QUERY_WORD_BYTES * shape.columns


def answer_bytes(shape: Shape) -> int:
    """Return the size of one answer."""
    return ANSWER_WORD_BYTES * shape.rows


def rounds(keys: int) -> int:
    """Return the receiving phases of either party, as `ChannelStats` counts them."""
    return 2 + len(list(_blocks(keys)))


def bytes_sent(role: str, keys: int, shape: Shape) -> int:
    """Return the payload bytes that ``role`` sends in a run."""
    elements = wire.array_bytes(1, keys, ELEMENT_BYTES)
    version = wire.array_bytes(1, DIGEST_BYTES)
    if role == "client":
        first, each, header = version + elements, query_bytes(shape), version
    else:
        first, each, header = elements + wire.array_bytes(1, rfc9497.PROOF_BYTES), answer_bytes(shape), 0
    pieces = (part for block in _blocks(keys) for part in _pieces(block, each))
    return (
        first
        + sum(header + wire.array_bytes(1, part.stop - part.start, each) for part in pieces)
        + CONFIRMATION_BYTES
    )


def _blocks(keys: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK_KEYS, keys)) for start in range(0, keys, BLOCK_KEYS))


def _pieces(block: slice, each: int) -> Iterator[slice]:
    size, step = block.stop - block.start, max(1, PIECE_BYTES // each)
    return (slice(start, min(start + step, size)) for start in range(0, size, step))
