"""Where a record is and how it is sealed, both from the output of the pseudorandom function on its key.

The 64 bytes of output are: the label, 16 bytes, whose first four say the bin; a key of SipHash-2-4, 16 bytes;
a key of ChaCha20, 32 bytes. A sealed record is its tag, SipHash of the record, and the record under ChaCha20
with the tag as nonce: deterministic authenticated encryption, so that an unchanged record keeps its bytes in
the next version and a changed one shares no key stream with the one before.

The tag has 64 bits, because it only has to tell the one record that opens from the few hundred of its bin: a
slot opens by accident with probability 2**-64. It is no defence against the list's owner, who has the keys.

Source: synthetic initialisation vector: Rogaway, Shrimpton 2006; Aumasson, Bernstein 2012; Bernstein 2008.
"""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mpc.cores import over_slices
from mpc.domain import Usage, separation_tag
from mpc.oprf.rfc9497 import OUTPUT_BYTES
from mpc.pir.manifest import CHECKSUM_BYTES, PROTOCOL, TAG_BYTES, VERSION, Manifest
from mpc.pir.simple import kernels

LABEL_WORDS = 2
_KEY_WORDS = slice(4, 16)
_LEAST_RECORDS = 1024


def bins_of(outputs: bytes, columns: int) -> NDArray[np.int64]:
    """Return the bin of each label: int64[n]; each of ``columns`` has its share to within 2**-32."""
    first = _labels(outputs)[:, 0] >> np.uint64(32)
    return ((first * np.uint64(columns)) >> np.uint64(32)).astype(np.int64)


def labels_of(outputs: bytes) -> NDArray[np.uint64]:
    """Return the labels: uint64[n, 2]."""
    return _labels(outputs).astype(np.uint64)


def seal(outputs: bytes, records: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Seal n records under n outputs: uint8[n, 8 + record_bytes].

    Security: pseudorandom to whoever has not the output, if SipHash-2-4 and ChaCha20 are pseudorandom
    functions; two records of one key get one tag, and then share a stream, with probability 2**-64.
    Leaks: the size of the records.
    Cost: local; 0.3 microseconds for each 64 bytes of a record, and core.
    Source: Rogaway, Shrimpton 2006.
    """
    keys = _words(outputs)[:, _KEY_WORDS].copy()
    sealed = np.empty((len(records), TAG_BYTES + records.shape[1]), dtype=np.uint8)
    plain = np.require(records, requirements=("C", "W"))
    over_slices(partial(_seal_slice, keys, plain, sealed), len(records), _LEAST_RECORDS)
    return sealed


def unseal(output: bytes, slots: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Try an output on every slot of a bin; the same work whether one opens or none.

    Args:
        output: 64 bytes.
        slots: uint8[n, 8 + record_bytes].

    Returns:
        What the slots decrypt to, uint8[n, record_bytes], and the indices of those that open.

    Security: a slot sealed under another output opens with probability 2**-64.
    Leaks: nothing; local.
    Cost: local; 0.3 microseconds for each 64 bytes of a slot.
    Source: Rogaway, Shrimpton 2006.
    """
    key = _words(output)[0, _KEY_WORDS].copy()
    records = np.empty((len(slots), slots.shape[1] - TAG_BYTES), dtype=np.uint8)
    opened = np.empty(len(slots), dtype=np.bool_)
    kernels().unseal(key, np.require(slots, requirements=("C", "W")), records, opened)
    return records, np.flatnonzero(opened)


def checksum_key(list_id: str, epoch: int) -> bytes:
    """Return the public key of a list's checksums, so that a bin of another list fails its check."""
    return separation_tag(PROTOCOL, VERSION, Usage.PIR_CHECKSUM, repr((list_id, epoch)).encode())


def checksum(key: bytes, column: int, slots: bytes | memoryview) -> bytes:
    """Digest a bin: 16 bytes, which depend on the list, its epoch and the bin's number too."""
    salt = column.to_bytes(16, "little")
    return hashlib.blake2b(slots, digest_size=CHECKSUM_BYTES, key=key, salt=salt).digest()


def intact(manifest: Manifest, column: int, data: NDArray[np.uint8]) -> bool:
    """Tell whether ``data``, uint8[rows], is a bin of this list with this number, undamaged."""
    slots, found = data[:-CHECKSUM_BYTES].tobytes(), data[-CHECKSUM_BYTES:].tobytes()
    return checksum(checksum_key(manifest.list_id, manifest.epoch), column, slots) == found


def _seal_slice(
    keys: NDArray[np.uint32], records: NDArray[np.uint8], sealed: NDArray[np.uint8], part: slice
) -> None:
    kernels().seal(keys, records, sealed, part.start, part.stop)


def _words(outputs: bytes) -> NDArray[np.uint32]:
    return np.frombuffer(outputs, dtype="<u4").reshape(-1, OUTPUT_BYTES // 4).astype(np.uint32, copy=False)


def _labels(outputs: bytes) -> NDArray[np.uint64]:
    return np.frombuffer(outputs, dtype="<u8").reshape(-1, OUTPUT_BYTES // 8)[:, :LABEL_WORDS]
