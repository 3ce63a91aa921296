"""The messages between the label holder and another owner, checked before they are used.

label holder                                     owner of columns
  terms        rows and settings  <--->  rows and settings, cuts of each column
  key          size of a block, public key  --->
  for each round of trees, one or one for each class, for each level until no node is examined:
    nodes      how many nodes are examined  --->
    blocks     their encrypted gradients, block by block  --->
                           <---  sums     of every bin, for each of these nodes
    splits     column and cut of each split it won  --->
                           <---  sides    of every row at each of these splits
  kept         after each round, where there is a patience: how many are kept, 0 while they grow  --->
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.boosting.settings import MAX_BINS, Settings
from mpc import wire
from mpc.errors import InputsDisagree, InvalidInput, MalformedMessage
from mpc.he import bfv
from mpc.he.subset_sums import Blocks
from mpc.transcript import ConfirmedChannel

__all__ = [
    "CHUNK",
    "PIECE_BYTES",
    "TERMS",
    "decode_kept",
    "decode_nodes",
    "decode_sides",
    "decode_splits",
    "decode_terms",
    "encode_kept",
    "encode_nodes",
    "encode_sides",
    "encode_splits",
    "encode_terms",
    "receive_bytes",
    "send_bytes",
    "unpacked_sides",
]

PIECE_BYTES = 1024 * 1024
CHUNK = PIECE_BYTES // bfv.CIPHERTEXT_BYTES
"""Ciphertexts of one message."""
_MAX_COLUMNS = 256


TERMS = ("aligned rows", "rows held out", "trees", "classes", "depth", "patience")
"""What has to be equal at all owners."""


def _terms(rows: int, held_out: int, settings: Settings) -> tuple[int, ...]:
    return rows, held_out, settings.trees, settings.classes, settings.depth, settings.patience


def encode_terms(rows: int, held_out: int, settings: Settings, counts: tuple[int, ...]) -> bytes:
    """Encode what has to be equal at both, and the cuts of each own column; the label holder states none."""
    head = _terms(rows, held_out, settings)
    return b"".join(map(wire.encode_uint64, head)) + wire.encode_array(np.array(counts, dtype=np.uint64))


def decode_terms(payload: bytes, rows: int, held_out: int, settings: Settings) -> tuple[int, ...]:
    """The cuts of the other owner's columns.

    Raises:
        InputsDisagree: another number of rows, in all or held out, or another setting.
        MalformedMessage: no columns, too many, or too many cuts.
    """
    reader = wire.Reader("terms", payload)
    for name, own in zip(TERMS, _terms(rows, held_out, settings), strict=True):
        if (theirs := reader.uint64(name)) != own:
            raise InputsDisagree(name, own, theirs)
    counts = reader.array("cuts", "<u8", (None,))
    reader.finish()
    if len(counts) > _MAX_COLUMNS or np.any(counts >= MAX_BINS):
        raise MalformedMessage(f"terms: expected up to {_MAX_COLUMNS} columns of less than {MAX_BINS} cuts")
    return tuple(counts.tolist())


def encode_nodes(nodes: int, blocks: Blocks | None) -> bytes:
    """Encode how many nodes of a level are examined and the layout; zeros where none is."""
    layout = (0, 0) if blocks is None else (blocks.vectors, blocks.size)
    return b"".join(map(wire.encode_uint64, (nodes, *layout)))


def decode_nodes(payload: bytes, rows: int, most: int) -> tuple[int, Blocks | None]:
    """How many nodes of a level are examined and the layout; without one the round ends.

    Raises:
        MalformedMessage: more nodes than the level can have, or a layout that there is not.
    """
    reader = wire.Reader("nodes", payload)
    nodes, vectors, size = (reader.uint64(name) for name in ("nodes", "vectors", "block"))
    reader.finish()
    if nodes > most:
        raise MalformedMessage(f"nodes: expected at most {most} of this level, got {nodes}")
    if not nodes:
        return 0, None
    try:
        return nodes, Blocks(rows, vectors, size)
    except InvalidInput as error:
        raise MalformedMessage(f"nodes: {error}") from error


def encode_kept(kept: int) -> bytes:
    """Encode how many rounds of trees are kept; 0 while they grow."""
    return wire.encode_uint64(kept)


def decode_kept(payload: bytes, grown: int, settings: Settings) -> int:
    """How many rounds of trees are kept; 0 while they grow.

    Raises:
        MalformedMessage: growth ends before a patience can have run out, or not with the last round, or not
            as many rounds are kept as the patience says.
    """
    reader = wire.Reader("kept", payload)
    kept = reader.uint64("rounds")
    reader.finish()
    waited = grown - settings.patience
    if grown == settings.trees:
        least = max(waited, 1)
        if not least <= kept <= grown:
            raise MalformedMessage(f"kept: expected {least} to {grown} after the last round, got {kept}")
    elif kept and kept != waited:
        expected = f"0 or {waited}" if waited > 0 else "0"
        raise MalformedMessage(f"kept: expected {expected} after {grown} rounds, got {kept}")
    return kept


def encode_splits(splits: list[tuple[int, int]]) -> bytes:
    """Encode column and cut of each split."""
    return wire.encode_array(np.array(splits, dtype=np.uint64).reshape(-1, 2))


def decode_splits(payload: bytes, counts: tuple[int, ...], most: int) -> list[tuple[int, int]]:
    """Column and cut of each split; refuses those that there are not."""
    reader = wire.Reader("splits", payload)
    found = reader.array("splits", "<u8", (None, 2))
    reader.finish()
    if len(found) > most:
        raise MalformedMessage(f"splits: expected at most {most} of this level, got {len(found)}")
    limits = np.array([*counts, 0], dtype=np.uint64)
    column, cut = np.minimum(found[:, 0], len(counts)), found[:, 1]
    if np.any(cut >= limits[column.astype(np.int64)]):
        raise MalformedMessage("splits: a split is at none of the cuts of this owner's columns")
    return [(int(one), int(other)) for one, other in found]


def encode_sides(sides: NDArray[np.bool_]) -> bytes:
    """Encode, for bool[splits, rows], which rows go left."""
    return wire.encode_array(np.packbits(sides, axis=1))


def decode_sides(payload: bytes, splits: int, rows: int) -> NDArray[np.bool_]:
    """Which rows go left: bool[splits, rows]; refuses another shape and bits beyond the rows."""
    reader = wire.Reader("sides", payload)
    packed = reader.array("sides", "u1", (splits, -(-rows // 8)))
    reader.finish()
    return unpacked_sides(packed, rows)


def unpacked_sides(packed: NDArray[np.uint8], rows: int) -> NDArray[np.bool_]:
    """Which rows go left, from uint8[splits, rows / 8]; refuses bits beyond the rows."""
    found = np.unpackbits(packed, axis=1)
    if np.any(found[:, rows:]):
        raise MalformedMessage(f"sides: bits beyond the {rows} rows")
    return found[:, :rows].astype(np.bool_)


def send_bytes(channel: ConfirmedChannel, message: str, payload: bytes) -> None:
    """Send a payload whose size the other knows, in pieces; nothing where there is nothing."""
    for start in range(0, len(payload), PIECE_BYTES):
        channel.send(message, payload[start : start + PIECE_BYTES])


def receive_bytes(channel: ConfirmedChannel, message: str, size: int) -> bytes:
    """Receive what `send_bytes` sent; refuses pieces of another size."""
    parts = []
    for start in range(0, size, PIECE_BYTES):
        part, expected = channel.receive(message), min(PIECE_BYTES, size - start)
        if len(part) != expected:
            raise MalformedMessage(f"{message}: expected a piece of {expected} bytes, got {len(part)}")
        parts.append(part)
    return b"".join(parts)
