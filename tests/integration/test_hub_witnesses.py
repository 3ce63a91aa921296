"""A hub, outside witnesses and mirrors, over real TLS: what goes out, what comes back, what is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from exchange.config import hub_settings, witness_settings
from exchange.errors import Conflict, InvalidRequest
from exchange.hub import setup as hub_setup
from exchange.hub.daemon import Hub
from exchange.hub.testing import PASSPHRASE, Founded, found
from exchange.keyfile import Cost
from exchange.local.processes import free_ports
from exchange.tls import client_context
from exchange.witness import setup
from exchange.witness.daemon import WitnessDaemon
from exchange.witness.keys import WitnessKeys
from ledger import base64url
from ledger.checkpoints import Checkpoint, cosigners, open_checkpoint
from ledger.merkle import leaf_hash, root_of
from ledger.notes import Note, Vkey, sign
from ledger.tiles import decode_entries, tile_path
from ledger.uploads import MirrorInfo, UploadHeader, encode_upload
from ledger.witness import AddCheckpoint, parse_lines

CHEAP = Cost(1, 64 * 1024)
ORIGIN = "hub.example/log"
HASHED = hashlib.sha256(ORIGIN.encode()).hexdigest()
LONG_S = 20


def eventually(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not fact():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class Outside:
    """A witness in this process, on a free port that stays the same when it restarts."""

    def __init__(self, directory: Path, name: str, *, mirror: bool) -> None:
        self.directory = directory
        self.record = setup.init(
            directory,
            name=name,
            bind="127.0.0.1:7009",
            host="127.0.0.1",
            mirror=mirror,
            passphrase=PASSPHRASE,
            cost=CHEAP,
        )
        self.keys = WitnessKeys.load(directory / "keys", PASSPHRASE)
        [self.port] = free_ports(1)
        self.start()

    def start(self) -> None:
        settings = replace(witness_settings(self.directory, {}), bind=f"127.0.0.1:{self.port}")
        self.daemon = WitnessDaemon(settings, self.keys)
        self.daemon.start()
        self.http = httpx.Client(
            base_url=self.url, verify=client_context(None, None, self.keys.tls_cert), trust_env=False
        )

    def stop(self) -> None:
        self.http.close()
        self.daemon.stop()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def vkeys(self, kind: str) -> list[Vkey]:
        return [Vkey.parse(text) for text in self.record[kind]]


@pytest.fixture
def founded(tmp_path: Path) -> Founded:
    return found(tmp_path / "hub", "lender", "bureau")


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Callable[..., Outside]]:
    with ExitStack() as stack:

        def make(name: str = "witness.example", *, mirror: bool = False) -> Outside:
            made = Outside(tmp_path / name, name, mirror=mirror)
            stack.callback(made.stop)
            return made

        yield make


def run_hub(founded: Founded, *outsides: Outside) -> Hub:
    """Let the hub know these witnesses, and start it."""
    for one in outsides:
        hub_setup.add_witness(founded.settings.directory, one.record, one.url)
    known = hub_settings(founded.settings.directory, {})
    settings = replace(founded.settings, witnesses=known.witnesses, mirrors=known.mirrors)
    return replace(founded, settings=settings).hub()


def log_vkey(founded: Founded) -> Vkey:
    return hub_setup.log_vkey(founded.hub_keys, ORIGIN)


def fill(founded: Founded, hub: Hub, count: int) -> None:
    """Sequence some entries and make them final."""
    lender = founded.members["lender"]
    for number in range(count):
        body = {"member": lender.did, "endpoint": f"127.0.0.1:{9000 + number}"}
        hub.services.log.submit(founded.entry("lender", "member.update", body))
    founded.cosign(hub, "lender", "bureau")


def sizes(hub: Hub) -> list[int]:
    return [status.size for status in hub.services.witnesses.status()]


def test_final_checkpoints_come_back_cosigned(founded: Founded, outside: Callable[..., Outside]) -> None:
    witness = outside()
    setup.add(witness.directory, log_vkey(founded).encode(), "https://hub.example/")
    with run_hub(founded, witness) as hub:
        for _ in range(2):
            fill(founded, hub, 2)
            final = hub.services.log.final_size
            eventually(lambda: sizes(hub) == [hub.services.log.final_size])
            lender = founded.connect(hub, "lender")
            raw = lender.checkpoint()
            checkpoint, note = open_checkpoint(raw, log_vkey(founded))
            assert checkpoint.size == final
            assert set(cosigners(note, witness.vkeys("witness"))) == set(witness.vkeys("witness"))
            assert lender.checkpoint(known=(0, 0)) == raw
            lender.close()
        shown = witness.http.get(f"/{HASHED}/checkpoint")
        assert shown.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert shown.headers["Cache-Control"] == "no-store"
        seen = Note.parse(shown.content)
        assert seen.text == note.text
        assert len(cosigners(seen, witness.vkeys("witness"))) == 2
        about = witness.http.get("/").json()
        assert about["logs"] == [
            {"origin": ORIGIN, "hash": HASHED, "cosigned": final, "mirrored": None, "next": None}
        ]
    with run_hub(founded) as hub:  # without witnesses in the settings nothing is added
        assert not cosigners(Note.parse(hub.services.witnesses.signed(hub.services.log.checkpoint())), [])


def test_a_mirror_holds_every_entry(founded: Founded, outside: Callable[..., Outside]) -> None:
    mirror = outside("mirror.example", mirror=True)
    setup.add(mirror.directory, log_vkey(founded).encode())
    with run_hub(founded, mirror) as hub:
        assert [status.kind for status in hub.services.witnesses.status()] == ["witness", "mirror"]
        for _ in range(2):
            fill(founded, hub, 3)
            size = hub.services.log.final_size
            eventually(lambda: sizes(hub) == [hub.services.log.final_size] * 2)
            checkpoint, note = open_checkpoint(
                mirror.http.get(f"/mirror/{HASHED}/checkpoint").content, log_vkey(founded)
            )
            assert checkpoint.size == size
            assert len(cosigners(note, mirror.vkeys("mirror"))) == 2
            answer = mirror.http.get(f"/mirror/{HASHED}/tile/entries/{tile_path(0, size)}")
            assert answer.headers["Content-Encoding"] == "gzip"
            entries = decode_entries(answer.content)
            assert entries[0] == founded.genesis
            assert root_of([leaf_hash(entry) for entry in entries]) == checkpoint.root
            tile = mirror.http.get(f"/mirror/{HASHED}/tile/0/{tile_path(0, size)}")
            assert tile.content == b"".join(leaf_hash(entry) for entry in entries)
            assert "immutable" in tile.headers["Cache-Control"]
        lines = hub.services.witnesses.signed(hub.services.log.checkpoint())
        assert len(cosigners(Note.parse(lines), mirror.vkeys("witness") + mirror.vkeys("mirror"))) == 4
        assert mirror.http.get("/").json()["logs"][0]["mirrored"] == size


def test_a_witness_that_was_away_catches_up(founded: Founded, outside: Callable[..., Outside]) -> None:
    witness, mirror = outside(), outside("mirror.example", mirror=True)
    for one in (witness, mirror):
        setup.add(one.directory, log_vkey(founded).encode())
    with run_hub(founded, witness, mirror) as hub:
        fill(founded, hub, 2)
        eventually(lambda: sizes(hub) == [hub.services.log.final_size] * 3)
        witness.stop()
        mirror.stop()
        fill(founded, hub, 3)
        eventually(lambda: all(status.problem for status in hub.services.witnesses.status()))
        assert {status.problem for status in hub.services.witnesses.status()} == {"copy.unreachable"}
        witness.start()
        mirror.start()
        eventually(lambda: sizes(hub) == [hub.services.log.final_size] * 3)
        assert not any(status.problem for status in hub.services.witnesses.status())


def test_a_restarted_hub_finds_out_where_its_witnesses_are(
    founded: Founded, outside: Callable[..., Outside]
) -> None:
    mirror = outside("mirror.example", mirror=True)
    setup.add(mirror.directory, log_vkey(founded).encode())
    with run_hub(founded, mirror) as hub:
        fill(founded, hub, 2)
        eventually(lambda: sizes(hub) == [hub.services.log.final_size] * 2)
        settings = hub.services.settings
    with replace(founded, settings=settings).hub() as hub:
        fill(founded, hub, 2)
        eventually(lambda: sizes(hub) == [hub.services.log.final_size] * 2)


def test_a_witness_that_does_not_know_the_log_refuses(
    founded: Founded, outside: Callable[..., Outside]
) -> None:
    witness = outside()
    with run_hub(founded, witness) as hub:
        fill(founded, hub, 1)
        eventually(lambda: hub.services.witnesses.status()[0].problem == "copy.refused")
        # the log is made known while the witness runs
        setup.add(witness.directory, log_vkey(founded).encode())
        eventually(lambda: sizes(hub) == [hub.services.log.final_size])
        with pytest.raises(Conflict):
            setup.add(witness.directory, log_vkey(founded).encode())


def test_a_hub_that_rewrote_its_log_gets_no_cosignature(
    founded: Founded, outside: Callable[..., Outside], tmp_path: Path
) -> None:
    """The hub's operator forges another history with the true keys; the outside witness remembers."""
    witness = outside()
    setup.add(witness.directory, log_vkey(founded).encode())
    with run_hub(founded, witness) as hub:
        fill(founded, hub, 4)
        eventually(lambda: sizes(hub) == [hub.services.log.final_size])
        settings = hub.services.settings
    forged = replace(settings, database=f"sqlite:///{tmp_path}/forged.sqlite")
    with replace(founded, settings=forged).hub() as hub:
        fill(founded, hub, 5)
        eventually(lambda: hub.services.witnesses.status()[0].problem == "copy.refused")
        assert sizes(hub) == [0]


