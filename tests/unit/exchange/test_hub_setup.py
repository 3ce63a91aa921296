from __future__ import annotations

import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from exchange.config import ConfigError, hub_settings
from exchange.errors import Conflict, InvalidRequest, WrongPassphrase
from exchange.hub import setup
from exchange.hub.files import GENESIS_FILE, KEYS_FILE, RECORD_FILE
from exchange.identity import Cost, NodeKeys
from ledger import canonical
from ledger.entries import Entry
from ledger.state import apply
from ledger.tables import State

NET = "example"
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
CHEAP = Cost(1, 8192 * 8)
PASSPHRASE = "correct horse"


def make_hub(directory: Path, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "net": NET,
        "origin": "hub.example/log",
        "member_bind": "127.0.0.1:7001",
        "operator_bind": "127.0.0.1:7002",
        "host": "127.0.0.1",
        "passphrase": PASSPHRASE,
    }
    return setup.init(directory, cost=CHEAP, clock=lambda: NOW, **(given | changes))


def enrol(keys: NodeKeys, **changes: Any) -> dict[str, Any]:
    record = {**keys.member_record("participant", keys.name.title(), f"{keys.name}.example:7"), **changes}
    return dict(keys.enrolment(record))


@pytest.fixture(scope="module")
def founders() -> list[NodeKeys]:
    return [NodeKeys.generate(name, NET, "127.0.0.1") for name in ("bureau", "lender")]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("hub") / "data"
    make_hub(directory)
    return directory


