"""Releases of a service: made from rows, made from the release before, refused by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from connectors.errors import DuplicateIdentifiers, EmptyIdentifiers
from exchange.errors import Conflict, InvalidRequest, JobStopped
from exchange.lookup.building import make_release, oprf_key
from exchange.lookup.encoding import decode_record
from exchange.lookup.requests import KeyColumn, ServiceRequest
from mpc.pir.client import ListClient
from mpc.pir.manifest import Manifest
from mpc.pir.server import ListServer
from mpc.randomness import SystemRandomness

RNG = SystemRandomness()
SEED = bytes(range(32))
REQUEST = ServiceRequest(
    service="bureau/mules",
    asset="bureau/mules",
    keys=(KeyColumn("account", ("remove-spaces",)),),
    record=("reason",),
    record_bytes=32,
    price=1,
    minute=None,
    day=None,
    purposes=("dpv:FraudPreventionAndDetection",),
)
ROWS = [(f"A {n}", f"case {n}") for n in range(300)]
KEY = oprf_key(SEED, REQUEST.service, 1)


def batches(rows: Sequence[tuple[str | None, str]], size: int = 100) -> list[pa.RecordBatch]:
    table = pa.table(
        {"account": pa.array([row[0] for row in rows], pa.string()), "reason": [row[1] for row in rows]}
    )
    return table.to_batches(max_chunksize=size)


def found(folder: Path, *keys: str) -> list[str | None]:
    """Ask a release, both sides in this process."""
    manifest = Manifest.decode((folder / "manifest").read_bytes())
    client = ListClient(manifest, (folder / "hint").read_bytes(), (folder / "stash").read_bytes())
    server = ListServer(folder, KEY)
    blinding, message = client.blind([key.encode() for key in keys], RNG)
    pending, queries = client.query(client.labels(blinding, server.evaluate(message, RNG)), RNG)
    records = client.recover(pending, server.answer(queries))
    return [
        None if one is None else str(decode_record(one, {"reason": "string"})["reason"]) for one in records
    ]


def test_a_release_finds_what_the_list_has_by_its_normalised_key(tmp_path: Path) -> None:
    manifest = make_release(tmp_path / "1", batches(ROWS), REQUEST, KEY, 1, RNG)
    assert (manifest.entries, manifest.number, manifest.list_id) == (300, 1, "bureau/mules")
    assert found(tmp_path / "1", "A7", "A299", "A 7") == ["case 7", "case 299", None]


def test_the_next_release_is_made_from_what_changed(tmp_path: Path) -> None:
    make_release(tmp_path / "1", batches(ROWS), REQUEST, KEY, 1, RNG)
    rows = [("A 5", "other"), *ROWS[6:], ("A 300", "new")]
    manifest = make_release(tmp_path / "2", batches(rows), REQUEST, KEY, 2, RNG, previous=tmp_path / "1")
    assert (manifest.number, manifest.entries) == (2, 296)
    assert (tmp_path / "2" / "delta").is_file()
    assert found(tmp_path / "2", "A0", "A5", "A6", "A300") == [None, "other", "case 6", "new"]


def test_a_release_that_nothing_changed_in_is_made_too(tmp_path: Path) -> None:
    make_release(tmp_path / "1", batches(ROWS), REQUEST, KEY, 1, RNG)
    manifest = make_release(tmp_path / "2", batches(ROWS), REQUEST, KEY, 2, RNG, previous=tmp_path / "1")
    assert (manifest.number, manifest.entries) == (2, 300)
    assert found(tmp_path / "2", "A7") == ["case 7"]


@pytest.mark.parametrize(
    "rows", [ROWS[:100], [*ROWS, *((f"B {n}", "x") for n in range(300))]], ids=["less", "more"]
)
def test_a_list_that_is_another_one_is_made_anew(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    make_release(tmp_path / "1", batches(ROWS), REQUEST, KEY, 1, RNG)
    manifest = make_release(tmp_path / "2", batches(rows), REQUEST, KEY, 2, RNG, previous=tmp_path / "1")
    assert (manifest.number, manifest.entries) == (2, len(rows))
    assert not (tmp_path / "2" / "delta").exists()
    assert found(tmp_path / "2", "A7") == ["case 7"]


def test_what_an_interrupted_call_left_is_replaced(tmp_path: Path) -> None:
    looks = iter(range(3))

    def look() -> None:
        if next(looks, None) is None:
            raise JobStopped("this node stops")

    with pytest.raises(JobStopped):
        make_release(tmp_path / "1", batches(ROWS), REQUEST, KEY, 1, RNG, look=look)
    make_release(tmp_path / "1", batches(ROWS[:9]), REQUEST, KEY, 1, RNG)
    assert found(tmp_path / "1", "A7", "A10") == ["case 7", None]


def test_rows_without_a_key_and_doubled_keys_are_refused_by_number(tmp_path: Path) -> None:
    with pytest.raises(EmptyIdentifiers, match="2") as caught:
        make_release(tmp_path / "1", batches([*ROWS, ("", "x"), (None, "x")]), REQUEST, KEY, 1, RNG)
    assert "account" in str(caught.value)
    with pytest.raises(DuplicateIdentifiers, match="1"):
        make_release(tmp_path / "1", batches([*ROWS, ("A7", "x")]), REQUEST, KEY, 1, RNG)
    with pytest.raises(Conflict, match="empty"):
        make_release(tmp_path / "1", batches([]), REQUEST, KEY, 1, RNG)
    with pytest.raises(InvalidRequest, match="record_bytes"):
        make_release(tmp_path / "1", batches([("A", "x" * 40)]), REQUEST, KEY, 1, RNG)


def test_services_and_epochs_have_keys_of_their_own() -> None:
    keys = {
        oprf_key(SEED, "bureau/mules", 1).public,
        oprf_key(SEED, "bureau/mules", 2).public,
        oprf_key(SEED, "bureau/others", 1).public,
        oprf_key(bytes(32), "bureau/mules", 1).public,
    }
    assert len(keys) == 4


def test_what_a_steward_asks_for_is_kept_and_read_back_equal() -> None:
    asked = replace(REQUEST, minute=5)
    assert ServiceRequest.parse(asked.as_json()) == asked
    assert (asked.columns, asked.rates()) == (("account", "reason"), {"minute": 5})
