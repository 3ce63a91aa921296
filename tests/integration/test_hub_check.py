"""Whoever alters the hub's database is found: every table, by name and key."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exchange.config import hub_settings
from exchange.errors import Conflict
from exchange.hub.backup import backup
from exchange.hub.check import fsck
from exchange.hub.daemon import Hub
from exchange.hub.files import GENESIS_FILE, KEYS_FILE
from exchange.hub.testing import PASSPHRASE, Founded, found
from exchange.identity import NodeKeys

ULID = "01jd" + "0" * 22
JOB, AGREEMENT, NEGOTIATION = (f"{kind}-{ULID}" for kind in ("job", "agreement", "negotiation"))
SPEC = b'{"job":"the specification"}'
SEALED = b"sealed to the analyst"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def acts(founded: Founded) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """A job of the analyst with the lender, from the asset to the release of a result."""
    lender, analyst = founded.members["lender"].did, founded.members["analyst"].did
    limits = {"uses": 3, "expires": "2099-01-01T00:00:00Z"}
    column = {"name": "id", "type": "text", "role": "identifier", "sensitivity": "low", "control": "x"}
    step = {"id": "psi", "component": "psi/ecdh", "version": 1, "parties": [lender]}
    yield (
        "lender",
        "asset.publish",
        {
            "asset": "lender/loans",
            "version": 1,
            "kind": "table",
            "title": "Loans",
            "description": "",
            "keywords": [],
            "schema": [column],
            "rows": 1,
            "root": "0" * 64,
            "offer": {},
            "profile": "0" * 64,
            "distribution": [],
        },
    )
    asked = {"negotiation": NEGOTIATION, "asset": "lender/loans", "version": 1, "provider": lender}
    yield "analyst", "negotiation.request", {**asked, "offer": {}, "limits": limits}
    approvals = [{"approver": "ada", "role": "steward", "decision": "approve", "reason": "covered"}]
    granted = {"id": AGREEMENT, "policy": {}, "limits": limits}
    agreed = {"negotiation": NEGOTIATION, "agreement": granted, "approvals": approvals}
    yield "lender", "negotiation.agree", agreed
    yield "analyst", "negotiation.verify", {"negotiation": NEGOTIATION}
    yield "lender", "negotiation.finalize", {"negotiation": NEGOTIATION}
    job = {"job": JOB, "spec": sha256(SPEC), "agreements": [AGREEMENT]}
    yield "analyst", "job.submit", {**job, "purpose": "x", "parties": [lender], "steps": [step]}
    yield "lender", "job.start", job
    receipt = {"job": JOB, "step": "psi", "attempt": 1, "role": "left", "inputs": [], "peers": []}
    digests = dict.fromkeys(("params", "code", "output"), "0" * 64)
    counts = dict.fromkeys(("bytes_sent", "bytes_received", "rounds", "duration_ms"), 1)
    protocol = {"protocol": {"name": "psi/ecdh", "version": 1}, "engine": "parley 0.1.0"}
    yield "lender", "receipt.step", {**receipt, **digests, **counts, **protocol}
    released = {"job": JOB, "step": "psi", "recipient": analyst, "digest": sha256(SEALED), "cohort": 10}
    yield "lender", "job.release", released


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Founded:
    """A hub's directory with a job in every one of its tables, the hub stopped."""
    made = found(tmp_path_factory.mktemp("hub") / "data", "analyst", "lender")
    lender, analyst = made.members["lender"].did, made.members["analyst"].did
    with made.hub() as hub:
        relay, log = hub.services.relay, hub.services.log
        for name, entry_type, body in acts(made):
            if entry_type == "job.start":
                relay.put_spec(analyst, JOB, SPEC)
            if entry_type == "job.release":
                relay.put_result(lender, JOB, "psi", lender, analyst, SEALED)
                relay.tell_progress(lender, JOB, "psi", 1, 1)
            assert log.submit(made.entry(name, entry_type, body)).code is None
        made.cosign(hub, "analyst", "lender")
    return made


@pytest.fixture
def copy(founded: Founded, tmp_path: Path) -> Path:
    out = tmp_path / "copy"
    backup(founded.settings.directory, out)
    return out


def alter(directory: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(directory / "hub.sqlite")) as database, database:
        assert database.execute(statement, values).rowcount == 1


def found_in(directory: Path) -> list[str]:
    return [f"{problem.where}: {problem.expected} / {problem.actual}" for problem in fsck(directory)]


def test_an_unaltered_database_is_sound(founded: Founded, copy: Path) -> None:
    assert found_in(copy) == []
    assert found_in(founded.settings.directory) == []


def test_a_running_hub_is_checked_and_copied_beside_it(founded: Founded, tmp_path: Path) -> None:
    with founded.hub() as hub:
        hub.services.log.submit(founded.entry("lender", "member.update", {"endpoint": "a.example:1"}))
        assert found_in(founded.settings.directory) == []
        backup(founded.settings.directory, tmp_path / "copy")
        checkpoint = hub.services.log.checkpoint((0, 0))
    assert found_in(tmp_path / "copy") == []
    settings = replace(
        founded.settings,
        directory=tmp_path / "copy",
        database=hub_settings(tmp_path / "copy", {}).database,
    )
    with Hub(settings, NodeKeys.load(tmp_path / "copy" / KEYS_FILE, PASSPHRASE)) as again:
        assert again.services.log.checkpoint((0, 0)) == checkpoint