@pytest.fixture
def directory(template: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "data"
    copy.mkdir(mode=0o700)
    for path in template.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
        (copy / path.name).chmod(0o600)
    return copy


@pytest.fixture
def draft(directory: Path, founders: list[NodeKeys]) -> bytes:
    return setup.draft_genesis(directory, [enrol(keys) for keys in founders], PASSPHRASE, clock=lambda: NOW)


def altered(draft: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    document: Any = canonical.decode(draft)
    change(document)
    return canonical.encode(document)


def test_a_hub_is_made_with_private_keys_and_a_public_record(tmp_path: Path) -> None:
    record = make_hub(tmp_path / "data")
    keys = NodeKeys.load(tmp_path / "data" / KEYS_FILE, PASSPHRASE)
    assert set(record) == {"did", "name", "tx", "tls", "log"}
    assert (record["did"], record["name"]) == (keys.did, "hub")
    assert record["log"] == setup.log_vkey(keys, "hub.example/log").encode()
    assert json.loads((tmp_path / "data" / RECORD_FILE).read_text()) == record
    assert hub_settings(tmp_path / "data", {}).net == NET
    for path in (tmp_path / "data").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_hub_is_not_made_twice_in_one_directory(directory: Path) -> None:
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(Conflict, match="holds a hub already"):
        make_hub(directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_a_hub_with_unusable_settings_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="member_bind"):
        make_hub(tmp_path / "data", member_bind="127.0.0.1")
    assert list((tmp_path / "data").iterdir()) == []


def test_signed_by_the_hub_and_all_founders_in_any_order_a_draft_becomes_the_genesis(
    directory: Path, draft: bytes, founders: list[NodeKeys]
) -> None:
    signed = setup.add_signature(setup.add_signature(draft, founders[1]), founders[0])
    raw = setup.install_genesis(directory, signed)
    assert (directory / GENESIS_FILE).read_bytes() == raw
    state = apply(State(), Entry.parse(raw), index=0, time=NOW)
    assert set(state.rows("members")) == {keys.did for keys in founders}
    other = setup.add_signature(setup.add_signature(draft, founders[0]), founders[1])
    assert setup.install_genesis(directory, other) == raw


def test_signing_twice_changes_nothing(draft: bytes, founders: list[NodeKeys]) -> None:
    once = setup.add_signature(draft, founders[0])
    assert setup.add_signature(once, founders[0]) == once


def test_a_draft_without_every_founder_is_not_installed(
    directory: Path, draft: bytes, founders: list[NodeKeys]
) -> None:
    with pytest.raises(InvalidRequest, match="every founder"):
        setup.install_genesis(directory, setup.add_signature(draft, founders[0]))
    assert not (directory / GENESIS_FILE).exists()


def test_another_genesis_does_not_replace_the_installed_one(
    directory: Path, draft: bytes, founders: list[NodeKeys]
) -> None:
    raw = setup.install_genesis(
        directory, setup.add_signature(setup.add_signature(draft, founders[0]), founders[1])
    )
    second = setup.draft_genesis(directory, [enrol(founders[0])], PASSPHRASE, clock=lambda: NOW)
    with pytest.raises(Conflict, match="another genesis"):
        setup.install_genesis(directory, setup.add_signature(second, founders[0]))
    assert (directory / GENESIS_FILE).read_bytes() == raw


@pytest.mark.parametrize(
    "field", ["title", "endpoint", "tls", "seal"], ids=lambda field: f"enrolment with another {field}"
)
def test_an_enrolment_altered_after_it_was_signed_is_refused(
    directory: Path, founders: list[NodeKeys], field: str
) -> None:
    enrolment = enrol(founders[0])
    enrolment["member"] = {**enrolment["member"], field: enrol(founders[1])["member"][field]}
    with pytest.raises(InvalidRequest, match="proof by the tx key"):
        setup.draft_genesis(directory, [enrolment], PASSPHRASE, clock=lambda: NOW)


def test_two_founders_of_one_name_are_refused(directory: Path, founders: list[NodeKeys]) -> None:
    twin = NodeKeys.generate("lender", NET, "127.0.0.1")
    with pytest.raises(InvalidRequest, match="name is already in use"):
        setup.draft_genesis(directory, [enrol(founders[1]), enrol(twin)], PASSPHRASE, clock=lambda: NOW)


def test_a_founder_of_another_network_is_refused(directory: Path) -> None:
    stranger = NodeKeys.generate("lender", "elsewhere", "127.0.0.1")
    with pytest.raises(InvalidRequest, match="example/lender"):
        setup.draft_genesis(directory, [enrol(stranger)], PASSPHRASE, clock=lambda: NOW)


def test_a_consortium_needs_a_founder(directory: Path) -> None:
    with pytest.raises(InvalidRequest, match="members: expected a list of 1"):
        setup.draft_genesis(directory, [], PASSPHRASE, clock=lambda: NOW)


def test_a_draft_needs_the_hubs_passphrase(directory: Path, founders: list[NodeKeys]) -> None:
    with pytest.raises(WrongPassphrase):
        setup.draft_genesis(directory, [enrol(founders[0])], "another", clock=lambda: NOW)


def test_a_founder_signs_only_a_list_with_exactly_its_keys(
    directory: Path, draft: bytes, founders: list[NodeKeys]
) -> None:
    outsider = NodeKeys.generate("outsider", NET, "127.0.0.1")
    with pytest.raises(InvalidRequest, match="member outsider with exactly its own keys"):
        setup.add_signature(draft, outsider)
    swapped = enrol(founders[0], seal=enrol(founders[1])["member"]["seal"])
    lying = setup.draft_genesis(directory, [swapped], PASSPHRASE, clock=lambda: NOW)
    with pytest.raises(InvalidRequest, match="member bureau with exactly its own keys"):
        setup.add_signature(lying, founders[0])


def test_a_founder_does_not_sign_what_was_altered_after_the_hub_signed(
    draft: bytes, founders: list[NodeKeys]
) -> None:
    changed = altered(draft, lambda document: document["entry"]["body"]["params"].update(max_clock_skew_s=9))
    with pytest.raises(InvalidRequest, match="the hub's signature"):
        setup.add_signature(changed, founders[0])


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("sigs"),
        lambda document: document.update(more=1),
        lambda document: document["entry"].update(sigs=[]),
        lambda document: document["entry"].pop("body"),
        lambda document: document["entry"].update(type="gov.vote"),
        lambda document: document.update(sigs=[]),
        lambda document: document.update(entry=[]),
        lambda document: document["entry"]["body"].pop("hub"),
        lambda document: document["entry"]["body"]["hub"].update(tx=1),
    ],
)
def test_what_is_no_draft_is_refused(
    directory: Path, draft: bytes, founders: list[NodeKeys], change: Callable[[dict[str, Any]], object]
) -> None:
    for raw in (altered(draft, change), b"{", b"[]"):
        with pytest.raises(InvalidRequest, match="draft"):
            setup.add_signature(raw, founders[0])
        with pytest.raises(InvalidRequest, match="draft"):
            setup.install_genesis(directory, raw)


def test_another_hubs_draft_is_not_installed(
    directory: Path, founders: list[NodeKeys], tmp_path: Path
) -> None:
    make_hub(tmp_path / "other")
    other = setup.draft_genesis(tmp_path / "other", [enrol(founders[0])], PASSPHRASE, clock=lambda: NOW)
    with pytest.raises(InvalidRequest, match="that of this hub"):
        setup.install_genesis(directory, setup.add_signature(other, founders[0]))


def test_an_empty_directory_is_no_hub(tmp_path: Path, draft: bytes) -> None:
    with pytest.raises(ConfigError, match="settings file"):
        setup.install_genesis(tmp_path, draft)