def test_a_copy_with_other_keys_is_not_believed(founded: Founded, outside: Callable[..., Outside]) -> None:
    witness, stranger = outside(), outside("stranger.example")
    setup.add(witness.directory, log_vkey(founded).encode())
    record = {**witness.record, "witness": stranger.record["witness"]}
    hub_setup.add_witness(founded.settings.directory, record, witness.url)
    with run_hub(founded) as hub:
        fill(founded, hub, 1)
        eventually(lambda: hub.services.witnesses.status()[0].problem == "copy.unreachable")
        assert hub.services.witnesses.signed(note := hub.services.log.checkpoint()) == note


def test_another_certificate_is_not_connected_to(founded: Founded, outside: Callable[..., Outside]) -> None:
    witness, stranger = outside(), outside("stranger.example")
    setup.add(witness.directory, log_vkey(founded).encode())
    record = {**witness.record, "tls": stranger.record["tls"]}
    hub_setup.add_witness(founded.settings.directory, record, witness.url)
    with run_hub(founded) as hub:
        fill(founded, hub, 1)
        eventually(lambda: hub.services.witnesses.status()[0].problem == "copy.unreachable")
        assert witness.daemon.services.witness.latest(ORIGIN) is None


# the protocols over HTTP, without a hub


def post(one: Outside, path: str, body: bytes, **headers: str) -> httpx.Response:
    kind = "application/octet-stream" if path == "/add-entries" else "text/plain"
    return one.http.post(path, content=body, headers={"Content-Type": kind, **headers})


