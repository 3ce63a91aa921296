"""Copies of a member's database that were damaged: each fault is a named problem or a clear error."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from exchange.config import node_settings
from exchange.errors import public_face
from exchange.identity import NodeKeys
from exchange.node import setup
from exchange.node.check import fsck, replay
from exchange.testing import CHEAP
from ledger import base64url
from ledger.errors import InvalidBatch, LedgerError, StoreCorrupt, StoreUnavailable
from ledger.fsck import check
from ledger.readonly import damage, opened_read_only
from ledger.search import Query, Search
from ledger.store import LedgerStore, open_engine, upgrade
from ledger.testing import Consortium, consortium

PASSPHRASE = "correct horse battery staple"
DATABASE = "node.sqlite"


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    with consortium(tmp_path_factory.mktemp("damaged"), "lender", "bureau", "analyst") as made:
        for number in range(12):
            made.act("lender", "member.update", {"endpoint": f"host{number}:1"})
        made.act("bureau", "asset.withdraw", {"asset": "bureau/x", "reason": "refused, and recorded"})
        made.settle()
        mirror = made.mirrors["lender"]
        Search(mirror.store).page(Query(), below=mirror.size)
        yield made


@pytest.fixture(scope="module")
def sound(exchange: Consortium, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a node that is stopped, with a whole copy of the log."""
    directory = tmp_path_factory.mktemp("nodes") / "lender"
    setup.init(
        directory,
        name="lender",
        title="Lender",
        role="participant",
        net="test",
        api_bind="127.0.0.1:1",
        party_bind="127.0.0.1:2",
        party_endpoint="127.0.0.1:2",
        source_roots=[],
        passphrase=PASSPHRASE,
        cost=CHEAP,
    )
    genesis = directory / "genesis.json"
    genesis.write_bytes(exchange.genesis)
    genesis.chmod(0o600)
    text = (directory / "parley.toml").read_text()
    keys = NodeKeys.load(directory / setup.KEYS_FILE, PASSPHRASE)
    certificate = base64url.encode(keys.tls_cert)
    (directory / "parley.toml").write_text(
        text
        + f'\nhub_url = "https://127.0.0.1:3"\nhub_certificate = "{certificate}"\ngenesis = "genesis.json"\n'
    )
    database = Path(str(node_settings(directory, {}).database).removeprefix("sqlite:///"))
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()
    with exchange.mirrors["lender"].store.engine.connect() as connection:
        connection.exec_driver_sql(f"VACUUM INTO '{database}'")
    assert database.name == DATABASE
    return directory


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "copy"))


def run(directory: Path) -> tuple[list[str], str]:
    """The problems that fsck names, and where a replay ends."""
    problems = [problem.where for problem in fsck(directory)]
    try:
        done = replay(directory, on_progress=lambda *_: None)
    except InvalidBatch as exc:
        return problems, f"{exc.index} {exc.what}"
    except LedgerError as exc:
        return problems, str(exc)
    return problems, f"{done.log.head.size} entries, final {done.final is not None and done.final.size}"


def alter(directory: Path, *statements: str) -> None:
    with closing(sqlite3.connect(directory / DATABASE)) as database, database:
        for statement in statements:
            assert database.execute(statement).rowcount >= 1


def snapshot(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}


def test_a_sound_copy_is_sound_and_stays_as_it_was(copy: Path, exchange: Consortium) -> None:
    before = snapshot(copy)
    size = exchange.mirrors["lender"].size
    assert run(copy) == ([], f"{size} entries, final {size}")
    assert snapshot(copy) == before


def test_a_read_only_folder_is_enough(copy: Path) -> None:
    for file in copy.iterdir():
        file.chmod(0o400)
    copy.chmod(0o500)
    try:
        assert fsck(copy) == []
    finally:
        copy.chmod(0o700)


def test_nothing_can_be_written(copy: Path) -> None:
    with opened_read_only(node_settings(copy, {}).database) as engine, engine.connect() as connection:
        with pytest.raises(Exception, match="readonly"):
            connection.exec_driver_sql("DELETE FROM ledger_entries")


@pytest.mark.postgresql
def test_a_postgresql_database_is_read_and_not_written(tmp_path: Path) -> None:
    with consortium(tmp_path, "lender", "bureau", kind="postgresql") as made:
        made.settle()
        url = made.mirrors["lender"].store.engine.url.render_as_string(hide_password=False)
        with opened_read_only(url) as engine:
            assert damage(engine) == []
            assert check(LedgerStore(engine), made.genesis) == []
            with pytest.raises(Exception, match="read-only"), engine.begin() as connection:
                connection.exec_driver_sql("DELETE FROM ledger_entries")


def test_a_database_in_use_is_read_as_it_is(copy: Path) -> None:
    url = node_settings(copy, {}).database
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ledger_heads SET size = size")
        assert Path(f"{copy / DATABASE}-wal").exists()
        assert fsck(copy) == []
    engine.dispose()


