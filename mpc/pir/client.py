"""The asking side of a keyword query: holds the hint of one version and makes, and opens, queries.

    blinding, message = client.blind(keys, rng)              -> server.evaluate
    labels = client.labels(blinding, evaluated)
    pending, queries = client.query(labels, rng)             -> server.answer
    records = client.recover(pending, answers)               # bytes, or None where the list has no such key

A record of None is an answer whose bin passed its checksum and has no slot that opens under the label. An
answer from another matrix, another hint or damaged on the way raises `CorruptAnswer` instead.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpc.errors import CorruptAnswer, CorruptHint, InvalidInput
from mpc.oprf import rfc9497
from mpc.pir import files, sealing, simple
from mpc.pir.files import Delta, Stash
from mpc.pir.manifest import CHECKSUM_BYTES, Manifest
from mpc.pir.messages import MAX_KEYS, Answers, BlindedKeys, EvaluatedKeys, Queries
from mpc.randomness import Randomness
from mpc.secrecy import Unprintable


@dataclass(frozen=True, repr=False, eq=False)
class Labels(Unprintable):
    """Outputs of the pseudorandom function for q keys: where each record is, and what opens it.

    Attributes:
        outputs: q outputs of 64 bytes, one after the other.
    """

    outputs: bytes

    def __len__(self) -> int:
        return len(self.outputs) // rfc9497.OUTPUT_BYTES

    def __getitem__(self, part: slice) -> Labels:
        start, stop, _ = part.indices(len(self))
        return Labels(self.outputs[rfc9497.OUTPUT_BYTES * start : rfc9497.OUTPUT_BYTES * stop])


class Prepared(Unprintable):
    """Queries made before their keys are known; each is given out once.

    Two queries with one secret would tell the server how their columns differ, so `take` forgets what it
    returns.
    """

    def __init__(self, vectors: NDArray[np.uint32], masks: NDArray[np.uint32]) -> None:
        self._vectors, self._masks, self._lock = vectors, masks, threading.Lock()

    def __len__(self) -> int:
        return len(self._vectors)

    def take(self, count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Return ``count`` queries, uint32[count, columns], and their masks, uint32[count, rows].

        Raises:
            InvalidInput: fewer are left.
        """
        with self._lock:
            if count > len(self._vectors):
                raise InvalidInput(f"expected at least {count} prepared queries, got {len(self._vectors)}")
            taken = self._vectors[:count], self._masks[:count]
            self._vectors, self._masks = self._vectors[count:], self._masks[count:]
        return taken


@dataclass(frozen=True, repr=False, eq=False)
class Pending(Unprintable):
    """What a client keeps between a query and its answer: labels, and masks uint32[q, rows]."""

    labels: Labels
    masks: NDArray[np.uint32]


