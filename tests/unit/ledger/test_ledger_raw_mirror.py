"""The mirror protocol: uploads whole, in parts, interrupted, by two at once, and false ones."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, update

from ledger.checkpoints import Checkpoint, Cosigner, cosigners
from ledger.errors import MalformedNote, NotPublished, StaleHead, StoreCorrupt, StoreUnavailable
from ledger.keys import SigningKey
from ledger.merkle import EMPTY_ROOT, Tree, leaf_hash, root_of
from ledger.mirror_store import SqlMirrorStore
from ledger.notes import ED25519, Note, Vkey, sign
from ledger.raw_mirror import RawMirror, Standing
from ledger.schema import MIRRORED, MIRRORED_TILES
from ledger.store import LedgerStore
from ledger.testing import ManualClock, throw_away_engine
from ledger.tiles import decode_entries
from ledger.uploads import MirrorInfo, Package, UploadHeader, encode_upload
from ledger.witness import AddCheckpoint, Answer, Witness, parse_lines

ORIGIN = "example.org/log"
KEY = SigningKey.from_seed(bytes([1] * 32))
LOG = Vkey(ORIGIN, ED25519, KEY.public)
WITNESS = Cosigner("m.example/witness", SigningKey.from_seed(bytes([2] * 32)))
MIRROR = Cosigner("m.example/mirror", SigningKey.from_seed(bytes([3] * 32)))
ENTRIES = [b"entry %d" % index for index in range(900)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
TREE = Tree(LEAVES)


def hash_of(start: int, end: int) -> bytes:
    return root_of(LEAVES[start:end])


def logs(origin: str) -> list[Vkey]:
    return [LOG] if origin == ORIGIN else []


class Held:
    """A mirror with its witness over one database."""

    def __init__(self, engine: Engine, store: SqlMirrorStore | None = None) -> None:
        self.engine, self.clock = engine, ManualClock()
        self.store = store or SqlMirrorStore(engine)
        self.witness = Witness(self.store, logs, [WITNESS], self.clock)
        self.mirror = RawMirror(self.store, logs, [MIRROR], self.clock)
        self._known = 0

    def pend(self, size: int) -> None:
        text = Checkpoint(ORIGIN, size, TREE.root(size)).encode()
        note = Note(text, (sign(text, ORIGIN, KEY),))
        proof = TREE.consistency_proof(self._known, size)
        body = AddCheckpoint(self._known, tuple(proof), note.encode()).encode()
        assert self.witness.add_checkpoint(body).status == 200
        self._known = size

    def send(self, body: bytes) -> Answer:
        return self.mirror.add_entries(io.BytesIO(body).read)

    def upload(self, start: int, end: int, packages: int = 32, origin: str = ORIGIN) -> Answer:
        return self.send(upload(start, end, packages, origin))

    @property
    def standing(self) -> Standing:
        return self.mirror.standing(ORIGIN)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with throw_away_engine(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def held(engine: Engine) -> Held:
    return Held(engine)


def upload(start: int, end: int, packages: int = 32, origin: str = ORIGIN) -> bytes:
    header = UploadHeader(origin, start, end)
    return encode_upload(header, lambda low, high: ENTRIES[low:high], hash_of, max_packages=packages)


def check_whole(held: Held, size: int) -> None:
    """Everything below ``size`` is served, and the mirror checkpoint is cosigned."""
    note = Note.parse(held.mirror.checkpoint(ORIGIN))
    assert note.text == Checkpoint(ORIGIN, size, TREE.root(size)).encode()
    assert list(cosigners(note, [MIRROR.vkey])) == [MIRROR.vkey]
    assert any(line.is_by(LOG) for line in note.signatures)
    assert held.standing.size == size
    for number in range(-(-size // 256)):
        width = min(256, size - 256 * number)
        bundle = decode_entries(held.mirror.entry_bundle(ORIGIN, number, width))
        assert bundle == ENTRIES[256 * number : 256 * number + width]
        assert held.mirror.tile(ORIGIN, 0, number, width) == b"".join(LEAVES[256 * number :][:width])
    if full := size // 256:
        assert held.mirror.tile(ORIGIN, 1, 0, full) == b"".join(
            hash_of(256 * number, 256 * number + 256) for number in range(full)
        )


def check_cosigned(answer: Answer, size: int) -> None:
    assert answer.status == 200
    text = Checkpoint(ORIGIN, size, TREE.root(size)).encode()
    assert list(cosigners(Note(text, tuple(parse_lines(answer.body))), [MIRROR.vkey])) == [MIRROR.vkey]


def info(answer: Answer, status: int = 202) -> MirrorInfo:
    assert (answer.status, answer.media) == (status, "text/x.tlog.mirror-info")
    return MirrorInfo.parse(answer.body)


@pytest.mark.parametrize("sizes", [(1,), (256,), (257,), (900,), (3, 256, 300, 512, 899, 900)])
def test_a_log_grows_on_the_mirror(held: Held, sizes: tuple[int, ...]) -> None:
    start = 0
    for size in sizes:
        held.pend(size)
        check_cosigned(held.upload(start, size), size)
        check_whole(held, size)
        start = size


def test_a_deep_log_has_the_tiles_of_every_level(held: Held) -> None:
    for size in (300, 600, 900):
        held.pend(size)
        check_cosigned(held.upload(held.standing.next, size), size)
    for start, stop in [(0, 900), (256, 512), (512, 900), (768, 896), (3, 4), (0, 0)]:
        assert held.mirror.hash_of(ORIGIN, start, stop) == (hash_of(start, stop) if stop else EMPTY_ROOT)


def test_an_upload_in_parts_goes_on_where_it_stands(held: Held) -> None:
    held.pend(900)
    assert info(held.upload(0, 900, packages=2)) == MirrorInfo(900, 512)
    assert held.standing == Standing(512, 0, None)
    with pytest.raises(NotPublished):
        held.mirror.checkpoint(ORIGIN)
    assert info(held.upload(512, 900, packages=1)) == MirrorInfo(900, 768)
    check_cosigned(held.upload(768, 900), 900)
    check_whole(held, 900)


def test_an_interrupted_upload_keeps_whole_packages(held: Held) -> None:
    held.pend(900)
    body = upload(0, 900)
    one = len(upload(0, 900, packages=1))
    assert info(held.send(body[: one + 100])).next == 256
    assert info(held.send(upload(0, 900)[: one + 1000])).next == 256  # again, what is here already
    assert held.send(body[: one - 1]).status == 400
    assert held.standing.next == 256
    check_cosigned(held.upload(256, 900), 900)


def test_an_older_pending_checkpoint_can_be_completed(held: Held) -> None:
    held.pend(300)
    held.pend(700)
    check_cosigned(held.upload(0, 300), 300)
    held.pend(800)
    check_cosigned(held.upload(300, 700), 700)
    answer = held.upload(200, 300)
    assert info(answer, 409) == MirrorInfo(800, 700)
    check_whole(held, 700)


def test_the_mirror_checkpoint_is_cosigned_again(held: Held) -> None:
    held.pend(300)
    held.upload(0, 300)
    held.clock.advance(60)
    check_cosigned(held.upload(300, 300), 300)
    check_cosigned(held.upload(200, 300), 300)
    note = Note.parse(held.mirror.checkpoint(ORIGIN))
    assert sum(line.is_by(MIRROR.vkey) for line in note.signatures) == 1


def test_the_mirror_checkpoint_stays_valid_when_many_are_pending(held: Held) -> None:
    held.pend(300)
    held.upload(0, 300)
    for size in range(301, 330):
        held.pend(size)
    assert len(held.store.pending(ORIGIN)) == 16
    check_cosigned(held.upload(300, 300), 300)
    assert info(held.upload(300, 305), 409).size == 329
    check_cosigned(held.upload(300, 329), 329)


def test_an_empty_log_is_mirrored(held: Held) -> None:
    held.pend(0)
    check_cosigned(held.upload(0, 0), 0)


def test_refusals(held: Held) -> None:
    assert held.upload(0, 300).status == 422
    held.pend(300)
    assert held.upload(0, 300, origin="example.org/other").status == 404
    assert info(held.upload(0, 299), 409) == MirrorInfo(300, 0)
    assert info(held.upload(1, 300), 409) == MirrorInfo(300, 0)
    assert held.send(UploadHeader(ORIGIN, 0, 300).encode()).status == 400
    held.upload(0, 300)
    assert held.witness.latest("example.org/other") is None


def test_too_much_again_is_refused(engine: Engine) -> None:
    entries = [b"%d" % index for index in range(9000)]
    leaves = [leaf_hash(entry) for entry in entries]
    tree = Tree(leaves)
    held = Held(engine)
    text = Checkpoint(ORIGIN, 9000, tree.root()).encode()
    held.witness.add_checkpoint(
        AddCheckpoint(0, (), Note(text, (sign(text, ORIGIN, KEY),)).encode()).encode()
    )

    def body(start: int) -> bytes:
        header = UploadHeader(ORIGIN, start, 9000)
        return encode_upload(
            header, lambda a, b: entries[a:b], lambda a, b: tree_hash(a, b), max_bytes=1 << 30
        )

    def tree_hash(start: int, stop: int) -> bytes:
        return root_of(leaves[start:stop])

    assert info(held.send(body(0))).next == 8192
    assert held.send(body(8192)).status == 200
    assert info(held.send(body(0)), 409).next == 9000


@pytest.mark.parametrize(
    "change",
    [
        lambda package: replace(package, entries=(b"forged", *package.entries[1:])),
        lambda package: replace(package, entries=(*package.entries[1:], package.entries[0])),
        lambda package: replace(package, proof=package.proof[1:]),
        lambda package: replace(package, proof=(*package.proof, bytes(32))),
        lambda package: replace(package, proof=(bytes(32), *package.proof[1:])),
    ],
)
def test_entries_that_are_not_the_logs_are_refused(held: Held, change: Callable[[Package], Package]) -> None:
    held.pend(600)
    body = upload(0, 600)
    header = UploadHeader(ORIGIN, 0, 600).encode()
    stream = io.BytesIO(body[len(header) :])
    good = [Package.read(stream.read, count) for count in (256, 256, 88)]
    answer = held.send(header + good[0].encode() + change(good[1]).encode() + good[2].encode())
    assert answer.status == 422
    assert held.standing == Standing(256, 0, None)
    assert held.send(header + change(good[0]).encode()).status == 422


def test_a_proof_with_too_many_hashes_is_malformed(held: Held) -> None:
    held.pend(1)
    body = UploadHeader(ORIGIN, 0, 1).encode() + Package((ENTRIES[0],), (bytes(32),) * 64).encode()
    assert held.send(body).status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\x00\x02\xff\xff" + bytes(18),
        b"\x00\x01x" + bytes(15),
        b"\x00\x01x" + (5).to_bytes(8, "big") + (4).to_bytes(8, "big") + b"\x00\x00",
        b"\x00\x01x" + bytes(8) + (1 << 63).to_bytes(8, "big") + b"\x00\x00",
        b"\x00\x01x" + bytes(16) + b"\x00\x05ab",
    ],
)
def test_malformed_headers(held: Held, body: bytes) -> None:
    assert held.send(body).status == 400


def test_two_uploads_of_the_same_entries_interleave(engine: Engine) -> None:
    """Another upload stores the same package while ours is being checked."""

    class Overtaken(SqlMirrorStore):
        times = 1

        def extend(self, origin: str, next_: int, count: int, tiles: dict[tuple[int, int], bytes]) -> None:
            if self.times:
                self.times -= 1
                super().extend(origin, next_, count, tiles)
            super().extend(origin, next_, count, tiles)

    held = Held(engine, Overtaken(engine))
    held.pend(600)
    check_cosigned(held.upload(0, 600), 600)
    check_whole(held, 600)


def test_an_upload_that_is_always_overtaken_gives_up(engine: Engine) -> None:
    class Stale(SqlMirrorStore):
        def extend(self, origin: str, next_: int, count: int, tiles: dict[tuple[int, int], bytes]) -> None:
            raise StaleHead("another upload")

    held = Held(engine, Stale(engine))
    held.pend(600)
    with pytest.raises(StoreUnavailable):
        held.upload(0, 600)


def test_a_larger_mirror_checkpoint_is_never_taken_back(engine: Engine) -> None:
    class Overtaken(SqlMirrorStore):
        def publish(self, origin: str, old: int, size: int, note: bytes) -> None:
            if size == 300:
                super().publish(origin, old, 600, b"larger")
            super().publish(origin, old, size, note)

    held = Held(engine, Overtaken(engine))
    held.pend(300)
    held.pend(600)
    assert info(held.upload(0, 600, packages=3 - 1)).next == 512
    with LedgerStore(engine).transaction() as connection:
        connection.execute(update(MIRRORED).values(next=600))
    assert info(held.upload(256, 300), 409) == MirrorInfo(600, 600)
    assert held.standing.size == 600


def test_nothing_is_cosigned_over_damaged_tiles(held: Held) -> None:
    held.pend(300)
    held.upload(0, 300)
    held.pend(600)
    with LedgerStore(held.engine).transaction() as connection:
        connection.execute(update(MIRRORED_TILES).where(MIRRORED_TILES.c.level == 1).values(data=bytes(32)))
    with pytest.raises(StoreCorrupt, match="root"):
        held.upload(300, 600)
    with LedgerStore(held.engine).transaction() as connection:
        connection.execute(delete(MIRRORED_TILES).where(MIRRORED_TILES.c.level == 1))
    with pytest.raises(StoreCorrupt, match="in tile 0 of level 1"):
        held.mirror.hash_of(ORIGIN, 0, 256)
    with LedgerStore(held.engine).transaction() as connection:
        connection.execute(delete(MIRRORED_TILES))
        connection.execute(update(MIRRORED).values(next=300))
    with pytest.raises(StoreCorrupt, match="44 leaves"):
        held.upload(300, 600)


def test_what_is_not_here_is_not_served(held: Held) -> None:
    held.pend(300)
    held.upload(0, 300)
    for call in (
        lambda: held.mirror.tile(ORIGIN, 0, 1, 45),
        lambda: held.mirror.tile(ORIGIN, 0, 0, 257),
        lambda: held.mirror.tile(ORIGIN, 0, 0, 0),
        lambda: held.mirror.tile(ORIGIN, -1, 0, 1),
        lambda: held.mirror.tile(ORIGIN, 5, 0, 1),
        lambda: held.mirror.entry_bundle(ORIGIN, 1, 45),
        lambda: held.mirror.entry_bundle(ORIGIN, 0, 0),
        lambda: held.mirror.entry_bundle("other", 0, 1),
        lambda: held.mirror.checkpoint("other"),
    ):
        with pytest.raises(NotPublished):
            call()


def test_the_bytes_of_the_interim_answers() -> None:
    assert MirrorInfo(5, 3, b"\x01").encode() == b"5\n3\nAQ==\n"
    for value in (MirrorInfo(0, 0), MirrorInfo(5, 3, b"ticket")):
        assert MirrorInfo.parse(value.encode()) == value
    for body in (b"", b"5\n3\n", b"5\n3\n\n\n", b"05\n3\n\n", b"5\n-3\n\n", b"5\n3\n%\n", b"5\n3\nAQ=\n",
                 b"5\n3\nAR==\n", b"5\n9223372036854775808\n\n", b"5\n3\n\xff\n"):  # fmt: skip
        with pytest.raises(MalformedNote):
            MirrorInfo.parse(body)


def test_intervals_are_cut_at_multiples_of_256() -> None:
    spans = list(UploadHeader(ORIGIN, 250, 600).spans())
    assert [(span.tree_start, span.start, span.end) for span in spans] == [
        (0, 250, 256),
        (256, 256, 512),
        (512, 512, 600),
    ]
    assert list(UploadHeader(ORIGIN, 256, 256).spans()) == []


def test_requests_are_bounded() -> None:
    header = UploadHeader(ORIGIN, 0, 900)
    whole = encode_upload(header, lambda a, b: ENTRIES[a:b], hash_of)
    small = encode_upload(header, lambda a, b: ENTRIES[a:b], hash_of, max_bytes=len(header.encode()) + 1)
    assert whole.startswith(small)
    assert small == upload(0, 900, packages=1)
