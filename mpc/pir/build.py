"""Makes and updates the versions of a list. Each version is a directory of files that never change.

    manifest      public: what `Manifest.encode` writes
    hint          public: uint32[1024, rows], little-endian; a client fetches it once
    stash         public: sealed records beyond the capacity of their bins; fetched with the hint
    delta         public, from the second version on: turns hint and stash of the version before into these
    matrix        uint8[columns, rows], a bin after the other
    labels        secret: uint64[columns, capacity, 2], the label of the record in each slot, 0 where unused
    stash-labels  secret: uint64[s, 2], of the records in the stash

Nearly all of a build is the pseudorandom function on each key; what it took is on disk after every
`CHECKPOINT_ROWS` entries, and a build that was interrupted goes on from there. An update evaluates the keys
that change, and patches matrix and hint where they are. Memory holds a batch, a stash and a block of the
hint's computation; matrix and hint are files.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import wire
from mpc.errors import DuplicateItems, InvalidInput
from mpc.oprf import rfc9497
from mpc.pir import files, sealing, simple
from mpc.pir.files import Delta, Stash
from mpc.pir.manifest import CHECKSUM_BYTES, DIGEST_BYTES, Manifest, Shape
from mpc.randomness import Randomness

Batch = tuple[Sequence[bytes], NDArray[np.uint8]]
"""Keys, and their records: uint8[number of keys, record_bytes]."""
Progress = Callable[[int], None]

CHECKPOINT_ROWS: Final = 2**18
STASH_SHARE: Final = 8
"""A stash holds at most a record for so many entries, and `STASH_FREE` more."""
STASH_FREE: Final = 1024
_BINS: Final = 256
_CHECKPOINT: Final = "checkpoint"


def build(
    directory: Path,
    source: Iterable[Batch],
    key: rfc9497.KeyPair,
    *,
    list_id: str,
    epoch: int,
    planned: int,
    record_bytes: int,
    rng: Randomness,
    number: int = 1,
    progress: Progress | None = None,
) -> Manifest:
    """Make a version from all its entries.

    An interrupted call leaves ``directory`` with the suffix ``.partial``; the next call with the same
    arguments and the same batches goes on where it stopped.

    Args:
        directory: to make; must not exist.
        source: the entries, in batches of keys, at most 65,535 bytes each, and records. Each key once.
        key: the key of ``epoch``: `rfc9497.derive_key` from a secret and a label of list and epoch.
        list_id: the list's name.
        epoch: named in the manifest.
        planned: number of entries to make room for; at least as many as ``source`` has.
        record_bytes: size of every record.
        rng: for the bytes of unused slots.
        number: the version's.
        progress: called with the number of entries done, after each batch.

    Raises:
        InvalidInput: the directory exists, an argument or a batch is not as stated, or the source is not the
            one of the interrupted call.
        DuplicateItems: a key came twice.

    Security: local. Leaks: nothing; what the files tell is said with `mpc.pir.keyword.SPEC`.
    Cost: local; `rfc9497.outputs` for each entry, then `simple.hint` for the matrix.
    Source: hashing into bins with a stash: Kirsch, Mitzenmacher, Wieder 2009.
    """
    if directory.exists():
        raise InvalidInput(f"a version is made once: {directory.name} exists")
    shape = Shape.of(planned, record_bytes)
    draft = Manifest(list_id, number, epoch, key.public, 0, shape, bytes(32), bytes(32), 0)
    work = _Work.open(directory.with_name(directory.name + ".partial"), draft)
    saved = work.done
    for keys, records in work.remaining(source):
        if work.done + len(keys) > planned:
            raise InvalidInput(f"the list is planned for {planned} entries, and there are more")
        work.place(rfc9497.outputs(key, keys), records)
        if work.done - saved >= CHECKPOINT_ROWS:
            work.checkpoint()
            saved = work.done
        if progress is not None:
            progress(work.done)
    work.fill_up(rng)
    hint = files.array_file(work.path / files.HINT, "<u4", files.hint_shape(shape), new=True)
    simple.hint(draft.matrix_seed, work.matrix, hint)
    (work.path / _CHECKPOINT).unlink(missing_ok=True)
    return _publish(work.path, directory, draft, work.done, hint, work.stash, work.stash_labels)


def update(
    previous: Path,
    directory: Path,
    key: rfc9497.KeyPair,
    *,
    upserts: Batch,
    removals: Sequence[bytes],
    rng: Randomness,
) -> Manifest:
    """Make the next version from the one before and the entries that changed. Writes a delta file too.

    Args:
        previous: the version before; stays as it is.
        directory: to make; must not exist.
        key: of the manifest's epoch.
        upserts: keys that are new or have another record now, and their records.
        removals: keys that go; each must be in the list.
        rng: for the bytes of slots that become free.

    Raises:
        InvalidInput: an argument is not as stated, or the list has outgrown its shape: build it anew.
        DuplicateItems: a key is named twice.

    Security: local. Leaks: to clients of both versions, which slots changed.
    Cost: local; `rfc9497.outputs` for each changed key, `simple.patch_hint`, and copies of the files.
    Source: the hint is linear in the matrix: Henzinger and others 2023, section 4.
    """
    if directory.exists():
        raise InvalidInput(f"a version is made once: {directory.name} exists")
    manifest = files.read_manifest(previous)
    if manifest.public_key != key.public:
        raise InvalidInput(f"version {manifest.number} is of another key than the one given")
    keys, records = upserts
    _check_batch(keys, records, manifest.shape)
    if repeats := len(keys) + len(removals) - len({*keys, *removals}):
        raise DuplicateItems(repeats)
    path = directory.with_name(directory.name + ".partial")
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    for name in (files.MATRIX, files.LABELS, files.HINT):
        shutil.copyfile(previous / name, path / name)
    changes = _Changes(path, previous, manifest)
    for label, column in _placed(rfc9497.outputs(key, removals), manifest.shape):
        changes.remove(column, label, rng)
    outputs = rfc9497.outputs(key, keys)
    sealed = sealing.seal(outputs, records)
    for (label, column), slot in zip(_placed(outputs, manifest.shape), sealed, strict=True):
        changes.put(column, label, slot)
    return changes.publish(directory)


class _Work:
    """A build under way: files that grow, and what is needed to go on after an interruption."""

    def __init__(self, path: Path, draft: Manifest, *, new: bool) -> None:
        shape = draft.shape
        self.path, self._draft, self._shape = path, draft, shape
        self.matrix = files.array_file(path / files.MATRIX, "u1", (shape.columns, shape.rows), new=new)
        labels = (shape.columns, shape.capacity, sealing.LABEL_WORDS)
        self._labels = files.array_file(path / files.LABELS, "<u8", labels, new=new)
        self.done = self._batches = 0
        self._chain = draft.digest
        self._fill = np.zeros(shape.columns, dtype=np.int64)
        self._stash = [(np.empty(0, np.int64), np.empty((0, shape.slot_bytes), np.uint8), _no_labels())]

    @classmethod
    def open(cls, path: Path, draft: Manifest) -> _Work:
        checkpoint = path / _CHECKPOINT
        if not checkpoint.exists():
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            return cls(path, draft, new=True)
        work = cls(path, draft, new=False)
        reader = wire.Reader("checkpoint", checkpoint.read_bytes())
        if reader.array("draft", "u1", (DIGEST_BYTES,)).tobytes() != draft.digest:
            raise InvalidInput(f"{path.name} is of a build with other arguments: remove it")
        work.done, work._batches = reader.uint64("done"), reader.uint64("batches")
        work._chain = reader.array("chain", "u1", (DIGEST_BYTES,)).tobytes()
        work._fill = reader.array("fill", "<i8", (draft.shape.columns,)).copy()
        bins = reader.array("bins", "<i8", (None,))
        sealed = reader.array("sealed", "u1", (len(bins), draft.shape.slot_bytes))
        labels = reader.array("labels", "<u8", (len(bins), sealing.LABEL_WORDS))
        reader.finish()
        work._stash = [(bins, sealed, labels)]
        return work

    @property
    def stash(self) -> Stash:
        return Stash(*(np.concatenate([part[field] for part in self._stash]) for field in range(2)))

    @property
    def stash_labels(self) -> NDArray[np.uint64]:
        return np.concatenate([part[2] for part in self._stash])

    def remaining(self, source: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches that are not done yet, once those that are have been recognised."""
        chain, number = self._draft.digest, -1
        for number, (keys, records) in enumerate(source):
            _check_batch(keys, records, self._shape)
            chain = _chained(chain, keys, records)
            if number >= self._batches:
                self._chain, self._batches = chain, number + 1
                yield keys, records
            elif number == self._batches - 1 and chain != self._chain:
                raise InvalidInput(f"{self.path.name} is of a build from other entries: remove it")
        if number + 1 < self._batches:
            raise InvalidInput(f"{self.path.name} is of a build from more entries: remove it")

    def place(self, outputs: bytes, records: NDArray[np.uint8]) -> None:
        """Seal a batch and put each record into the next free slot of its bin, or into the stash."""
        bins = sealing.bins_of(outputs, self._shape.columns)
        sealed, labels = sealing.seal(outputs, records), sealing.labels_of(outputs)
        order = np.argsort(bins, kind="stable")
        sizes = np.bincount(bins, minlength=self._shape.columns)
        within = np.arange(len(bins)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        slots = np.empty(len(bins), dtype=np.int64)
        slots[order] = self._fill[bins[order]] + within
        room = slots < self._shape.capacity
        files.slots_of(self.matrix, self._shape)[bins[room], slots[room]] = sealed[room]
        self._labels[bins[room], slots[room]] = labels[room]
        self._stash.append((bins[~room], sealed[~room], labels[~room]))
        self._fill = np.minimum(self._fill + sizes, self._shape.capacity)
        self.done += len(bins)

    def checkpoint(self) -> None:
        """Have everything placed so far on disk, and note where to go on."""
        files.sync(self.path)
        stash = self.stash
        fields = (
            wire.encode_array(np.frombuffer(self._draft.digest, dtype=np.uint8)),
            wire.encode_uint64(self.done),
            wire.encode_uint64(self._batches),
            wire.encode_array(np.frombuffer(self._chain, dtype=np.uint8)),
            wire.encode_array(self._fill),
            stash.encode(),
            wire.encode_array(self.stash_labels),
        )
        files.write(self.path / _CHECKPOINT, b"".join(fields))

    def fill_up(self, rng: Randomness) -> None:
        """Fill unused slots with random bytes, look for repeated keys, and write the checksums."""
        slots = files.slots_of(self.matrix, self._shape)
        key = sealing.checksum_key(self._draft.list_id, self._draft.epoch)
        repeats = _repeats(self.stash_labels)
        stash_bins, stash_labels = self.stash.bins, self.stash_labels
        for start in range(0, self._shape.columns, _BINS):
            part = slice(start, start + _BINS)
            free = np.arange(self._shape.capacity) >= self._fill[part, None]
            random = np.frombuffer(rng.bytes(int(free.sum()) * self._shape.slot_bytes), dtype=np.uint8)
            slots[part][free] = random.reshape(-1, self._shape.slot_bytes)
            self._labels[part][free] = 0
            repeats += _repeats(self._labels[part])
            for column in range(start, start + len(free)):
                self.matrix[column, -CHECKSUM_BYTES:] = _checksum(key, column, self.matrix)
        for column, label in zip(stash_bins, stash_labels, strict=True):
            repeats += int(np.any(np.all(self._labels[column] == label, axis=1)))
        if repeats:
            raise DuplicateItems(repeats)


class _Changes:
    """An update under way, on copies of the files of the version before."""

    def __init__(self, path: Path, previous: Path, manifest: Manifest) -> None:
        shape = manifest.shape
        self._path, self._manifest, self._shape = path, manifest, shape
        self._matrix = files.array_file(path / files.MATRIX, "u1", (shape.columns, shape.rows))
        labels = (shape.columns, shape.capacity, sealing.LABEL_WORDS)
        self._labels = files.array_file(path / files.LABELS, "<u8", labels)
        self._slots = files.slots_of(self._matrix, shape)
        self._stash_before = (previous / files.STASH).read_bytes()
        stash = Stash.decode(self._stash_before, shape)
        known = np.frombuffer((previous / files.STASH_LABELS).read_bytes(), dtype="<u8")
        rows = zip(stash.bins.tolist(), map(bytes, known.reshape(-1, sealing.LABEL_WORDS)), strict=True)
        self._stash = dict(zip(rows, stash.sealed, strict=True))
        self._before: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self._entries = manifest.entries

    def remove(self, column: int, label: NDArray[np.uint64], rng: Randomness) -> None:
        """Take an entry out."""
        self._entries -= 1
        if (slot := self._slot_of(column, label)) is not None:
            fresh = np.frombuffer(rng.bytes(self._shape.slot_bytes), dtype=np.uint8)
            self._write(column, slot, fresh, np.zeros_like(label))
        elif self._stash.pop((column, bytes(label)), None) is None:
            raise InvalidInput("a key to remove is not in the list")

    def put(self, column: int, label: NDArray[np.uint64], sealed: NDArray[np.uint8]) -> None:
        """Put an entry in, over the one of the same label if there is one."""
        at, known = (column, bytes(label)), self._slot_of(column, label)
        if known is None and at not in self._stash:
            self._entries += 1
            known = self._slot_of(column, np.zeros_like(label))
        if known is not None:
            self._write(column, known, sealed, label)
        else:
            self._stash[at] = sealed

    def publish(self, directory: Path) -> Manifest:
        """Patch checksums and hint, and write the delta and the new manifest."""
        shape, manifest = self._shape, self._manifest
        places = np.array(sorted(self._before), dtype=np.int64).reshape(-1, 2)
        columns, slots = places[:, 0].copy(), places[:, 1].copy()
        before = np.array([self._before[column, slot] for column, slot in places.tolist()], dtype=np.uint8)
        bins = np.unique(columns)
        sums_before = self._matrix[bins, -CHECKSUM_BYTES:]
        key = sealing.checksum_key(manifest.list_id, manifest.epoch)
        for column in bins.tolist():
            self._matrix[column, -CHECKSUM_BYTES:] = _checksum(key, column, self._matrix)
        rows = sorted(self._stash)
        stash = Stash(
            np.array([column for column, _ in rows], dtype=np.int64),
            np.array([self._stash[row] for row in rows], dtype=np.uint8).reshape(-1, shape.slot_bytes),
        )
        labels = np.frombuffer(b"".join(label for _, label in rows), dtype="<u8")
        encoded = stash.encode()
        delta = Delta(
            manifest.digest,
            columns,
            slots,
            before.reshape(-1, shape.slot_bytes),
            self._slots[columns, slots],
            bins,
            sums_before,
            self._matrix[bins, -CHECKSUM_BYTES:],
            b"" if encoded == self._stash_before else encoded,
        )
        hint = files.array_file(self._path / files.HINT, "<u4", files.hint_shape(shape))
        for piece in delta.pieces(shape):
            simple.patch_hint(manifest.matrix_seed, shape.columns, hint, *piece)
        files.write(self._path / files.DELTA, delta.encode())
        draft = replace(manifest, number=manifest.number + 1)
        return _publish(self._path, directory, draft, self._entries, hint, stash, labels)

    def _slot_of(self, column: int, label: NDArray[np.uint64]) -> int | None:
        found = np.flatnonzero(np.all(self._labels[column] == label, axis=1))
        return int(found[0]) if len(found) else None

    def _write(self, column: int, slot: int, data: NDArray[np.uint8], label: NDArray[np.uint64]) -> None:
        self._before.setdefault((column, slot), self._slots[column, slot].copy())
        self._slots[column, slot] = data
        self._labels[column, slot] = label


def _publish(
    path: Path,
    directory: Path,
    draft: Manifest,
    entries: int,
    hint: NDArray[np.uint32],
    stash: Stash,
    labels: NDArray[np.uint64],
) -> Manifest:
    if len(stash.bins) > entries // STASH_SHARE + STASH_FREE:
        raise InvalidInput(
            f"the stash would hold {len(stash.bins)} of {entries} entries: build the list anew for more"
        )
    encoded = stash.encode()
    manifest = replace(
        draft,
        entries=entries,
        hint=files.hint_digest(hint),
        stash=hashlib.sha256(encoded).digest(),
        stash_entries=len(stash.bins),
    )
    files.write(path / files.STASH, encoded)
    files.write(path / files.STASH_LABELS, np.ascontiguousarray(labels, dtype="<u8").tobytes())
    files.write(path / files.MANIFEST, manifest.encode())
    files.sync(path)
    path.replace(directory)
    files.sync(directory)
    return manifest


def _placed(outputs: bytes, shape: Shape) -> Iterator[tuple[NDArray[np.uint64], int]]:
    bins = sealing.bins_of(outputs, shape.columns).tolist()
    return zip(sealing.labels_of(outputs), bins, strict=True)


def _checksum(key: bytes, column: int, matrix: NDArray[np.uint8]) -> NDArray[np.uint8]:
    digest = sealing.checksum(key, column, matrix[column, :-CHECKSUM_BYTES].data)
    return np.frombuffer(digest, dtype=np.uint8)


def _check_batch(keys: Sequence[bytes], records: NDArray[np.uint8], shape: Shape) -> None:
    if records.dtype != np.uint8 or records.shape != (len(keys), shape.record_bytes):
        raise InvalidInput(
            f"expected uint8 records of shape {(len(keys), shape.record_bytes)}, got {records.dtype} "
            f"{records.shape}"
        )


def _chained(chain: bytes, keys: Sequence[bytes], records: NDArray[np.uint8]) -> bytes:
    state = hashlib.sha256(chain)
    state.update(np.fromiter(map(len, keys), dtype="<i8", count=len(keys)).tobytes())
    state.update(b"".join(keys))
    state.update(np.ascontiguousarray(records).data)
    return state.digest()


def _repeats(labels: NDArray[np.uint64]) -> int:
    """Count the labels that repeat one of their bin; all zero is no label."""
    bins = labels if labels.ndim == 3 else labels[None]
    order = np.argsort(bins[..., 1], axis=1, kind="stable")
    in_order = np.take_along_axis(bins, order[..., None], axis=1)
    same = np.all(in_order[:, 1:] == in_order[:, :-1], axis=2) & np.any(in_order[:, 1:] != 0, axis=2)
    return int(same.sum())


def _no_labels() -> NDArray[np.uint64]:
    return np.empty((0, sealing.LABEL_WORDS), np.uint64)