class ListClient:
    """One version of a list, ready to be asked.

    Args:
        manifest: from the owner, by a way that authenticates it: signed, or its digest on the ledger.
        hint: the hint file, or uint32[1024, rows].
        stash: the stash file.

    Attributes:
        manifest: the version's.

    Raises:
        CorruptHint: hint or stash are not those of the manifest.
        MalformedMessage: the stash has the manifest's digest and not the form of one.
    """

    def __init__(
        self, manifest: Manifest, hint: bytes | memoryview | NDArray[np.uint32], stash: bytes
    ) -> None:
        self.manifest = manifest
        words = hint if isinstance(hint, np.ndarray) else _words(hint, manifest)
        files.check_public(manifest, words, stash)
        self._hint, self._stash_file = words, stash
        self._stash = Stash.decode(stash, manifest.shape)

    @classmethod
    def load(cls, directory: Path) -> ListClient:
        """Open what `save` wrote, or a version's directory at its owner; raises as the constructor does."""
        manifest = files.read_manifest(directory)
        hint = np.fromfile(directory / files.HINT, dtype=np.uint8)
        return cls(manifest, hint.data, (directory / files.STASH).read_bytes())

    def save(self, directory: Path) -> None:
        """Write manifest, hint and stash, so that the next start need not fetch them."""
        directory.mkdir(parents=True, exist_ok=True)
        files.write(directory / files.HINT, np.ascontiguousarray(self._hint, dtype="<u4").tobytes())
        files.write(directory / files.STASH, self._stash_file)
        files.write(directory / files.MANIFEST, self.manifest.encode())

    def updated(self, manifest: Manifest, delta: bytes) -> ListClient:
        """Return the client of the next version, from its manifest and delta file alone.

        Raises:
            CorruptHint: the delta does not lead from this version to that of the manifest.
            MalformedMessage: it is no delta for this shape.

        Security: the manifest's digest decides, whatever the delta says.
        Leaks: nothing; local.
        Cost: local; `simple.patch_hint`, and one digest of the hint: 0.1 s for 64 MiB.
        Source: the hint is linear in the matrix: Henzinger and others 2023, section 4.
        """
        change = Delta.decode(delta, self.manifest.shape)
        if change.previous != self.manifest.digest or _lasting(manifest) != _lasting(self.manifest):
            raise CorruptHint(f"the delta is not from version {self.manifest.number} to {manifest.number}")
        hint = self._hint.copy()
        for piece in change.pieces(manifest.shape):
            simple.patch_hint(manifest.matrix_seed, manifest.shape.columns, hint, *piece)
        return ListClient(manifest, hint, change.stash or self._stash_file)

    def blind(self, keys: Sequence[bytes], rng: Randomness) -> tuple[rfc9497.Blinding, BlindedKeys]:
        """Blind 1 to `MAX_KEYS` keys; security and cost as `rfc9497.blind`.

        Raises:
            InvalidInput: another number of keys.
        """
        if not 1 <= len(keys) <= MAX_KEYS:
            raise InvalidInput(f"a query is for 1 to {MAX_KEYS} keys, got {len(keys)}")
        blinding = rfc9497.blind(keys, rng)
        return blinding, BlindedKeys(self.manifest.digest, blinding.elements)

    def labels(self, blinding: rfc9497.Blinding, reply: EvaluatedKeys) -> Labels:
        """Check the proof and unblind; security and cost as `rfc9497.verify` and `rfc9497.finalize`.

        Raises:
            InvalidProof: another key than the manifest's evaluated.
            MalformedMessage: the reply is not for as many keys, or holds what is no element.
        """
        outputs = rfc9497.finalize(blinding, reply.elements)
        rfc9497.verify(self.manifest.public_key, blinding.elements, reply.elements, reply.proof)
        return Labels(outputs)

    def prepare(self, count: int, rng: Randomness) -> Prepared:
        """Do the work of ``count`` queries that does not depend on the keys.

        Security: as `simple.encrypt_zeros`. Leaks: nothing; local.
        Cost: local; one expansion of the public matrix and one pass over the hint, and 2 ms a query.
        Source: Henzinger and others 2023, section 4.
        """
        secrets, vectors = simple.encrypt_zeros(
            self.manifest.matrix_seed, self.manifest.shape.columns, count, rng
        )
        return Prepared(vectors, simple.masks(secrets, self._hint))

    def query(
        self, labels: Labels, rng: Randomness, prepared: Prepared | None = None
    ) -> tuple[Pending, Queries]:
        """Make one query a label, from ``prepared`` if that is given.

        Raises:
            InvalidInput: fewer are prepared.

        Security: learning with errors: whatever the labels, the queries look uniform.
        Leaks: to the server, the number of labels.
        Cost: local; as `prepare`, unless done before; a copy.
        Source: Henzinger and others 2023, section 4.
        """
        vectors, masks = (prepared or self.prepare(len(labels), rng)).take(len(labels))
        chosen = simple.choose(vectors, sealing.bins_of(labels.outputs, self.manifest.shape.columns))
        return Pending(labels, masks), Queries(self.manifest.digest, chosen)

    def recover(self, pending: Pending, answers: Answers) -> list[bytes | None]:
        """Open the answers: the record of each key, or None where the list has no such key.

        Raises:
            CorruptAnswer: a bin fails its checksum, or more than one slot opens.

        Security: every slot is tried, whether one opens or none. An absent key opens a slot by accident with
            probability 2**-64 for each slot of its bin.
        Leaks: nothing; local.
        Cost: local; 0.3 microseconds for each 64 bytes of each slot.
        Source: as `sealing.unseal`.
        """
        columns = sealing.bins_of(pending.labels.outputs, self.manifest.shape.columns).tolist()
        found = simple.recover(answers.vectors, pending.masks)
        if not len(columns) == len(found):
            raise CorruptAnswer(f"expected {len(columns)} answers, got {len(found)}")
        width = rfc9497.OUTPUT_BYTES
        return [
            self._open(pending.labels.outputs[width * at : width * (at + 1)], column, data)
            for at, (column, data) in enumerate(zip(columns, found, strict=True))
        ]

    def _open(self, output: bytes, column: int, data: NDArray[np.uint8]) -> bytes | None:
        if not sealing.intact(self.manifest, column, data):
            raise CorruptAnswer(f"version {self.manifest.number}: an answer decodes to no bin of this list")
        slots = data[:-CHECKSUM_BYTES].reshape(self.manifest.shape.capacity, -1)
        records, opened = sealing.unseal(output, np.concatenate([slots, self._stash.of_bin(column)]))
        if len(opened) > 1:
            raise CorruptAnswer(f"version {self.manifest.number}: {len(opened)} records open for one key")
        return records[opened[0]].tobytes() if len(opened) else None


def _words(hint: bytes | memoryview, manifest: Manifest) -> NDArray[np.uint32]:
    rows, columns = files.hint_shape(manifest.shape)
    if len(hint) != 4 * rows * columns:
        raise CorruptHint(f"hint: expected {4 * rows * columns} bytes, got {len(hint)}")
    return np.frombuffer(hint, dtype="<u4").astype(np.uint32, copy=False).reshape(rows, columns)


def _lasting(manifest: Manifest) -> tuple[object, ...]:
    return manifest.list_id, manifest.epoch, manifest.public_key, manifest.shape
