"""Correlated oblivious transfer over Z_2^64 by the IKNP extension, for semi-honest parties.

128 base transfers, with the roles swapped, make any number of transfers out of symmetric operations:

    sender, secret delta in {0,1}^128              receiver, choice bits r
      seeds k[delta_j]_j  <--- base transfers --->   seeds k0_j, k1_j for each column j
                          <---  u_j = G(k0_j) xor G(k1_j) xor r     1. columns
      rows q_i = t_i xor r_i delta                   rows t_i of G(k0)
      2. corrections  d_i = H(q_i, i) - H(q_i xor delta, i) + x_i  --->
      output  H(q_i, i)                              output  H(t_i, i) + r_i d_i

so that the receiver's output is the sender's plus r_i x_i, and neither learns x_i or r_i. G is AES-128 in
counter mode. H is the tweakable hash pi(pi(x) xor i) xor pi(x) with pi = AES under a fixed, public key that
is derived from the session; the tweak i is the number of the transfer and of the output block, so one
transfer yields as many 64-bit words as are asked for.

Transfers are made in chunks. Chunk numbers select disjoint counters of G, so every step is a pure function
and a chunk can be computed again. Never use a chunk number or a transfer number twice with one set of keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from mpc import wire
from mpc.domain import Usage, separation_tag
from mpc.ot import base
from mpc.randomness import Randomness
from mpc.secrecy import SecretBytes, SecretSeeds, Unprintable
from mpc.spec import ProtocolSpec
from mpc.transcript import ConfirmedChannel

Bits = NDArray[np.uint8]
Words = NDArray[np.uint64]

COLUMNS: Final = 128
"""Columns of the extension: the computational security parameter, and the block size of AES."""

_ROW_BYTES: Final = COLUMNS // 8


@dataclass(frozen=True, repr=False, eq=False)
class SenderKeys(Unprintable):
    """The sender's side of the base transfers: delta and one seed for each column."""

    delta: SecretBytes
    seeds: SecretSeeds
    hash_key: bytes


@dataclass(frozen=True, repr=False, eq=False)
class ReceiverKeys(Unprintable):
    """The receiver's side of the base transfers: both seeds for each column."""

    zeros: SecretSeeds
    ones: SecretSeeds
    hash_key: bytes


@dataclass(frozen=True, repr=False, eq=False)
class ReceiverRows(Unprintable):
    """The receiver's rows t_i and choice bits r_i of one chunk, kept until the corrections arrive."""

    rows: Bits
    choices: Bits


@dataclass(frozen=True)
class Columns:
    """Receiver to sender: u_j for one chunk, uint8[128, ceil(transfers / 8)]."""

    bits: Bits

    def encode(self) -> bytes:
        """Encode for the wire."""
        return wire.encode_array(self.bits)

    @classmethod
    def decode(cls, payload: bytes, transfers: int) -> Columns:
        """Decode the columns of exactly ``transfers`` transfers."""
        reader = wire.Reader("columns", payload)
        bits = reader.array("bits", "u1", (COLUMNS, packed_bytes(transfers)))
        reader.finish()
        return cls(bits)


@dataclass(frozen=True)
class Corrections:
    """Sender to receiver: d_i for one chunk, uint64[transfers, words]."""

    words: Words

    def encode(self) -> bytes:
        """Encode for the wire."""
        return wire.encode_array(self.words)

    @classmethod
    def decode(cls, payload: bytes, transfers: int, words: int) -> Corrections:
        """Decode corrections of exactly this shape."""
        reader = wire.Reader("corrections", payload)
        array = reader.array("words", "<u8", (transfers, words))
        reader.finish()
        return cls(array)


def sender_setup(channel: ConfirmedChannel, spec: ProtocolSpec, rng: Randomness) -> SenderKeys:
    """Make the sender's keys: receive 128 base transfers with the bits of a secret delta.

    Security: semi-honest receiver; see `mpc.ot.base`.
    Leaks: nothing.
    Cost: one message each way; 32 bytes in, 4 KiB out; 14 ms.
    Source: Ishai, Kilian, Nissim, Petrank 2003, figure 1.
    """
    tag = separation_tag(spec.name, spec.version, Usage.BASE_OT_KEY, channel.session)
    delta = SecretBytes(rng.bytes(_ROW_BYTES))
    offer = base.BaseOffer.decode(channel.receive("base-offer"))
    seeds, reply = base.receiver_choose(_delta_bits(delta), offer, tag, rng)
    channel.send("base-choices", reply.encode())
    return SenderKeys(delta, seeds, _hash_key(spec, channel.session))


