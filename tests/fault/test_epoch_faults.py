"""Killed while a hub moves to a new epoch: the same command again finishes, and the old log is kept whole."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from exchange.config import hub_settings
from exchange.errors import Conflict, InvalidRequest
from exchange.hub import epochs
from exchange.hub.check import fsck
from exchange.hub.daemon import Hub
from exchange.hub.drafts import decode_draft, encode_draft
from exchange.hub.files import GENESIS_FILE, KEYS_FILE
from exchange.hub.testing import PASSPHRASE, Founded, found
from exchange.identity import NodeKeys
from exchange.keyring import KeyRingFile
from exchange.store import HubStore
from ledger.archive import archive
from ledger.errors import InvalidEpoch, LedgerError, StaleHead
from ledger.fsck import check
from ledger.membership import genesis_hash
from ledger.state import EPOCH
from ledger.store import LedgerStore, open_engine
from ledger.testing import DatabaseKind, consortium
from ledger.testing.epochs import NextEpoch
from ledger.times import system_clock

NAMES = ("lender", "bureau", "analyst", "regulator")

KILLED = """
import os, sys
from pathlib import Path
import exchange.hub.epochs as epochs
directory, draft, passphrase, step = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
calls, original = 0, getattr(epochs, step.split("#")[0], None)
def die(*arguments, **named):
    global calls
    calls += 1
    if calls == int(step.partition("#")[2]):
        os._exit(9)
    return original(*arguments, **named)
if original is None:
    epochs.KeyRingFile.replace = lambda *_: os._exit(9)
else:
    setattr(epochs, step.split("#")[0], die)
epochs.install_epoch(directory, draft.read_bytes(), passphrase)
"""
STEPS = ("archive#1", "begin_anew#1", "write_file#1", "keys", "write_file#2", "amend#1", "write_file#3")


def signed(founded: Founded, draft: bytes, *names: str) -> bytes:
    parsed = decode_draft(draft, EPOCH)
    for name in names:
        parsed = parsed.sign(founded.members[name].kid, founded.members[name].tx)
    return encode_draft(parsed)


@pytest.fixture
def stuck(tmp_path: Path) -> tuple[Path, Founded, bytes]:
    """A stopped hub with an entry above its final checkpoint, and the epoch's draft signed by a quorum."""
    directory = tmp_path / "hub"
    founded = found(directory, *NAMES)
    with founded.hub() as hub:
        founded.cosign(hub, *NAMES[:3])
        hub.services.log.submit(founded.entry("lender", "member.update", {"endpoint": "lost:1"}))
    draft = epochs.new_epoch(directory, PASSPHRASE).draft
    return directory, founded, signed(founded, draft, *NAMES[:3])


def started(directory: Path) -> Hub:
    settings = hub_settings(directory, {})
    return Hub(
        replace(settings, member_bind="127.0.0.1:0", operator_bind="127.0.0.1:0"),
        NodeKeys.load(directory / KEYS_FILE, PASSPHRASE),
    )


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_is_finished_by_doing_it_again(
    stuck: tuple[Path, Founded, bytes], tmp_path: Path, step: str
) -> None:
    directory, founded, draft = stuck
    (tmp_path / "draft").write_bytes(draft)
    command = [sys.executable, "-P", "-c", KILLED, str(directory), str(tmp_path / "draft"), PASSPHRASE, step]
    assert subprocess.run(command, env=dict(os.environ), check=False).returncode == 9
    if step not in STEPS[:2]:  # it does not start in between, and says what is the matter
        with pytest.raises((LedgerError, Conflict)):
            started(directory)
    raw, _ = epochs.install_epoch(directory, draft, PASSPHRASE)
    with started(directory) as hub:
        assert hub.services.genesis == genesis_hash(raw)
        assert hub.services.log.state.rows("members")
    assert fsck(directory) == []
    engine = open_engine(f"sqlite:///{directory / 'epoch-1.sqlite'}")
    assert check(LedgerStore(engine), founded.genesis) == []
    engine.dispose()
    assert (directory / "epoch-1.json").read_bytes() == founded.genesis


