"""A mirror in the sense of C2SP tlog-mirror: holds another log's entries, proven and as they are.

It checks that what it is sent is what the log's checkpoint commits to, keeps it durably, serves it as tiles,
and only then cosigns. What the entries mean it does not know: members that recompute them are
``ledger.mirror``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ledger.checkpoints import Checkpoint, Cosigner
from ledger.errors import (
    InvalidConsistencyProof,
    MalformedNote,
    NotPublished,
    StaleHead,
    StoreCorrupt,
    StoreUnavailable,
)
from ledger.merkle import HASH_SIZE, leaf_hash, root_of
from ledger.notes import Note, Vkey
from ledger.subtrees import verify_subtree
from ledger.tiles import TILE_WIDTH, decode_entries, encode_entries, hash_from_tiles
from ledger.times import Clock, system_clock
from ledger.uploads import INFO_MEDIA, MirrorInfo, Package, Read, Span, UploadHeader
from ledger.witness import Answer

__all__ = ["ENTRIES_LEVEL", "MirrorStore", "RawMirror", "Standing"]

ENTRIES_LEVEL = -1
"""The level at which a store keeps entry bundles, beside the hash tiles of levels 0 and up."""

_MAX_EXCESS = 32 * TILE_WIDTH
_TRIES = 5


@dataclass(frozen=True)
class Standing:
    """Where the copy of a log stands.

    Attributes:
        next: index of the first entry that is not here.
        size: size of the mirror checkpoint; 0 before the first.
        note: the mirror checkpoint with the log's and the mirror's signatures; None before the first.
    """

    next: int = 0
    size: int = 0
    note: bytes | None = None


class MirrorStore(Protocol):
    """Where a mirror keeps its copies. Trusted to keep what it committed."""

    def pending(self, origin: str) -> Mapping[int, bytes]:
        """Return the last pending checkpoints by size, signed by the log alone."""

    def standing(self, origin: str) -> Standing:
        """Return where the copy stands."""

    def tile(self, origin: str, level: int, number: int) -> bytes:
        """Return a tile or, at ``ENTRIES_LEVEL``, an entry bundle, as far as it is filled; else nothing."""

    def extend(self, origin: str, next_: int, count: int, tiles: Mapping[tuple[int, int], bytes]) -> None:
        """Write tiles by level and number and move the next entry on by ``count``, durably.

        Raises:
            StaleHead: the next entry is not ``next_``; nothing was changed.
        """

    def publish(self, origin: str, old: int, size: int, note: bytes) -> None:
        """Replace the mirror checkpoint of size ``old``, durably.

        Raises:
            StaleHead: it has another size; nothing was changed.
        """


class RawMirror:
    """The copies of some logs. Thread-safe as far as its store is.

    Pending checkpoints come from a ``ledger.witness.Witness`` over the same store.

    Args:
        store: holds the copies.
        logs: returns the verifier keys trusted for an origin; none for an unknown log.
        cosigners: the mirror's keys, which no witness may have.
        clock: the time of cosignatures.
    """

    def __init__(
        self,
        store: MirrorStore,
        logs: Callable[[str], Sequence[Vkey]],
        cosigners: Sequence[Cosigner],
        clock: Clock = system_clock,
    ) -> None:
        self._store, self._logs, self._cosigners, self._clock = store, logs, tuple(cosigners), clock

    @property
    def vkeys(self) -> tuple[Vkey, ...]:
        """What the cosignatures are verified with."""
        return tuple(cosigner.vkey for cosigner in self._cosigners)

    def standing(self, origin: str) -> Standing:
        """Return where the copy of a log stands."""
        return self._store.standing(origin)

    def add_entries(self, read: Read) -> Answer:
        """Answer an ``add-entries`` request while its body comes in.

        Args:
            read: the body.

        Returns:
            200 with the cosignature lines, once every entry of the checkpoint is here; 202 with how to go on;
            400 malformed; 404 unknown origin; 409 with how to go on; 422 not the log's entries.

        Raises:
            StoreUnavailable: nothing was cosigned; entries that were proven may have been kept.
            StoreCorrupt: the copy is not what was proven; nothing was cosigned.
        """
        try:
            header = UploadHeader.read(read)
        except MalformedNote as exc:
            return _refused(400, str(exc))
        if not self._logs(header.origin):
            return _refused(404, "the origin is not one that this mirror knows")
        pending, standing = self._store.pending(header.origin), self._store.standing(header.origin)
        if not pending:
            return _refused(422, "there is no pending checkpoint of this log yet")
        note = pending.get(header.end, standing.note if header.end == standing.size else None)
        excess = min(header.end, standing.next) - header.start
        if note is None or header.end < standing.size or not 0 <= excess <= _MAX_EXCESS:
            return self._info(409, header)
        checkpoint = Checkpoint.parse(Note.parse(note).text)
        kept = 0
        for span in header.spans():
            try:
                package = Package.read(read, span.end - span.start)
            except MalformedNote as exc:
                return self._info(202, header) if kept else _refused(400, str(exc))
            try:
                self._keep(checkpoint, span, package)
            except InvalidConsistencyProof as exc:
                return _refused(422, str(exc))
            kept += 1
        return self._finish(header, note)

    def checkpoint(self, origin: str) -> bytes:
        """Return the mirror checkpoint.

        Raises:
            NotPublished: there is none yet.
        """
        note = self._store.standing(origin).note
        if note is None:
            raise NotPublished("expected a mirror checkpoint, there is none yet")
        return note

    def tile(self, origin: str, level: int, number: int, width: int = TILE_WIDTH) -> bytes:
        """Return ``width`` hashes of a tile.

        Raises:
            NotPublished: they are not here.
        """
        data = self._store.tile(origin, level, number) if level >= 0 else b""
        if not 1 <= width <= TILE_WIDTH or len(data) < width * HASH_SIZE:
            raise NotPublished(f"expected a tile of at most {len(data) // HASH_SIZE} hashes")
        return data[: width * HASH_SIZE]

    def entry_bundle(self, origin: str, number: int, width: int = TILE_WIDTH) -> bytes:
        """Return ``width`` entries from index ``256 * number`` on, as an entry bundle.

        Raises:
            NotPublished: they are not here.
        """
        entries = decode_entries(self._store.tile(origin, ENTRIES_LEVEL, number))
        if not 1 <= width <= TILE_WIDTH or len(entries) < width:
            raise NotPublished(f"expected a bundle of at most {len(entries)} entries")
        return encode_entries(entries[:width])

    def hash_of(self, origin: str, start: int, stop: int) -> bytes:
        """Return the Merkle tree hash of leaves ``start`` to ``stop``, from the tiles.

        Raises:
            StoreCorrupt: a tile is not there.
        """
        try:
            return hash_from_tiles(
                lambda level, number, _: self._store.tile(origin, level, number), start, stop
            )
        except MalformedNote as exc:
            raise StoreCorrupt(f"a mirrored log: {exc}") from exc

    def _keep(self, checkpoint: Checkpoint, span: Span, package: Package) -> None:
        """Authenticate a package and store what of it is not here yet."""
        origin, number = checkpoint.origin, span.tree_start // TILE_WIDTH
        leaves = [leaf_hash(entry) for entry in package.entries]
        before = _hashes(self._store.tile(origin, 0, number))[: span.start - span.tree_start]
        if len(before) != span.start - span.tree_start:
            raise StoreCorrupt(f"expected {span.start - span.tree_start} leaves in tile {number}, found less")
        root = root_of([*before, *leaves])
        verify_subtree(span.tree_start, span.end, root, checkpoint.size, checkpoint.root, package.proof)
        for _ in range(_TRIES):
            here = self._store.standing(origin).next
            if here >= span.end:
                return
            new = here - span.start
            tiles = self._grown(origin, number, package.entries[new:], leaves[new:])
            try:
                self._store.extend(origin, here, span.end - here, tiles)
            except StaleHead:
                continue
            return
        raise StoreUnavailable("other uploads of the same entries came first; try again")

    def _grown(
        self, origin: str, number: int, entries: Sequence[bytes], leaves: Sequence[bytes]
    ) -> dict[tuple[int, int], bytes]:
        """Return the tiles that change when a bundle gets more entries, up to the last one that fills up."""
        bundle = self._store.tile(origin, ENTRIES_LEVEL, number) + encode_entries(entries)
        tiles = {(ENTRIES_LEVEL, number): bundle}
        level, added = 0, b"".join(leaves)
        while added:
            data = self._store.tile(origin, level, number) + added
            tiles[level, number] = data
            added = root_of(_hashes(data)) if len(data) == TILE_WIDTH * HASH_SIZE else b""
            level, number = level + 1, number // TILE_WIDTH
        return tiles

    def _finish(self, header: UploadHeader, pending: bytes) -> Answer:
        """Cosign the checkpoint that is now complete, unless a larger one was meanwhile."""
        note = Note.parse(pending)
        checkpoint = Checkpoint.parse(note.text)
        if self.hash_of(header.origin, 0, header.end) != checkpoint.root:
            raise StoreCorrupt(
                f"the tiles of a mirrored log do not have the root of its {header.end} entries"
            )
        for _ in range(_TRIES):
            now = int(self._clock().timestamp())
            standing = self._store.standing(header.origin)
            if header.end < standing.size:
                break
            lines = [cosigner.cosign(note.text, now) for cosigner in self._cosigners]
            others = [line for line in note.signatures if not any(line.is_by(vkey) for vkey in self.vkeys)]
            cosigned = replace(note, signatures=(*others, *lines)).encode()
            try:
                self._store.publish(header.origin, standing.size, header.end, cosigned)
            except StaleHead:
                continue
            return Answer(200, "".join(line.encode() for line in lines).encode())
        return self._info(409, header)

    def _info(self, status: int, header: UploadHeader) -> Answer:
        pending, standing = self._store.pending(header.origin), self._store.standing(header.origin)
        is_valid = header.end == standing.size or (header.end in pending and header.end > standing.size)
        size = header.end if is_valid else max(pending)
        return Answer(status, MirrorInfo(size, standing.next).encode(), INFO_MEDIA)


def _hashes(data: bytes) -> list[bytes]:
    return [data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE)]


def _refused(status: int, reason: str) -> Answer:
    return Answer(status, f"{reason}\n".encode())
