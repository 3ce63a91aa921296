"""The witness protocol: every outcome, on both databases."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from ledger.checkpoints import Checkpoint, Cosigner, cosigners
from ledger.errors import MalformedNote, StaleHead, StoreCorrupt
from ledger.keys import SigningKey
from ledger.merkle import EMPTY_ROOT, Tree, leaf_hash
from ledger.mldsa import MlDsaKey
from ledger.notes import ED25519, Note, NoteSignature, Vkey, sign
from ledger.schema import WITNESSED
from ledger.store import LedgerStore
from ledger.testing import ManualClock, throw_away_engine
from ledger.witness import AddCheckpoint, Answer, Seen, Witness, parse_lines
from ledger.witness_store import SqlWitnessStore

ORIGIN = "example.org/log"
LOG_KEY, OLD_KEY = SigningKey.from_seed(bytes([1] * 32)), SigningKey.from_seed(bytes([2] * 32))
LOGS = [Vkey(ORIGIN, ED25519, key.public) for key in (LOG_KEY, OLD_KEY)]
PLAIN = Cosigner("witness.example/w1", SigningKey.from_seed(bytes([3] * 32)))
STRONG = Cosigner("witness.example/w1", MlDsaKey.from_seed(bytes([4] * 32)))
TREE = Tree(leaf_hash(bytes([index])) for index in range(20))
FORK = Tree(leaf_hash(bytes([index, 1])) for index in range(20))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with throw_away_engine(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def store(engine: Engine) -> SqlWitnessStore:
    return SqlWitnessStore(engine)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def witness(store: SqlWitnessStore, clock: ManualClock) -> Witness:
    return Witness(store, lambda origin: LOGS if origin == ORIGIN else [], [PLAIN, STRONG], clock)


def note(size: int, tree: Tree = TREE, key: SigningKey = LOG_KEY, **changes: object) -> Note:
    checkpoint = replace(Checkpoint(ORIGIN, size, tree.root(size)), **changes)
    return Note(checkpoint.encode(), (sign(checkpoint.encode(), ORIGIN, key),))


def body(old: int, size: int, tree: Tree = TREE, signed: Note | None = None) -> bytes:
    proof = tree.consistency_proof(old, size) if old <= size else []
    return AddCheckpoint(old, tuple(proof), (signed or note(size, tree)).encode()).encode()


def check_cosigned(answer: Answer, size: int, time_s: int) -> None:
    lines = parse_lines(answer.body)
    signed = cosigners(Note(note(size).text, tuple(lines)), [PLAIN.vkey, STRONG.vkey])
    assert answer.status == 200
    assert answer.media.startswith("text/plain")
    assert list(signed.values()) == lines
    assert {int.from_bytes(line.payload[:8], "big") for line in lines} == {time_s}


def test_it_cosigns_what_grows(witness: Witness, store: SqlWitnessStore, clock: ManualClock) -> None:
    now = int(clock().timestamp())
    assert witness.latest(ORIGIN) is None
    for old, size in [(0, 3), (3, 8), (8, 9), (9, 20)]:
        check_cosigned(witness.add_checkpoint(body(old, size)), size, now)
    last = witness.latest(ORIGIN)
    assert last is not None
    assert (last.size, last.root) == (20, TREE.root())
    shown = Note.parse(last.note)
    assert len(shown.signatures) == 3
    assert shown.signatures[:1] == note(20).signatures
    assert list(cosigners(shown, witness.vkeys)) == [PLAIN.vkey, STRONG.vkey]
    assert store.origins() == [ORIGIN]


def test_the_same_checkpoint_is_cosigned_again(witness: Witness, clock: ManualClock) -> None:
    witness.add_checkpoint(body(0, 5))
    clock.advance(60)
    check_cosigned(witness.add_checkpoint(body(5, 5)), 5, int(clock().timestamp()))


def test_an_empty_log_is_cosigned(witness: Witness) -> None:
    assert witness.add_checkpoint(body(0, 0)).status == 200
    assert witness.add_checkpoint(body(0, 0)).status == 200
    assert witness.add_checkpoint(body(0, 4)).status == 200
    assert witness.add_checkpoint(body(0, 0)).body == b"4\n"


def test_an_empty_log_has_the_empty_root(witness: Witness) -> None:
    for root in (bytes(32), TREE.root()):
        assert witness.add_checkpoint(body(0, 0, signed=note(0, root=root))).status == 422
    assert note(0).text == Checkpoint(ORIGIN, 0, EMPTY_ROOT).encode()
    assert witness.latest(ORIGIN) is None


def test_another_old_size_is_told_the_right_one(witness: Witness) -> None:
    answer = witness.add_checkpoint(body(3, 8))
    assert answer == Answer(409, b"0\n", "text/x.tlog.size")
    witness.add_checkpoint(body(0, 8))
    for old, size in [(0, 8), (0, 9), (7, 8), (9, 10), (3, 5)]:
        assert witness.add_checkpoint(body(old, size)) == Answer(409, b"8\n", "text/x.tlog.size")


def test_another_history_is_refused(witness: Witness) -> None:
    witness.add_checkpoint(body(0, 8))
    for request in [
        body(8, 8, FORK),
        body(8, 12, FORK),
        AddCheckpoint(8, tuple(TREE.consistency_proof(8, 12)), note(12, FORK).encode()).encode(),
        AddCheckpoint(8, (), note(12).encode()).encode(),
        AddCheckpoint(8, (bytes(32),), note(8).encode()).encode(),
    ]:
        answer = witness.add_checkpoint(request)
        assert answer.status == 422
        assert b"\xe2\x80\x94" not in answer.body
    assert witness.latest(ORIGIN).root == TREE.root(8)  # type: ignore[union-attr]


def test_from_nothing_no_proof_is_taken(witness: Witness) -> None:
    assert witness.add_checkpoint(AddCheckpoint(0, (bytes(32),), note(8).encode()).encode()).status == 422


def test_an_old_size_beyond_the_checkpoint_is_malformed(witness: Witness) -> None:
    witness.add_checkpoint(body(0, 8))
    assert witness.add_checkpoint(body(8, 5)).status == 400
    assert witness.add_checkpoint(body(9, 8)).status == 400


def test_an_unknown_origin_is_not_found(witness: Witness) -> None:
    assert witness.add_checkpoint(body(0, 8, signed=note(8, origin="example.org/other"))).status == 404


def test_it_asks_for_the_logs_signature(witness: Witness) -> None:
    text = note(8).text
    forged = NoteSignature(ORIGIN, LOGS[0].id, bytes(64))
    stranger = SigningKey.from_seed(bytes([7] * 32))
    for signatures in [
        (sign(text, ORIGIN, stranger),),
        (sign(text, "example.org/lag", LOG_KEY),),
        (forged,),
        (forged, *note(8).signatures),
        (NoteSignature(ORIGIN, LOGS[0].id, b"short"),),
        (PLAIN.cosign(text, 5),),
    ]:
        assert witness.add_checkpoint(body(0, 8, signed=Note(text, signatures))).status == 403
    assert witness.latest(ORIGIN) is None


def test_signatures_by_unknown_keys_are_ignored_and_not_kept(witness: Witness) -> None:
    extra = [NoteSignature("grease", b"abcd", b"\xff"), NoteSignature(ORIGIN, b"abcd", bytes(64))]
    signed = note(8).with_signature(extra[0]).with_signature(extra[1])
    assert witness.add_checkpoint(body(0, 8, signed=signed)).status == 200
    assert not set(extra) & set(Note.parse(witness.latest(ORIGIN).note).signatures)  # type: ignore[union-attr]


def test_either_key_of_a_log_will_do(witness: Witness) -> None:
    both = note(8).with_signature(*note(8, key=OLD_KEY).signatures)
    assert witness.add_checkpoint(body(0, 4, signed=note(4, key=OLD_KEY))).status == 200
    assert witness.add_checkpoint(body(4, 8, signed=both)).status == 200
    assert len(Note.parse(witness.latest(ORIGIN).note).signatures) == 4  # type: ignore[union-attr]


def test_extension_lines_are_cosigned_as_they_are(witness: Witness) -> None:
    signed = note(8, extensions=("timestamp 5",))
    answer = witness.add_checkpoint(body(0, 8, signed=signed))
    assert len(cosigners(Note(signed.text, tuple(parse_lines(answer.body))), witness.vkeys)) == 2


GOOD = body(3, 8)


@pytest.mark.parametrize(
    "request_body",
    [
        b"",
        b"old 3\n",
        GOOD.replace(b"old 3", b"old 03"),
        GOOD.replace(b"old 3", b"old -3"),
        GOOD.replace(b"old 3", b"Old 3"),
        GOOD.replace(b"old 3", b"old  3"),
        GOOD.replace(b"old 3", b"old 9223372036854775808"),
        GOOD.replace(b"old 3\n", b"old 3\r\n"),
        GOOD.replace(b"old 3\n", b"old 3\nAAAA\n"),
        GOOD.replace(b"old 3\n", b"old 3\n" + base64.b64encode(bytes(32)) * 2 + b"\n"),
        GOOD.replace(b"old 3\n", b"old 3\n" + b"A" * 42 + b"B=\n"),
        GOOD.replace(b"old 3\n", "old 3\né\n".encode()),
        AddCheckpoint(3, (bytes(32),) * 64, note(8).encode()).encode(),
        AddCheckpoint(3, (), b"no note").encode(),
        AddCheckpoint(3, (), Note("no checkpoint\n", note(8).signatures).encode()).encode(),
        GOOD[:-1],
    ],
)
def test_malformed_requests(witness: Witness, request_body: bytes) -> None:
    assert witness.add_checkpoint(request_body).status == 400


def test_bodies_round_trip() -> None:
    for request in (AddCheckpoint(0, (), b""), AddCheckpoint.parse(GOOD)):
        assert AddCheckpoint.parse(request.encode()) == request


def test_an_answer_is_signature_lines_and_nothing_else() -> None:
    line = PLAIN.cosign(note(8).text, 5).encode().encode()
    assert len(parse_lines(line * 2)) == 2
    for other in (b"", b"\n", b"8\n", line[:-1], b"x\n\n" + line, line + b"\n" + line):
        with pytest.raises(MalformedNote):
            parse_lines(other)


class Overtaken(SqlWitnessStore):
    """Another process always moves the record first."""

    def advance(self, origin: str, old: Seen | None, new: Seen) -> None:
        size = old.size + 1 if old else 1
        super().advance(origin, old, Seen(size, TREE.root(size), new.note))
        super().advance(origin, old, new)


def test_who_is_overtaken_says_so_and_cosigns_nothing(engine: Engine, clock: ManualClock) -> None:
    witness = Witness(Overtaken(engine), lambda _: LOGS, [PLAIN], clock)
    assert witness.add_checkpoint(body(0, 8)) == Answer(409, b"1\n", "text/x.tlog.size")


def test_a_request_that_is_right_again_after_being_overtaken_is_answered(
    engine: Engine, clock: ManualClock
) -> None:
    class OvertakenOnce(SqlWitnessStore):
        done = False

        def advance(self, origin: str, old: Seen | None, new: Seen) -> None:
            if not self.done:
                self.done = True
                super().advance(origin, old, new)
                raise StaleHead("once")
            super().advance(origin, old, new)

    witness = Witness(OvertakenOnce(engine), lambda _: LOGS, [PLAIN], clock)
    assert witness.add_checkpoint(body(0, 0)).status == 200


def test_a_witness_that_cannot_move_its_record_gives_up(engine: Engine, clock: ManualClock) -> None:
    class Stale(SqlWitnessStore):
        def advance(self, origin: str, old: Seen | None, new: Seen) -> None:
            raise StaleHead("always")

    witness = Witness(Stale(engine), lambda _: LOGS, [PLAIN], clock)
    assert witness.add_checkpoint(body(0, 8)) == Answer(409, b"0\n", "text/x.tlog.size")


def test_the_store_moves_from_what_it_has_only(store: SqlWitnessStore) -> None:
    first, second = Seen(3, bytes(32), b"a\n"), Seen(4, bytes([1] * 32), b"b\n")
    store.advance("x", None, first)
    for old in (None, replace(first, size=2), replace(first, root=bytes([9] * 32))):
        with pytest.raises(StaleHead):
            store.advance("x", old, second)
    store.advance("x", first, second)
    assert store.latest("x") == second
    assert store.latest("y") is None


@pytest.mark.parametrize("root", ["xx", "00", "0" * 63 + "A", "é" * 64])
def test_a_damaged_record_is_not_read(store: SqlWitnessStore, engine: Engine, root: str) -> None:
    store.advance("x", None, Seen(3, bytes(32), b"a\n"))
    with LedgerStore(engine).transaction() as connection:
        connection.execute(update(WITNESSED).values(root=root))
    with pytest.raises(StoreCorrupt, match="root"):
        store.latest("x")