def test_a_draft_that_is_not_signed_by_a_quorum_changes_nothing(stuck: tuple[Path, Founded, bytes]) -> None:
    directory, founded, _ = stuck
    again = epochs.new_epoch(directory, PASSPHRASE).draft
    with pytest.raises(InvalidEpoch, match=r"epoch\.no-quorum"):
        epochs.install_epoch(directory, signed(founded, again, "lender", "bureau"), PASSPHRASE)
    with pytest.raises(InvalidRequest, match="expected the members entry and sigs"):
        epochs.install_epoch(directory, b"{}", PASSPHRASE)
    assert (directory / GENESIS_FILE).read_bytes() == founded.genesis
    assert not (directory / "epoch-1.sqlite").exists()
    with founded.hub() as hub:
        assert hub.services.log.size > 2


def test_drafting_again_keeps_the_new_log_key(stuck: tuple[Path, Founded, bytes]) -> None:
    directory, _, draft = stuck
    again = epochs.new_epoch(directory, PASSPHRASE).draft
    assert decode_draft(again, EPOCH).body["log"] == decode_draft(draft, EPOCH).body["log"]
    file = KeyRingFile(directory / KEYS_FILE, PASSPHRASE)
    ring = file.read()
    other = replace(ring.current, cosign=NodeKeys.generate("hub", "example", "127.0.0.1").cosign)
    file.replace(ring.followed_by(other))
    with pytest.raises(Conflict, match="the log key that this hub drafted"):
        epochs.install_epoch(directory, draft, PASSPHRASE)


def test_papers_of_jobs_that_are_not_carried_go(stuck: tuple[Path, Founded, bytes]) -> None:
    directory, _, draft = stuck
    engine = open_engine(hub_settings(directory, {}).database)
    store = HubStore(engine, system_clock)
    store.specs.add("job-lost", b"{}")
    store.progress.tell("job-lost", "match", "somebody", 1, 2)
    store.results.put("job-lost", "match", "somebody", "another", b"sealed")
    assert fsck(directory) != []
    epochs.install_epoch(directory, draft, PASSPHRASE)
    started(directory).stop()
    assert fsck(directory) == []
    assert [*store.specs.all(), *store.results.all(), *store.progress.all()] == []
    engine.dispose()


def test_a_hub_that_went_on_meanwhile_loses_nothing(
    stuck: tuple[Path, Founded, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, founded, draft = stuck

    def archived(store: LedgerStore, path: Path) -> None:
        archive(store, path)
        with founded.hub() as hub:
            hub.services.log.submit(founded.entry("bureau", "member.update", {"endpoint": "late:1"}))

    monkeypatch.setattr(epochs, "archive", archived)
    with pytest.raises(StaleHead, match="expected the stored head at size"):
        epochs.install_epoch(directory, draft, PASSPHRASE)
    assert fsck(directory) == []


def test_a_final_checkpoint_after_the_draft_voids_it(stuck: tuple[Path, Founded, bytes]) -> None:
    directory, founded, draft = stuck
    with founded.hub() as hub:
        founded.cosign(hub, *NAMES[:3])
    with pytest.raises(InvalidEpoch, match="a quorum cosigned"):
        epochs.install_epoch(directory, draft, PASSPHRASE)


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def test_an_archive_is_cut_off_and_made_anew(tmp_path: Path, kind: DatabaseKind) -> None:
    with consortium(tmp_path, *NAMES, kind=kind) as made:
        made.act("lender", "member.update", {"endpoint": "one:1"})
        made.settle()
        made.log.close()
        (tmp_path / "hub-1.sqlite.new").write_bytes(b"half of a file")
        (tmp_path / "hub-1.sqlite").write_bytes(b"something else")
        begun = NextEpoch(made, tmp_path, NAMES[:3])
        raw = begun.entry("bureau", lifetime_s=24 * 3600)
        assert begun.log.submit(raw).code is None
        begun.settle()
        begun.log.close()
        assert check(made.hub_store, begun.genesis) == []
        engine = open_engine(f"sqlite:///{tmp_path / 'hub-1.sqlite'}")
        assert check(LedgerStore(engine), made.genesis) == []
        engine.dispose()