PAPERS: list[tuple[str, str, tuple[object, ...], str]] = [
    ("specification", "UPDATE hub_specs SET spec = ?", (b"another",), f"hub_specs {JOB}: {sha256(SPEC)}"),
    (
        "specification's job",
        "UPDATE hub_specs SET job = ?",
        ("job-x",),
        "hub_specs job-x: a job on the ledger",
    ),
    ("specification lost", "DELETE FROM hub_specs", (), f"hub_specs {JOB}: {sha256(SPEC)} / nothing"),
    ("result", "UPDATE hub_results SET sealed = ?", (b"x",), f": {sha256(SEALED)} / {sha256(b'x')}"),
    ("result's step", "UPDATE hub_results SET step = ?", ("stats",), f"hub_results {JOB}/stats/"),
    ("result's sender", "UPDATE hub_results SET sender = ?", ("did:x",), f"hub_results {JOB}/psi/did:x/"),
    ("result's recipient", "UPDATE hub_results SET recipient = ?", ("did:x",), "/ one for did:x"),
    ("result lost", "DELETE FROM hub_results", (), f": {sha256(SEALED)} / nothing"),
    ("progress's party", "UPDATE hub_progress SET party = ?", ("did:x",), f"hub_progress {JOB}/psi/did:x"),
    ("progress's job", "UPDATE hub_progress SET job = ?", ("job-x",), "hub_progress job-x/psi/"),
    ("progress", "UPDATE hub_progress SET done = ?", (2,), ": from 0 to 1 done / 2"),
]


@pytest.mark.parametrize("case", PAPERS, ids=lambda case: case[0])
def test_an_altered_paper_is_named(copy: Path, case: tuple[str, str, tuple[object, ...], str]) -> None:
    _, statement, values, named = case
    alter(copy, statement, *values)
    problems = found_in(copy)
    assert any(named in problem for problem in problems), problems
    assert all(problem.startswith("hub_") for problem in problems)


LEDGER: list[tuple[str, str, str]] = [
    ("ledger_entries", "SET raw = CAST(replace(CAST(raw AS TEXT), 'Loans', 'Moans') AS BLOB)", '"index" = 2'),
    ("ledger_entries", "SET code = 'x'", '"index" = 2'),
    ("ledger_entries", "SET type = 'job.fail'", '"index" = 2'),
    ("ledger_entries", "SET actor = 'did:x'", '"index" = 2'),
    ("ledger_checkpoints", "SET note = replace(note, 'hub', 'hut')", "size = 2"),
    ("ledger_cosignatures", "SET line = line || 'A'", "name LIKE '%lender'"),
    ("ledger_heads", "SET size = size - 1", "size > 2"),
]


@pytest.mark.parametrize(("table", "change", "where"), LEDGER, ids=[f"{row[0]} {row[1]}" for row in LEDGER])
def test_an_altered_row_of_the_log_is_named(copy: Path, table: str, change: str, where: str) -> None:
    alter(copy, f"UPDATE {table} {change} WHERE {where}")
    problems = found_in(copy)
    assert any(table in problem for problem in problems), problems


def test_a_lost_entry_is_named(copy: Path) -> None:
    alter(copy, 'DELETE FROM ledger_entries WHERE "index" = 2')
    assert any("ledger_entries" in problem and "2" in problem for problem in found_in(copy))


def test_another_genesis_is_named(copy: Path, tmp_path: Path) -> None:
    other = found(tmp_path / "other", "analyst", "lender")
    (copy / GENESIS_FILE).write_bytes(other.genesis)
    assert found_in(copy) != []


class TestBackup:
    def test_it_is_private_and_complete(self, copy: Path) -> None:
        assert {path.name for path in copy.iterdir()} >= {"hub.sqlite", "keys", "hub.json", "genesis.json"}
        assert all(path.stat().st_mode & 0o077 == 0 for path in [copy, *copy.iterdir()])
        assert hub_settings(copy, {}).net == "example"

    def test_it_overwrites_nothing(self, founded: Founded, copy: Path) -> None:
        with pytest.raises(Conflict, match="expected an empty directory"):
            backup(founded.settings.directory, copy)

    def test_a_database_on_a_server_is_left_to_its_own_tools(
        self, founded: Founded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PARLEY_DATABASE", "postgresql+psycopg://nobody@nowhere/x")
        with pytest.raises(Conflict, match="pg_dump"):
            backup(founded.settings.directory, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()


Prepare = Callable[[Path], object]


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda directory: (directory / "hub.sqlite").unlink(), "the hub has not run yet"),
        (lambda directory: (directory / GENESIS_FILE).unlink(), "expected a genesis"),
    ],
)
def test_what_cannot_be_checked_is_said(copy: Path, prepare: Prepare, expected: str) -> None:
    prepare(copy)
    with pytest.raises(Conflict, match=expected):
        fsck(copy)
    shutil.rmtree(copy)
