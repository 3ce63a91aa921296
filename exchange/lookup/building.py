"""Makes a release of a service from the rows of its asset: a folder of files that never change.

The rows are read once, encoded, and kept beside the folder, the owner's own copy of what the release holds.
From the second release on that is compared with the release before, and only what changed goes into the
matrix and its hint; members then fetch the difference. Another key, another shape of keys or records, or a
list that has outgrown its matrix makes everything anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.errors import DuplicateIdentifiers, EmptyIdentifiers
from exchange.errors import Conflict
from exchange.lookup.encoding import encode_keys, encode_records
from exchange.lookup.requests import ServiceRequest
from mpc.oprf import rfc9497
from mpc.pir import build as pir
from mpc.pir.manifest import Manifest
from mpc.randomness import Randomness
from mpc.secrecy import SecretBytes

__all__ = ["MANIFEST", "entries_of", "make_release", "oprf_key"]

MANIFEST: Final = "manifest"
_BATCH: Final = 65_536
_MOST_CHANGED: Final = 4
"""An update is made where at most one entry in so many changed."""
_ROOM: Final = 8
"""A matrix is planned for one entry in so many more than the list has, and for a few at least."""
_LEAST_ROOM: Final = 64
_THREADS: Final = 2
_SURPLUS: Final = "select count(*) - count(distinct key) from read_parquet($now)"
_CHANGED: Final = (
    "select n.key, n.record from read_parquet($now) n left join read_parquet($before) b using (key) "
    "where b.key is null or b.record <> n.record"
)
_GONE: Final = "select b.key from read_parquet($before) b anti join read_parquet($now) n on b.key = n.key"


def oprf_key(seed: bytes, service: str, epoch: int) -> rfc9497.KeyPair:
    """Derive the secret key of a service in one epoch.

    Args:
        seed: 32 bytes, secret of this node.
        service: the service's id.
        epoch: of the key.
    """
    return rfc9497.derive_key(SecretBytes(seed), f"{service} {epoch}".encode())


def entries_of(folder: Path) -> Path:
    """The owner's copy of what a release holds."""
    return folder.with_name(folder.name + ".entries")


def make_release(
    folder: Path,
    batches: Iterable[pa.RecordBatch],
    request: ServiceRequest,
    key: rfc9497.KeyPair,
    number: int,
    rng: Randomness,
    *,
    previous: Path | None = None,
    look: Callable[[], None] = lambda: None,
) -> Manifest:
    """Make a release.

    Args:
        folder: for its files; what an interrupted call left there is replaced.
        batches: the columns ``request.columns`` of every row.
        request: the service.
        key: of the request's epoch.
        number: of the release.
        rng: where the bytes of unused places come from.
        previous: folder of the release before, if it was made for the same key, rules and records.
        look: called between batches; raises to give up.

    Returns:
        What the release's files are, as everybody may know it.

    Raises:
        EmptyIdentifiers: with the number of rows that lack a part of the key.
        DuplicateIdentifiers: with the number of rows beyond the first of each key.
        Conflict: the list has no rows.
        InvalidRequest: records do not fit.
    """
    for left in (folder, folder.with_name(folder.name + ".partial")):
        shutil.rmtree(left, ignore_errors=True)
    entries = entries_of(folder)
    rows = _keep(entries, batches, request, look)
    if previous is not None and entries_of(previous).is_file():
        before = Manifest.decode((previous / MANIFEST).read_bytes())
        upserts, removals = _changes(entries_of(previous), entries)
        few = (len(upserts[0]) + len(removals)) * _MOST_CHANGED <= rows
        if few and rows <= _planned(before.entries):
            return pir.update(previous, folder, key, upserts=upserts, removals=removals, rng=rng)
    return pir.build(
        folder,
        _stored(entries, request.record_bytes, look),
        key,
        list_id=request.service,
        epoch=request.epoch,
        planned=_planned(rows),
        record_bytes=request.record_bytes,
        rng=rng,
        number=number,
        progress=lambda _: look(),
    )


def _planned(entries: int) -> int:
    return entries + max(_LEAST_ROOM, entries // _ROOM)


def _keep(
    path: Path, batches: Iterable[pa.RecordBatch], request: ServiceRequest, look: Callable[[], None]
) -> int:
    schema = pa.schema([("key", pa.binary()), ("record", pa.binary(request.record_bytes))])
    column = request.keys[0].column
    rows = empty = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            look()
            keys = encode_keys([batch.column(key.column) for key in request.keys], request.keys)
            columns = [batch.column(name) for name in request.record]
            records = encode_records(columns, batch.num_rows, request.record_bytes)
            kept = pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(request.record_bytes), batch.num_rows, [None, pa.py_buffer(records)]
            )
            writer.write_batch(pa.record_batch([keys, kept], schema=schema))
            rows, empty = rows + batch.num_rows, empty + keys.null_count
    if empty:
        raise EmptyIdentifiers(column, empty)
    if not rows:
        raise Conflict("expected a list with at least one row, got an empty one")
    if surplus := _surplus(path):
        raise DuplicateIdentifiers(column, surplus)
    return rows


def _stored(path: Path, record_bytes: int, look: Callable[[], None]) -> Iterator[pir.Batch]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH):
            look()
            yield _batch(batch.column("key"), batch.column("record"), record_bytes)


def _batch(keys: pa.Array, records: pa.Array, record_bytes: int) -> pir.Batch:
    start = records.offset * record_bytes
    content = np.frombuffer(records.buffers()[1] or b"", dtype=np.uint8)
    matrix = content[start : start + len(records) * record_bytes].reshape(-1, record_bytes)
    return keys.to_pylist(), matrix


def _changes(before: Path, now: Path) -> tuple[pir.Batch, Sequence[bytes]]:
    """Entries that are new or have another record, and keys that are gone."""
    paths = {"before": str(before), "now": str(now)}
    with _database() as database:
        changed = database.sql(_CHANGED, params=paths).to_arrow_table().combine_chunks()
        gone = database.sql(_GONE, params=paths).to_arrow_table()
    with pq.ParquetFile(now) as file:
        width = file.schema_arrow.field("record").type.byte_width
    records = changed.column("record").combine_chunks().cast(pa.binary(width))
    return _batch(changed.column("key"), records, width), gone.column("key").to_pylist()


def _surplus(entries: Path) -> int:
    with _database() as database:
        found = database.sql(_SURPLUS, params={"now": str(entries)}).to_arrow_table()
    return int(found.column(0)[0].as_py())


@contextmanager
def _database() -> Iterator[duckdb.DuckDBPyConnection]:
    config: dict[str, Any] = {
        "threads": _THREADS,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with duckdb.connect(":memory:", config=config) as database:
        yield database