def receiver_setup(channel: ConfirmedChannel, spec: ProtocolSpec, rng: Randomness) -> ReceiverKeys:
    """Make the receiver's keys: send 128 base transfers.

    Security: semi-honest sender; see `mpc.ot.base`.
    Leaks: nothing.
    Cost: one message each way; 32 bytes out, 4 KiB in; 24 ms.
    Source: Ishai, Kilian, Nissim, Petrank 2003, figure 1.
    """
    tag = separation_tag(spec.name, spec.version, Usage.BASE_OT_KEY, channel.session)
    key, offer = base.sender_offer(rng)
    channel.send("base-offer", offer.encode())
    reply = base.BaseChoices.decode(channel.receive("base-choices"), COLUMNS)
    zeros, ones = base.sender_finish(key, offer, reply, tag)
    return ReceiverKeys(zeros, ones, _hash_key(spec, channel.session))


def receiver_extend(keys: ReceiverKeys, chunk: int, choices: Bits) -> tuple[ReceiverRows, Columns]:
    """Make the receiver's rows of one chunk and the columns to send; step 1.

    Args:
        keys: from `receiver_setup`.
        chunk: number of the chunk, never used before with these keys.
        choices: uint8[transfers] of 0 and 1.

    Security: semi-honest sender; the columns are masked by AES-128 in counter mode.
    Leaks: the number of transfers.
    Cost: local; 16 bytes of message and 0.1 microseconds a transfer.
    Source: Asharov, Lindell, Schneider, Zohner 2013 (one column u_j in place of two).
    """
    width = packed_bytes(len(choices))
    first = expand(keys.zeros, chunk, width)
    second = expand(keys.ones, chunk, width)
    rows = transpose(first)[: len(choices)]
    return ReceiverRows(rows, choices), Columns(first ^ second ^ np.packbits(choices))


def sender_correlate(
    keys: SenderKeys, chunk: int, first_transfer: int, columns: Columns, correlations: Words
) -> tuple[Words, Corrections]:
    """Make the sender's outputs of one chunk and the corrections to send; step 2.

    Args:
        keys: from `sender_setup`.
        chunk: number of the chunk, equal to the receiver's.
        first_transfer: number of the chunk's first transfer in this run.
        columns: the receiver's message.
        correlations: uint64[transfers, words], the x_i.

    Returns:
        The sender's outputs uint64[transfers, words] and the message to the receiver.

    Security: semi-honest receiver; AES-128 modelled as an ideal cipher. The receiver knows one of the two
        pads of each transfer; the other hides x_i.
    Leaks: the numbers of transfers and words.
    Cost: local; ``8 * words`` bytes of message and 0.2 microseconds a transfer of 4 words.
    Source: Gilboa 1999; Asharov, Lindell, Schneider, Zohner 2013 (correlated transfer); hash: Guo, Katz,
        Wang, Yu 2020 (TMMO).
    """
    transfers, words = correlations.shape
    chosen = expand(keys.seeds, chunk, packed_bytes(transfers))
    masked = columns.bits & (_delta_bits(keys.delta) * np.uint8(0xFF))[:, None]
    rows = transpose(chosen ^ masked)[:transfers]
    pads = correlation_hash(keys.hash_key, rows, first_transfer, words)
    shifted = rows ^ np.frombuffer(keys.delta.reveal(), dtype=np.uint8)
    other_pads = correlation_hash(keys.hash_key, shifted, first_transfer, words)
    return pads, Corrections(pads - other_pads + correlations)


def receiver_correlate(
    keys: ReceiverKeys, kept: ReceiverRows, first_transfer: int, corrections: Corrections
) -> Words:
    """Make the receiver's outputs of one chunk: the sender's output plus r_i x_i.

    Args:
        keys: from `receiver_setup`.
        kept: from `receiver_extend`.
        first_transfer: number of the chunk's first transfer in this run, equal to the sender's.
        corrections: the sender's message.

    Returns:
        uint64[transfers, words].

    Security: local.
    Leaks: nothing; running time does not depend on the choices.
    Cost: local; 0.1 microseconds a transfer of 4 words.
    Source: as `sender_correlate`.
    """
    words = corrections.words.shape[1]
    pads = correlation_hash(keys.hash_key, kept.rows, first_transfer, words)
    return pads + corrections.words * kept.choices.astype(np.uint64)[:, None]