def checkpoint_of(founded: Founded, entries: list[bytes]) -> bytes:
    root = root_of([leaf_hash(entry) for entry in entries])
    text = Checkpoint(ORIGIN, len(entries), root).encode()
    return Note(text, (sign(text, ORIGIN, founded.hub_keys.cosign),)).encode()


def test_statuses_and_media_types(founded: Founded, outside: Callable[..., Outside]) -> None:
    mirror = outside("mirror.example", mirror=True)
    note = checkpoint_of(founded, [b"one"])
    assert post(mirror, "/add-checkpoint", AddCheckpoint(0, (), note).encode()).status_code == 404
    assert mirror.http.get(f"/{HASHED}/checkpoint").status_code == 404
    setup.add(mirror.directory, log_vkey(founded).encode())
    assert mirror.http.get(f"/{HASHED}/checkpoint").status_code == 404
    assert mirror.http.get(f"/mirror/{HASHED}/checkpoint").status_code == 404
    assert mirror.http.get(f"/mirror/{HASHED}/tile/0/000.p/1").status_code == 404
    upload = UploadHeader(ORIGIN, 0, 1).encode() + b"\x00\x03one\x00"
    assert post(mirror, "/add-entries", upload).status_code == 422
    stale = post(mirror, "/add-checkpoint", AddCheckpoint(1, (), note).encode())
    assert (stale.status_code, stale.content) == (409, b"0\n")
    assert stale.headers["Content-Type"] == "text/x.tlog.size"
    good = post(mirror, "/add-checkpoint", AddCheckpoint(0, (), note).encode())
    assert good.status_code == 200
    assert len(parse_lines(good.content)) == 2
    ahead = post(mirror, "/add-entries", UploadHeader(ORIGIN, 0, 2).encode())
    assert (ahead.status_code, MirrorInfo.parse(ahead.content)) == (409, MirrorInfo(1, 0))
    assert ahead.headers["Content-Type"] == "text/x.tlog.mirror-info"
    assert ahead.headers["Accept-Encoding"] == "gzip"
    assert post(mirror, "/add-entries", upload[:-1]).status_code == 400
    assert post(mirror, "/add-entries", upload, **{"Content-Type": "text/plain"}).status_code == 415
    assert post(mirror, "/add-entries", upload, **{"Content-Encoding": "br"}).status_code == 415
    done = post(mirror, "/add-entries", upload)
    assert done.status_code == 200
    assert (
        len(cosigners(Note(Note.parse(note).text, tuple(parse_lines(done.content))), mirror.vkeys("mirror")))
        == 2
    )
    assert mirror.http.get(f"/mirror/{HASHED}/tile/00/000.p/1").status_code == 404
    assert mirror.http.get(f"/mirror/{HASHED}/tile/entries/000.p/1").content == b"\x00\x03one"
    assert mirror.http.get("/healthz").json() == {"healthy": True}
    assert mirror.http.get("/openapi.json").json()["openapi"] == "3.1.0"


