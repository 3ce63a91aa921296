"""A witness's settings, keys and known logs."""

from __future__ import annotations

import pickle  # noqa: TID251 - to see what a repr and a dump show
import stat
from pathlib import Path

import pytest

from exchange import config, keyfile
from exchange.config import ConfigError, hub_settings, witness_settings
from exchange.errors import Conflict, KeyFileDamaged, WrongPassphrase
from exchange.identity import NodeKeys
from exchange.keyfile import Cost
from exchange.witness import setup
from exchange.witness.keys import WitnessKeys
from exchange.witness.logs import KnownLogs, add_log, origin_hash
from ledger.errors import MalformedPolicy
from ledger.keys import SigningKey
from ledger.notes import COSIGNATURE_V1, ED25519, MLDSA44, Vkey

CHEAP = Cost(1, 8192)
KEYS = [SigningKey.from_seed(bytes([number] * 32)) for number in range(3)]
LOG, ROTATED, OTHER = (
    Vkey(name, ED25519, key.public)
    for name, key in zip(("example.org/log", "example.org/log", "example.org/é"), KEYS, strict=True)
)
HUB = {"net": "n", "origin": "o", "member_bind": "127.0.0.1:1", "operator_bind": "127.0.0.1:2"}


def init(directory: Path, *, mirror: bool = False) -> dict[str, object]:
    return setup.init(
        directory,
        name="w.example",
        bind="127.0.0.1:7450",
        host="w.example",
        mirror=mirror,
        passphrase="p",
        cost=CHEAP,
    )


def test_a_witness_has_a_private_directory_and_five_keys(tmp_path: Path) -> None:
    directory = tmp_path / "w"
    record = init(directory, mirror=True)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    settings = witness_settings(directory, {})
    assert (settings.name, settings.bind, settings.mirror) == ("w.example", "127.0.0.1:7450", True)
    assert settings.database == f"sqlite:///{directory}/witness.sqlite"
    assert config.check(directory) == []
    keys = WitnessKeys.load(directory / "keys", "p")
    types = [cosigner.vkey.type for cosigner in (*keys.witness_cosigners, *keys.mirror_cosigners)]
    assert types == [COSIGNATURE_V1, MLDSA44] * 2
    assert record["witness"] == [cosigner.vkey.encode() for cosigner in keys.witness_cosigners]
    assert record["mirror"] == [cosigner.vkey.encode() for cosigner in keys.mirror_cosigners]
    assert {cosigner.name for cosigner in keys.mirror_cosigners} == {"w.example/mirror"}
    seeds = [key.seed.hex() for key in (*keys.witness, *keys.mirror)]
    assert len(set(seeds)) == 4
    assert not any(seed in repr(keys) for seed in seeds)
    with pytest.raises(TypeError):
        pickle.dumps(keys)
    with pytest.raises(WrongPassphrase):
        WitnessKeys.load(directory / "keys", "q")


def test_a_witness_that_is_no_mirror_publishes_no_mirror_keys(tmp_path: Path) -> None:
    assert init(tmp_path / "w")["mirror"] == []
    assert not witness_settings(tmp_path / "w", {}).mirror
    assert witness_settings(tmp_path / "w", {"PARLEY_MIRROR": "true"}).mirror
    with pytest.raises(ConfigError, match="true or false"):
        witness_settings(tmp_path / "w", {"PARLEY_MIRROR": "perhaps"})


@pytest.mark.parametrize("secret", [b"{}", b"[]", b"no json", b'{"name":"x","witness":["A"],"mirror":[]}'])
def test_another_key_file_is_not_a_witnesses(tmp_path: Path, secret: bytes) -> None:
    keyfile.write(tmp_path / "keys", secret, "p", CHEAP)
    with pytest.raises(KeyFileDamaged, match="a witness's keys"):
        WitnessKeys.load(tmp_path / "keys", "p")
    NodeKeys.generate("lender", "n", "h").save(tmp_path / "other", "p", cost=CHEAP)
    with pytest.raises(KeyFileDamaged):
        WitnessKeys.load(tmp_path / "other", "p")


def test_logs_are_known_by_origin_and_seen_when_they_are_added(tmp_path: Path) -> None:
    known = KnownLogs(tmp_path)
    assert known(LOG.name) == []
    add_log(tmp_path, LOG, "https://log.example/")
    assert known(LOG.name) == [LOG]
    add_log(tmp_path, ROTATED)
    add_log(tmp_path, OTHER)
    assert known(LOG.name) == [LOG, ROTATED]
    assert known.origins() == ["example.org/log", "example.org/é"]
    assert known.origin_of(origin_hash(OTHER.name)) == OTHER.name
    assert known.origin_of("00" * 32) is None
    with pytest.raises(Conflict):
        add_log(tmp_path, LOG)
    assert (tmp_path / "logs").read_text().splitlines()[0] == f"log {LOG.encode()} https://log.example/"


def test_a_damaged_list_of_logs_stops_a_start_and_not_a_running_witness(tmp_path: Path) -> None:
    add_log(tmp_path, LOG)
    known = KnownLogs(tmp_path)
    (tmp_path / "logs").write_bytes(b"log nonsense\n")
    assert known(LOG.name) == [LOG]
    with pytest.raises(MalformedPolicy, match="line 1"):
        KnownLogs(tmp_path)
    with pytest.raises(MalformedPolicy):
        add_log(tmp_path, OTHER)


VKEY = Vkey("w.example", COSIGNATURE_V1, KEYS[0].public).encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([f"https://w.example:1 MAA {VKEY}"], None),
        (["https://w.example:1 MAA"], "spaces between"),
        ([f"http://w.example:1 MAA {VKEY}"], "https://host:port"),
        ([f"https://w.example:1 %% {VKEY}"], "certificate"),
        (["https://w.example:1 MAA nokey"], "verifier keys"),
        ([f"https://w.example:1 MAA {LOG.encode()}"], "a log's"),
        ([5], "spaces between"),
        (5, "a list"),
    ],
)
def test_outside_copies_in_the_settings_of_a_hub(tmp_path: Path, value: object, reason: str | None) -> None:
    directory = config.private_directory(tmp_path / "hub")
    if reason is None:
        config.save(directory, "hub", {**HUB, "witnesses": value})
        (copy,) = hub_settings(directory, {}).witnesses
        assert (copy.url, copy.certificate) == ("https://w.example:1", b"0\x00")
        line = f"https://v.example:2 MAA {VKEY}"
        both = hub_settings(directory, {"PARLEY_WITNESSES": f"{line}\n{line}"}).witnesses
        assert [copy.url for copy in both] == ["https://v.example:2"] * 2
        return
    with pytest.raises(ConfigError, match=reason):
        config.save(directory, "hub", {**HUB, "witnesses": value})
