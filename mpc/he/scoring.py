"""Scoring under encryption: a client learns the scores of its rows by a model that stays with its owner.

    client, rows x, key pair                        model owner, weights w, b
      1. shape             features, bound  <--->  features, bound
      2. context           public key  --->
      3. block             Enc(x), a block of rows  --->
         scores            <---  Enc(w x + b), or of the logistic polynomial
      4. confirm           transcript hash  <--->  transcript hash

Features and scores are the client's alone. The scores tell of the model what scores of that precision do:
as many as it has weights, and one more, make it known. The agreement's uses and rows bound that.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import wire
from mpc.channel import Channel
from mpc.errors import InputsDisagree, InvalidInput, MalformedMessage
from mpc.he import ckks
from mpc.he.ckks import Link, Model, ScoreKey
from mpc.spec import Adversary, ProtocolSpec
from mpc.transcript import CONFIRMATION_BYTES, ConfirmedChannel, protocol_run

__all__ = ["MAX_FEATURES", "SPEC", "client", "largest_sent", "model_owner", "rounds"]

MAX_FEATURES: Final = 256
MAX_ROWS: Final = 2**31
_BOUND_UNIT: Final = 1e-6
_MAX_BOUND: Final = 1e12
_COUNT_BYTES: Final = 8
_CIPHERTEXT_BYTES: Final = {Link.LINEAR: 266_000, Link.LOGISTIC: 1_600_000}
_SCORES_BYTES: Final = {Link.LINEAR: 150_000, Link.LOGISTIC: 520_000}
_CONTEXT_BYTES: Final = {Link.LINEAR: 400_000, Link.LOGISTIC: 13_000_000}
"""The largest that SEAL writes; it compresses, by up to a fifth."""

SPEC: Final = ProtocolSpec(
    name="he/scoring",
    version=1,
    roles=("client", "model_owner"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of two",
    leaks={
        "client": (
            "the number of features, and each score to some 20 bits, before it is rounded",
            "of the weights what that many scores tell: all of them, with one score more than features",
        ),
        "model_owner": ("the number of rows", "the bound that the client states for its features"),
    },
    cost=(
        "2 rounds for each block of 4,095 rows (8,191 with the logistic function), and 3; for each block at "
        "most 266 kB a feature and 150 kB back (1.6 MB and 520 kB with the logistic function), and once at "
        "most 0.4 MB (13 MB) of keys; 8 ms a feature and block at the client, 2 ms at the model's owner (16 "
        "and 7)"
    ),
    source=(
        "Cheon, Kim, Kim, Song 2017; logistic polynomial: Kim, Song, Wang, Xia, Jiang 2018; on rounding what "
        "is decrypted: Li, Micciancio 2021"
    ),
    summary="A client gets scores of its rows by another's linear or logistic model; neither is shown.",
)


def client(
    channel: Channel, features: NDArray[np.float64], *, link: Link, bound: float, decimals: int
) -> NDArray[np.int64]:
    """Play the client, rank 0.

    Args:
        channel: to the model's owner.
        features: float64[rows, features].
        link: what a score is of the linear combination.
        bound: the largest magnitude of a feature, as agreed.
        decimals: of the scores, 0 to `ckks.MAX_DECIMALS`.

    Returns:
        int64[rows], scores times 10 to the power of ``decimals``.

    Raises:
        InvalidInput, ValueOutOfRange: the features are not as stated.
        InputsDisagree: the model has another number of features or its owner another bound.
        ProtocolAbort: a message is not as the protocol has it, a score has lost its precision, or the owner
        aborted.

    Security: semi-honest; ring-LWE at 128 bits. Leaks: to the owner the rows and the bound.
    Cost: `rounds`, `largest_sent`. Source: Cheon, Kim, Kim, Song 2017.
    """
    with protocol_run(channel, SPEC) as peer:
        rows, width = features.shape
        _check_shape(rows, width)
        if not 0 <= decimals <= ckks.MAX_DECIMALS:
            raise InvalidInput(f"expected 0 to {ckks.MAX_DECIMALS} decimals, got {decimals}")
        key = ScoreKey(link)
        peer.send(
            "shape", wire.encode_uint64(width) + wire.encode_uint64(_units(bound)) + wire.encode_uint64(rows)
        )
        _compare_shape(peer, wire.Reader("shape", peer.receive("shape")), width, bound).finish()
        _nothing(peer.swap("context", key.public()))
        found = []
        for start in range(0, rows, ckks.block_rows(link)):
            block = features[start : start + ckks.block_rows(link)]
            columns = key.encrypt(block, bound)
            _nothing(peer.swap("block", b"".join(wire.encode_uint64(len(one)) + one for one in columns)))
            found.append(key.scores(peer.swap("scores", b""), len(block), decimals))
        peer.confirm()
        return np.concatenate(found)


def model_owner(channel: Channel, model: Model, *, link: Link, bound: float) -> None:
    """Play the owner of the model, rank 1; it learns nothing but how many rows were scored.

    Args:
        channel: to the client.
        model: float64[features] weights and an intercept.
        link: what a score is of the linear combination.
        bound: the largest magnitude of a feature, as agreed.

    Raises:
        ValueOutOfRange: features within the bound could leave the range of the link.
        InputsDisagree, ProtocolAbort: as for `client`.

    Security: the model shows itself in the scores alone, and in their error. Leaks: see `SPEC`.
    Cost: `rounds`. Source: as `client`.
    """
    with protocol_run(channel, SPEC) as peer:
        width = len(model.weights)
        model.check_range(bound, link)
        peer.send("shape", wire.encode_uint64(width) + wire.encode_uint64(_units(bound)))
        shape = _compare_shape(peer, wire.Reader("shape", peer.receive("shape")), width, bound)
        rows = shape.uint64("rows")
        shape.finish()
        _check_shape(rows, width)
        public = peer.swap("context", b"")
        for start in range(0, rows, ckks.block_rows(link)):
            size = min(ckks.block_rows(link), rows - start)
            columns = _columns(peer.swap("block", b""), width)
            _nothing(peer.swap("scores", ckks.evaluate(public, columns, size, model, link)))
        peer.confirm()


def rounds(rows: int, link: Link) -> int:
    """Return the receiving phases of either party, as `ChannelStats` counts them."""
    return 3 + 2 * -(-rows // ckks.block_rows(link))


def largest_sent(rank: int, rows: int, features: int, link: Link) -> int:
    """Return the most payload bytes a party sends; compression makes it up to a fifth less."""
    blocks = -(-rows // ckks.block_rows(link))
    fixed = 16 + CONFIRMATION_BYTES + _COUNT_BYTES * (1 + 2 * blocks)
    if rank == 1:
        return fixed + blocks * _SCORES_BYTES[link]
    ciphertexts = blocks * features * (_COUNT_BYTES + _CIPHERTEXT_BYTES[link])
    return fixed + _COUNT_BYTES + _CONTEXT_BYTES[link] + ciphertexts


def _units(bound: float) -> int:
    """The bound as it is compared: in millionths."""
    if not 0 <= bound <= _MAX_BOUND:
        raise InvalidInput(f"bound: expected 0 to {_MAX_BOUND:g}")
    return round(bound / _BOUND_UNIT)


def _check_shape(rows: int, features: int) -> None:
    if not 0 < rows <= MAX_ROWS or not 0 < features <= MAX_FEATURES:
        expected = f"1 to {MAX_ROWS} rows of 1 to {MAX_FEATURES} features"
        raise InvalidInput(f"expected {expected}, got {rows} of {features}")


def _compare_shape(peer: ConfirmedChannel, shape: wire.Reader, features: int, bound: float) -> wire.Reader:
    for name, own in (("features", features), ("bound", _units(bound))):
        theirs = shape.uint64(name)
        if theirs != own:
            raise InputsDisagree(name, own, theirs)
    return shape


def _columns(payload: bytes, features: int) -> list[bytes]:
    columns, at = [], 0
    for number in range(features):
        size = wire.Reader(f"feature {number}", payload[at : at + _COUNT_BYTES]).uint64("size")
        at += _COUNT_BYTES + size
        if at > len(payload):
            raise MalformedMessage(f"block: ends inside feature {number}")
        columns.append(payload[at - size : at])
    if at != len(payload):
        raise MalformedMessage(f"block: {len(payload) - at} trailing bytes")
    return columns


def _nothing(payload: bytes) -> None:
    if payload:
        raise MalformedMessage(f"expected nothing in return, got {len(payload)} bytes")