def test_a_witness_that_is_no_mirror_takes_no_entries(outside: Callable[..., Outside]) -> None:
    witness = outside()
    assert post(witness, "/add-entries", b"").status_code in (404, 405)
    assert witness.http.get(f"/mirror/{HASHED}/checkpoint").status_code == 404


def test_compressed_uploads(founded: Founded, outside: Callable[..., Outside]) -> None:
    mirror = outside("mirror.example", mirror=True)
    setup.add(mirror.directory, log_vkey(founded).encode())
    entries = [secrets.token_bytes(500) for _ in range(300)]
    post(mirror, "/add-checkpoint", AddCheckpoint(0, (), checkpoint_of(founded, entries)).encode())
    leaves = [leaf_hash(entry) for entry in entries]
    body = encode_upload(
        UploadHeader(ORIGIN, 0, 300), lambda a, b: entries[a:b], lambda a, b: root_of(leaves[a:b])
    )
    packed = gzip.compress(body)
    gzipped = {"Content-Encoding": "gzip"}
    assert post(mirror, "/add-entries", b"no gzip", **gzipped).status_code == 400
    assert post(mirror, "/add-entries", packed[: len(packed) // 9], **gzipped).status_code == 400
    part = post(mirror, "/add-entries", packed[:-2000], **gzipped)
    assert (part.status_code, MirrorInfo.parse(part.content).next) == (202, 256)
    assert post(mirror, "/add-entries", packed, **gzipped).status_code == 200


def test_bodies_beyond_the_limit_are_not_read(outside: Callable[..., Outside]) -> None:
    assert post(outside(), "/add-checkpoint", bytes(600_000)).status_code == 413


def test_a_connection_stays_in_step_after_a_body_that_was_not_looked_at(
    founded: Founded, outside: Callable[..., Outside]
) -> None:
    mirror = outside("mirror.example", mirror=True)
    body = UploadHeader("unknown", 0, 5).encode() + bytes(3_000_000)
    for _ in range(3):
        assert post(mirror, "/add-entries", body).status_code == 404
    assert mirror.http.get("/healthz").status_code == 200


def test_the_record_is_what_a_hub_needs(founded: Founded, outside: Callable[..., Outside]) -> None:
    mirror = outside("mirror.example", mirror=True)
    directory = founded.settings.directory
    stored: dict[str, Any] = json.loads((mirror.directory / "witness.json").read_text())
    assert stored == mirror.record
    assert hub_setup.add_witness(directory, mirror.record) == ("witness", "mirror")
    settings = hub_settings(directory, {})
    (witness,), (kept,) = settings.witnesses, settings.mirrors
    assert witness.url == "https://127.0.0.1:7009"
    assert base64url.encode(kept.certificate) == mirror.record["tls"]
    assert [vkey.encode() for vkey in kept.vkeys] == mirror.record["mirror"]
    with pytest.raises(Conflict):
        hub_setup.add_witness(directory, mirror.record)
    with pytest.raises(InvalidRequest):
        hub_setup.add_witness(directory, {"url": "https://x:1"})
    with pytest.raises(InvalidRequest):
        setup.add(mirror.directory, "no vkey")
    with pytest.raises(Conflict):
        setup.init(mirror.directory, name="x", bind="127.0.0.1:1", host="h", mirror=False, passphrase="p")
