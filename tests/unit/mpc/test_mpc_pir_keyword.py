"""Keyword queries: hits, misses and the stash; cost as declared; versions, deltas and builds that stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc import wire
from mpc.channel import Channel
from mpc.errors import (
    CorruptAnswer,
    CorruptHint,
    DuplicateItems,
    InvalidInput,
    InvalidProof,
    MalformedMessage,
    MpcError,
    PeerAborted,
    StaleVersion,
)
from mpc.oprf import rfc9497
from mpc.pir import build, files, keyword, sealing
from mpc.pir.client import ListClient
from mpc.pir.manifest import MAX_RECORD_BYTES, Manifest, Shape
from mpc.pir.messages import MAX_KEYS, Answers, BlindedKeys, EvaluatedKeys, Queries
from mpc.pir.server import ListServer
from mpc.secrecy import SecretBytes
from mpc.testing import DeterministicRandomness, channel_pair, outcomes, run_pair

KEY = rfc9497.derive_key(SecretBytes(b"\5" * 32), b"blacklist 1")
KEYS = [b"person %d" % number for number in range(120)]
MISSES = [b"nobody", b"", b"person 120"]


def rng(seed: int = 0) -> DeterministicRandomness:
    return DeterministicRandomness(bytes([seed] * 16))


def records(count: int, width: int = 16, seed: int = 1) -> np.ndarray:
    return np.frombuffer(rng(seed).bytes(count * width), dtype=np.uint8).reshape(count, width)


RECORDS = records(len(KEYS))
EXPECTED = {key: record.tobytes() for key, record in zip(KEYS, RECORDS, strict=True)}


def batches(keys: list[bytes], rows: np.ndarray, size: int = 50) -> Iterator[build.Batch]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size], rows[start : start + size]


def make(directory: Path, keys: list[bytes], rows: np.ndarray, **options: Any) -> Manifest:
    arguments: dict[str, Any] = {
        "list_id": "blacklist",
        "epoch": 1,
        "planned": max(len(keys), 1),
        "record_bytes": rows.shape[1],
        "rng": rng(2),
    }
    source = options.pop("source", None) or batches(keys, rows)
    return build.build(directory, source, KEY, **{**arguments, **options})


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("list") / "1"
    make(directory, KEYS, RECORDS)
    return directory


def look_up(source: ListServer, client: ListClient, keys: list[bytes], seed: int = 3) -> list[bytes | None]:
    blinding, request = client.blind(keys, rng(seed))
    reply = source.evaluate(BlindedKeys.decode(request.encode(), source.manifest), rng(4))
    labels = client.labels(blinding, EvaluatedKeys.decode(reply.encode(), len(keys)))
    pending, queries = client.query(labels, rng(seed + 10))
    answers = source.answer(Queries.decode(queries.encode(), source.manifest))
    return client.recover(pending, Answers.decode(answers.encode(), client.manifest, len(keys)))


def test_every_record_comes_back_and_misses_are_none(version: Path) -> None:
    client = ListClient.load(version)
    assert 0 < client.manifest.stash_entries < len(KEYS) // 2
    assert client.manifest.entries == len(KEYS)
    wanted = [*KEYS, *MISSES]
    assert look_up(ListServer(version, KEY), client, wanted) == [EXPECTED.get(key) for key in wanted]


def run(
    version: Path, keys: list[bytes], tap: Any = None, **options: Any
) -> tuple[list[bytes | None], int, tuple[Any, Any]]:
    channels = channel_pair(tap=tap)
    client, server = ListClient.load(version), ListServer(version, KEY)

    def first(channel: Channel) -> list[bytes | None]:
        return keyword.client(channel, client, keys, rng(5), **options)

    found, asked = run_pair(first, lambda channel: keyword.server(channel, server, rng(6)), channels)
    return found, asked, channels


@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_runs_cost_what_is_declared(version: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyword, "BLOCK_KEYS", 3)
    monkeypatch.setattr(keyword, "PIECE_BYTES", 700)
    wanted = [*MISSES, *KEYS][:count]
    found, asked, channels = run(version, wanted)
    assert found == [EXPECTED.get(key) for key in wanted]
    assert asked == count
    shape = files.read_manifest(version).shape
    for channel, role in zip(channels, keyword.SPEC.roles, strict=True):
        assert channel.stats.bytes_sent == keyword.bytes_sent(role, count, shape)
        assert channel.stats.rounds == keyword.rounds(count)


def test_hit_and_miss_look_alike(version: Path) -> None:
    def seen(keys: list[bytes]) -> list[tuple[str, str, int]]:
        messages: list[tuple[str, str, int]] = []
        run(version, keys, tap=lambda way, label, payload: messages.append((way, label, len(payload))))
        return messages

    assert seen(KEYS[:3]) == seen(MISSES) == seen([KEYS[0]] * 3)


def test_prepared_queries_serve_once_each(version: Path) -> None:
    client = ListClient.load(version)
    prepared = client.prepare(3, rng(7))
    assert run(version, KEYS[:2], prepared=prepared)[0] == [EXPECTED[key] for key in KEYS[:2]]
    assert len(prepared) == 1
    with pytest.raises(InvalidInput, match="at least 2 prepared queries, got 1"):
        prepared.take(2)


def test_records_of_other_keys_stay_sealed(version: Path) -> None:
    client, server = ListClient.load(version), ListServer(version, KEY)
    blinding, request = client.blind([KEYS[0]], rng())
    labels = client.labels(blinding, server.evaluate(request, rng()))
    matrix = np.fromfile(version / files.MATRIX, dtype=np.uint8)
    slots = files.slots_of(matrix.reshape(client.manifest.shape.columns, -1), client.manifest.shape)
    opened = sealing.unseal(labels.outputs, slots.reshape(-1, slots.shape[2]))[1]
    assert len(opened) <= 1
    raw = matrix.tobytes() + (version / files.STASH).read_bytes()
    assert not any(record in raw for record in EXPECTED.values())


@given(
    st.dictionaries(st.binary(max_size=12), st.binary(min_size=3, max_size=3), max_size=30),
    st.lists(st.binary(max_size=2), min_size=1, max_size=4),
)
@settings(max_examples=8, deadline=None)
def test_a_lookup_is_that_of_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[bytes, bytes], others: list[bytes]
) -> None:
    directory = tmp_path_factory.mktemp("any") / "1"
    rows = np.frombuffer(b"".join(entries.values()), dtype=np.uint8).reshape(-1, 3)
    make(directory, list(entries), rows)
    wanted = [*entries, *others]
    found = look_up(ListServer(directory, KEY), ListClient.load(directory), wanted)
    assert found == [entries.get(key) for key in wanted]


def test_shapes_balance_bin_and_width_and_hold_their_limits() -> None:
    for planned, width, columns in ((10**7, 16, 2**14), (10**6, 64, 2**13), (10**7, 256, 2**16)):
        shape = Shape.of(planned, width)
        assert shape.columns == columns
        assert shape.columns * shape.rows < 1.1 * planned * (8 + width)
    assert Shape.of(1, 1).columns == 16
    for planned, width in ((0, 16), (10, 0), (10, MAX_RECORD_BYTES + 1), (2**31 + 1, 16)):
        with pytest.raises(InvalidInput):
            Shape.of(planned, width)


def changed(version: Path, directory: Path, upserts: dict[bytes, bytes], removals: list[bytes]) -> Manifest:
    width = len(next(iter(upserts.values()), bytes(16)))
    rows = np.frombuffer(b"".join(upserts.values()), dtype=np.uint8).reshape(-1, width)
    return build.update(version, directory, KEY, upserts=(list(upserts), rows), removals=removals, rng=rng(8))


def test_updates_change_hint_and_answers_and_clients_follow_by_deltas(version: Path, tmp_path: Path) -> None:
    state, client, previous = dict(EXPECTED), ListClient.load(version), version
    steps = (
        ({KEYS[0]: b"a" * 16, b"new 1": b"b" * 16}, KEYS[3:9]),
        ({b"new %d" % number: bytes([number] * 16) for number in range(40)}, []),
        ({}, [b"new 5", *KEYS[20:60]]),
    )
    for number, (upserts, removals) in enumerate(steps, start=2):
        directory = tmp_path / str(number)
        manifest = changed(previous, directory, upserts, removals)
        state = {key: record for key, record in {**state, **upserts}.items() if key not in removals}
        assert (manifest.number, manifest.entries) == (number, len(state))
        client = client.updated(manifest, (directory / files.DELTA).read_bytes())
        wanted = [*{**EXPECTED, **state}, *removals, *MISSES]
        assert look_up(ListServer(directory, KEY), client, wanted) == [state.get(key) for key in wanted]
        previous = directory
    # The patched hint is that of the changed matrix.
    shape = client.manifest.shape
    matrix = np.fromfile(previous / files.MATRIX, dtype=np.uint8).reshape(shape.columns, shape.rows)
    hint = np.zeros(files.hint_shape(shape), dtype=np.uint32)
    build.simple.hint(client.manifest.matrix_seed, matrix, hint)
    assert files.hint_digest(hint) == client.manifest.hint


def test_an_unchanged_record_keeps_its_bytes_and_a_delta_has_the_changed_slots_alone(
    version: Path, tmp_path: Path
) -> None:
    manifest = changed(version, tmp_path / "2", {KEYS[0]: EXPECTED[KEYS[0]], KEYS[1]: b"x" * 16}, [])
    delta = files.Delta.decode((tmp_path / "2" / files.DELTA).read_bytes(), manifest.shape)
    moved = np.any(delta.slots_before != delta.slots_after, axis=1)
    assert len(moved) <= 2
    assert moved.sum() <= 1
    assert manifest.entries == len(KEYS)


def test_updates_refuse_what_does_not_fit(version: Path, tmp_path: Path) -> None:
    target = tmp_path / "2"
    with pytest.raises(InvalidInput, match="not in the list"):
        changed(version, target, {}, [b"nobody"])
    with pytest.raises(DuplicateItems):
        changed(version, target, {KEYS[0]: b"a" * 16}, [KEYS[0]])
    with pytest.raises(InvalidInput, match="records of shape"):
        changed(version, target, {KEYS[0]: b"a" * 15}, [])
    other = rfc9497.derive_key(SecretBytes(b"\6" * 32), b"blacklist 1")
    with pytest.raises(InvalidInput, match="another key"):
        build.update(version, target, other, upserts=([], RECORDS[:0]), removals=[], rng=rng())
    with pytest.raises(InvalidInput, match="exists"):
        changed(version, version, {}, [])
    assert not target.exists()


def test_a_list_that_outgrows_its_shape_is_to_be_built_anew(version: Path, tmp_path: Path) -> None:
    many = {b"more %d" % number: bytes(16) for number in range(1_700)}
    with pytest.raises(InvalidInput, match="build the list anew"):
        changed(version, tmp_path / "2", many, [])


class Stopped(Exception):
    pass


def test_an_interrupted_build_goes_on_and_ends_in_the_same_list(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "CHECKPOINT_ROWS", 40)
    evaluated: list[int] = []
    outputs = rfc9497.outputs

    def counted(key: rfc9497.KeyPair, inputs: Any) -> bytes:
        evaluated.append(len(inputs))
        return outputs(key, inputs)

    monkeypatch.setattr(rfc9497, "outputs", counted)

    def stop(done: int) -> None:
        if done >= 100:
            raise Stopped

    with pytest.raises(Stopped):
        make(tmp_path / "1", KEYS, RECORDS, progress=stop)
    assert not (tmp_path / "1").exists()
    assert sum(evaluated) == 100
    for keys, rows, options in (
        ([b"else", *KEYS[1:]], RECORDS, {}),
        (KEYS, RECORDS[::-1], {}),
        (KEYS[:40], RECORDS[:40], {"planned": len(KEYS)}),
        (KEYS, RECORDS, {"epoch": 2}),
    ):
        with pytest.raises(InvalidInput, match="of a build"):
            make(tmp_path / "1", keys, rows, **options)
    assert make(tmp_path / "1", KEYS, RECORDS) == files.read_manifest(version)
    assert sum(evaluated) == len(KEYS)
    assert not (tmp_path / "1.partial").exists()


def test_builds_refuse_what_does_not_fit(version: Path, tmp_path: Path) -> None:
    target = tmp_path / "1"
    with pytest.raises(InvalidInput, match="exists"):
        make(version, KEYS, RECORDS)
    with pytest.raises(DuplicateItems) as repeated:
        make(target, [*KEYS, KEYS[3], KEYS[70]], np.concatenate([RECORDS, RECORDS[:2]]))
    assert repeated.value.count == 2
    with pytest.raises(InvalidInput, match="planned for 100 entries"):
        make(target, KEYS, RECORDS, planned=100)
    with pytest.raises(InvalidInput, match="records of shape"):
        make(target, KEYS, RECORDS.astype(np.int16))
    assert not target.exists()


def test_manifests_decode_to_themselves_and_to_nothing_else(version: Path) -> None:
    manifest = files.read_manifest(version)
    encoded = manifest.encode()
    assert Manifest.decode(encoded) == manifest
    assert Manifest.decode(encoded).digest == manifest.digest
    for changed_bytes in (encoded[:-1], encoded + b"\0", b"\2" + encoded[1:], b""):
        with pytest.raises(MalformedMessage):
            Manifest.decode(changed_bytes)
    for field in ("columns", "capacity", "record_bytes"):
        shape = Shape(**{**vars(manifest.shape), field: 2**40})
        with pytest.raises(MalformedMessage, match=field.replace("_", " ")):
            Manifest.decode(Manifest(**{**fields(manifest), "shape": shape}).encode())
    with pytest.raises(MalformedMessage, match="UTF-8"):
        Manifest.decode(encoded.replace(b"blacklist", b"blacklis\xff"))


def fields(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in manifest.__dataclass_fields__}


def test_a_hint_or_stash_of_another_version_is_refused(version: Path, tmp_path: Path) -> None:
    manifest = files.read_manifest(version)
    hint, stash = ((version / name).read_bytes() for name in (files.HINT, files.STASH))
    flipped = bytearray(hint)
    flipped[1_000] ^= 1
    for wrong_hint, wrong_stash in ((bytes(flipped), stash), (hint[:-4], stash), (hint, stash + b"\0")):
        with pytest.raises(CorruptHint):
            ListClient(manifest, wrong_hint, wrong_stash)
    client = ListClient(manifest, hint, stash)
    client.save(tmp_path / "cache")
    assert ListClient.load(tmp_path / "cache").manifest == manifest
    new = changed(version, tmp_path / "2", {KEYS[0]: b"a" * 16}, [])
    delta = bytearray((tmp_path / "2" / files.DELTA).read_bytes())
    with pytest.raises(CorruptHint):
        ListClient.load(tmp_path / "2").updated(new, bytes(delta))
    delta[-40] ^= 1
    with pytest.raises((CorruptHint, MalformedMessage)):
        client.updated(new, bytes(delta))


def test_a_delta_that_points_outside_the_matrix_is_refused(version: Path, tmp_path: Path) -> None:
    new = changed(version, tmp_path / "2", {KEYS[0]: b"a" * 16}, [])
    delta = files.Delta.decode((tmp_path / "2" / files.DELTA).read_bytes(), new.shape)
    for name, value in (("slot_columns", 2**20), ("slots", new.shape.capacity), ("bins", -1)):
        wrong = files.Delta(**{**vars(delta), name: np.full_like(getattr(delta, name), value)})
        if len(getattr(delta, name)):
            with pytest.raises(MalformedMessage, match="below"):
                ListClient.load(version).updated(new, wrong.encode())


def test_a_damaged_matrix_or_a_matrix_of_another_version_is_no_miss(version: Path, tmp_path: Path) -> None:
    client = ListClient.load(version)
    changed(version, tmp_path / "2", dict.fromkeys(KEYS, b"a" * 16), [])
    server = ListServer(tmp_path / "2", KEY)
    server.manifest = client.manifest
    with pytest.raises(CorruptAnswer):
        look_up(server, client, MISSES)


def test_another_server_key_is_no_miss(version: Path) -> None:
    client, server = ListClient.load(version), ListServer(version, KEY)
    other = rfc9497.derive_key(SecretBytes(b"\6" * 32), b"blacklist 1")
    server._key = other
    with pytest.raises(InvalidProof):
        look_up(server, client, KEYS[:1])
    with pytest.raises(InvalidInput, match="another key"):
        ListServer(version, other)


def test_a_stale_client_is_told_so(version: Path, tmp_path: Path) -> None:
    client = ListClient.load(version)
    changed(version, tmp_path / "2", {KEYS[0]: b"a" * 16}, [])
    server = ListServer(tmp_path / "2", KEY)
    ends = outcomes(
        lambda channel: keyword.client(channel, client, KEYS[:1], rng()),
        lambda channel: keyword.server(channel, server, rng()),
    )
    assert isinstance(ends[1], StaleVersion)
    assert ends[1].number == 2
    assert isinstance(ends[0], PeerAborted)
    assert ends[0].reason == StaleVersion.code


def test_numbers_of_keys_are_limited(version: Path) -> None:
    client, manifest = ListClient.load(version), files.read_manifest(version)
    for keys in ([], [b"x"] * (MAX_KEYS + 1)):
        with pytest.raises(InvalidInput, match="1 to 10000 keys"):
            client.blind(keys, rng())
    for count in (0, MAX_KEYS + 1):
        with pytest.raises(MalformedMessage, match="1 to 10000 rows"):
            BlindedKeys.decode(BlindedKeys(manifest.digest, bytes(32 * count)).encode(), manifest)


@pytest.mark.parametrize("element", [bytes(32), b"\xff" * 32, b"\1" + bytes(31)])
def test_blinded_keys_that_are_no_elements_are_refused(version: Path, element: bytes) -> None:
    server = ListServer(version, KEY)
    request = BlindedKeys.decode(BlindedKeys(server.manifest.digest, element).encode(), server.manifest)
    with pytest.raises(MalformedMessage):
        server.evaluate(request, rng())


def test_messages_of_wrong_sizes_are_refused(version: Path) -> None:
    manifest = files.read_manifest(version)
    shape = manifest.shape
    queries = Queries(manifest.digest, np.zeros((2, shape.columns), dtype=np.uint32)).encode()
    answers = Answers(np.zeros((2, shape.rows), dtype=np.uint16)).encode()
    assert Queries.decode(queries, manifest, 2).vectors.shape == (2, shape.columns)
    for count in (1, 3):
        with pytest.raises(MalformedMessage):
            Queries.decode(queries, manifest, count)
        with pytest.raises(MalformedMessage):
            Answers.decode(answers, manifest, count)
        with pytest.raises(MalformedMessage):
            EvaluatedKeys.decode(EvaluatedKeys(bytes(64), bytes(64)).encode(), count)
    wide = Queries(manifest.digest, np.zeros((2, shape.columns + 1), dtype=np.uint32)).encode()
    for wrong in (wide, queries[:-1], queries + b"\0", wire.encode_uint64(1)):
        with pytest.raises(MalformedMessage):
            Queries.decode(wrong, manifest)


def test_what_clients_hold_shows_nothing(version: Path) -> None:
    client, server = ListClient.load(version), ListServer(version, KEY)
    blinding, request = client.blind(KEYS[:2], rng())
    labels = client.labels(blinding, server.evaluate(request, rng()))
    pending, _ = client.query(labels, rng())
    for value in (blinding, labels, labels[:1], pending, client.prepare(1, rng()), KEY):
        assert "not shown" in repr(value)
        with pytest.raises(MpcError):
            value.__reduce_ex__(2)