@pytest.mark.parametrize(
    ("statement", "problem", "difference"),
    [
        (
            'DELETE FROM ledger_entries WHERE "index" = 7',
            "ledger_entries index 7: index",
            "7 stored entry",
        ),
        ('DELETE FROM ledger_entries WHERE "index" > 19', "ledger_heads: size", "20 stored entry"),
        ("UPDATE ledger_entries SET code = 'x.y' WHERE code IS NOT NULL", "code", "stored code"),
        ("UPDATE ledger_entries SET code = 'x.y' WHERE \"index\" = 4", "index 4: code", "4 stored code"),
        ('UPDATE ledger_entries SET time = time + 1 WHERE "index" = 4', "index 4: time", "4 stored time"),
        ("UPDATE ledger_entries SET actor = 'did:x' WHERE \"index\" = 4", "4: actor", "4 stored actor"),
        ("UPDATE ledger_entries SET txid = txid || '0' WHERE \"index\" = 4", "4: txid", "4 stored txid"),
        ("UPDATE ledger_entries SET raw = x'7b7d' WHERE \"index\" = 4", "4: raw", "4 entry"),
        (
            "UPDATE ledger_entries SET raw = 'text' WHERE \"index\" = 4",
            "4: raw",
            "ledger_entries index 4: raw",
        ),
        ("DELETE FROM ledger_cosignatures", "", "final False"),
        ("UPDATE ledger_heads SET root = 'x'", "ledger_heads: root", "entries"),
        ("UPDATE ledger_checkpoints SET note = 'x'", "ledger_checkpoints size", ""),
        ("UPDATE ledger_cosignatures SET line = 'x'", "ledger_cosignatures size", ""),
        ("UPDATE ledger_postings SET ordinal = 'x'", "ledger_postings term", "entries"),
        ("UPDATE ledger_postings SET term = x'00' WHERE term = ''", "ledger_postings term", "entries"),
        ("UPDATE ledger_indexed SET size = 'x'", "ledger_indexed: size", "entries"),
        ("UPDATE ledger_checkpoints SET size = 'x'", "ledger_checkpoints size", ""),
        ("UPDATE ledger_cosignatures SET size = 'x'", "ledger_cosignatures size", ""),
        ("UPDATE ledger_heads SET size = 'x'", "ledger_heads: size", ""),
        ("UPDATE ledger_entries SET code = x'ff' WHERE \"index\" = 4", "4: code", "index 4: code"),
        ("UPDATE ledger_entries SET time = 'x' WHERE \"index\" = 4", "4: time", "index 4: time"),
        ("UPDATE ledger_entries SET leaf = 'x' WHERE \"index\" = 4", "4: leaf", "index 4: leaf"),
        ('UPDATE ledger_entries SET "index" = \'x\' WHERE "index" = 4', "index 4: index", ""),
    ],
)
def test_an_altered_row_is_named_and_ends_a_replay(
    copy: Path, statement: str, problem: str, difference: str
) -> None:
    alter(copy, statement)
    problems, end = run(copy)
    assert any(problem in where for where in problems) or not problem
    assert difference in end


def outcome(directory: Path) -> str:
    """What fsck says of a copy: the first problem, the error it ends with, or nothing."""
    try:
        problems = fsck(directory)
    except (StoreCorrupt, StoreUnavailable) as exc:
        return str(exc)
    return str(problems[0]) if problems else ""


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_told_as_such(copy: Path, share: float) -> None:
    path = copy / DATABASE
    os.truncate(path, int(path.stat().st_size * share))
    assert re.search("expected|cannot be read", outcome(copy))
    with pytest.raises((LedgerError, InvalidBatch)):
        replay(copy, on_progress=lambda *_: None)


@pytest.mark.parametrize(
    "content",
    [b"", b"SQLite format 3\0", b"SQLite format 3\0" + bytes(4096), b"\x7fELF" + bytes(99), b"PK\x03\x04"],
)
def test_a_file_that_is_no_database_is_told_as_such(copy: Path, content: bytes) -> None:
    (copy / DATABASE).write_bytes(content)
    with pytest.raises((StoreCorrupt, StoreUnavailable)) as caught:
        fsck(copy)
    assert public_face(caught.value).exit_code == 1


def test_no_file_is_told_as_such(copy: Path) -> None:
    (copy / DATABASE).unlink()
    with pytest.raises(StoreUnavailable, match="found none to read"):
        fsck(copy)
    assert not (copy / DATABASE).exists()


def test_another_database_is_told_as_such(copy: Path) -> None:
    (copy / DATABASE).unlink()
    with closing(sqlite3.connect(copy / DATABASE)) as database, database:
        database.execute("CREATE TABLE shopping (item TEXT)")
    with pytest.raises(StoreCorrupt, match="without a ledger's tables"):
        fsck(copy)


def test_another_version_is_told_and_not_upgraded(copy: Path) -> None:
    alter(copy, "UPDATE ledger_version SET version_num = '0001'")
    with pytest.raises(StoreCorrupt, match="found '0001'"):
        fsck(copy)
    with closing(sqlite3.connect(copy / DATABASE)) as database:
        assert database.execute("SELECT version_num FROM ledger_version").fetchone() == ("0001",)


def test_an_empty_ledger_is_a_problem(copy: Path) -> None:
    (copy / DATABASE).unlink()
    engine = open_engine(node_settings(copy, {}).database)
    upgrade(engine)
    engine.dispose()
    problems, end = run(copy)
    assert "ledger_entries" in problems
    assert end == "0 batch"


def positions(seed: int) -> list[tuple[int, int]]:
    """Places in a file and bits, the same in every run: in its header, its first pages, or anywhere."""
    numbers = [int.from_bytes(hashlib.sha256(f"{seed} {n}".encode()).digest()) for n in range(30)]
    reach = (100, 8192, 1 << 30)[seed % 3]
    return [(number % reach, 1 << number % 8) for number in numbers[: (1, 2, 30)[seed // 3 % 3]]]


@pytest.mark.parametrize("seed", range(45))
def test_flipped_bits_never_break_the_tools(copy: Path, seed: int) -> None:
    """They end with a problem, with a clear error, or with nothing where the bits were of no use."""
    path = copy / DATABASE
    content = bytearray(path.read_bytes())
    for position, bit in positions(seed):
        content[position % len(content)] ^= bit
    path.write_bytes(content)
    outcome(copy)
    with suppress(LedgerError, InvalidBatch):
        replay(copy, on_progress=lambda *_: None)