def expand(seeds: SecretSeeds, chunk: int, width_bytes: int) -> Bits:
    """Expand each seed to ``width_bytes`` pseudo-random bytes of chunk number ``chunk``.

    Returns:
        uint8[seeds, width_bytes].

    Security: AES-128 as a pseudo-random permutation; chunks use disjoint counters (the chunk number is the
        upper half of the counter block).
    Leaks: nothing; local.
    Cost: local; 10 microseconds a seed and 0.3 nanoseconds a byte.
    Source: NIST SP 800-38A, section 6.5.
    """
    counter, zeros, raw = chunk.to_bytes(8, "big") + bytes(8), bytes(width_bytes), seeds.reveal()
    streams = (
        Cipher(algorithms.AES(raw[at : at + base.SEED_BYTES]), modes.CTR(counter)).encryptor().update(zeros)
        for at in range(0, len(raw), base.SEED_BYTES)
    )
    return np.frombuffer(b"".join(streams), dtype=np.uint8).reshape(-1, width_bytes)


def transpose(columns: Bits) -> Bits:
    """Transpose a packed bit matrix: uint8[128, w] to uint8[8 w, 16].

    Bit ``0x80 >> b`` of byte i of a column belongs to row ``8 i + b``, as in `numpy.packbits`.
    """
    by_byte = np.ascontiguousarray(columns.T)
    rows = np.empty((by_byte.shape[0], 8, _ROW_BYTES), dtype=np.uint8)
    for bit in range(8):
        rows[:, bit] = np.packbits(by_byte & np.uint8(0x80 >> bit), axis=1)
    return rows.reshape(-1, _ROW_BYTES)


def correlation_hash(hash_key: bytes, rows: Bits, first_transfer: int, words: int) -> Words:
    """Hash each row, tweaked by its transfer number, to 64-bit words: pi(pi(x) xor i) xor pi(x).

    Args:
        hash_key: 16 public bytes, bound to the session: the key of the permutation pi.
        rows: uint8[n, 16].
        first_transfer: transfer number of the first row.
        words: output words of each row.

    Returns:
        uint64[n, words].

    Security: tweakable circular correlation robust if AES-128 is an ideal cipher. The tweak is the pair
        (transfer number, output block), distinct for every block of a run.
    Leaks: nothing; local.
    Cost: local; ``1 + words / 2`` AES blocks a row.
    Source: Guo, Katz, Wang, Yu 2020 (TMMO).
    """
    blocks = -(-words // 2)
    # A fixed-key permutation on independent blocks is what the hash is defined on; nothing is encrypted.
    permutation = Cipher(algorithms.AES(hash_key), modes.ECB()).encryptor()  # noqa: S305
    inner = np.frombuffer(permutation.update(rows.tobytes()), dtype="<u8").reshape(-1, 1, 2)
    tweaks = np.empty((len(rows), blocks, 2), dtype="<u8")
    tweaks[:, :, 0] = np.arange(first_transfer, first_transfer + len(rows), dtype=np.uint64)[:, None]
    tweaks[:, :, 1] = np.arange(blocks, dtype=np.uint64)
    outer = np.frombuffer(permutation.update((inner ^ tweaks).tobytes()), dtype="<u8")
    hashed: Words = (outer.reshape(-1, blocks, 2) ^ inner).astype(np.uint64, copy=False)
    return hashed.reshape(-1, 2 * blocks)[:, :words]


def packed_bytes(transfers: int) -> int:
    """Return the bytes of one column of a chunk."""
    return -(-transfers // 8)


def _delta_bits(delta: SecretBytes) -> Bits:
    return np.unpackbits(np.frombuffer(delta.reveal(), dtype=np.uint8))


def _hash_key(spec: ProtocolSpec, session: bytes) -> bytes:
    return separation_tag(spec.name, spec.version, Usage.OT_CORRELATION_KEY, session)[: base.SEED_BYTES]
