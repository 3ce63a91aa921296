from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from exchange import config
from exchange.config import ConfigError, Problem

HUB = {
    "net": "example",
    "origin": "hub.example/log",
    "member_bind": "127.0.0.1:7001",
    "operator_bind": "127.0.0.1:7002",
}
NODE = {
    "name": "lender",
    "title": 'The "Lender" plc',
    "net": "example",
    "api_bind": "127.0.0.1:7003",
    "party_bind": "[::1]:7004",
    "party_endpoint": "lender.example:7004",
}
JOINED = {"hub_url": "https://hub.example:7001", "hub_certificate": "MAA", "genesis": "genesis.json"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return config.private_directory(tmp_path / "data")


def problems(directory: Path, text: str, environ: dict[str, str] | None = None) -> list[Problem]:
    (directory / config.FILE_NAME).write_text(text)
    return config.check(directory, environ)


def test_a_saved_hub_is_read_back(directory: Path) -> None:
    config.save(directory, "hub", HUB)
    settings = config.hub_settings(directory, {})
    assert {name: getattr(settings, name) for name in HUB} == HUB
    assert settings.database == f"sqlite:///{directory}/hub.sqlite"
    assert stat.S_IMODE((directory / config.FILE_NAME).stat().st_mode) == 0o600


def test_a_saved_node_is_read_back_and_belongs_to_no_hub_before_joining(directory: Path) -> None:
    config.save(directory, "node", {**NODE, "source_roots": [str(directory), "in"], "step_timeout_s": 5})
    settings = config.node_settings(directory, {})
    assert settings.title == NODE["title"]
    assert settings.source_roots == (directory, directory / "in")
    assert (settings.hub, settings.role, settings.step_timeout_s) == (None, "participant", 5)


def test_joining_amends_the_file_and_keeps_the_rest(directory: Path) -> None:
    config.save(directory, "node", NODE)
    config.amend(directory, JOINED)
    settings = config.node_settings(directory, {})
    assert settings.name == "lender"
    assert settings.hub == config.HubAddress("https://hub.example:7001", b"0\x00", directory / "genesis.json")


def test_an_amendment_that_does_not_fit_changes_nothing(directory: Path) -> None:
    config.save(directory, "node", NODE)
    before = (directory / config.FILE_NAME).read_bytes()
    with pytest.raises(ConfigError, match="hub_url: expected"):
        config.amend(directory, {**JOINED, "hub_url": "http://hub.example:7001"})
    assert (directory / config.FILE_NAME).read_bytes() == before


def test_a_node_with_half_a_hub_is_refused(directory: Path) -> None:
    config.save(directory, "node", NODE)
    with pytest.raises(ConfigError) as caught:
        config.amend(directory, {"hub_url": JOINED["hub_url"]})
    assert [problem.field for problem in caught.value.problems] == ["hub_certificate", "genesis"]


def test_a_variable_wins_over_the_file(directory: Path) -> None:
    config.save(directory, "node", {**NODE, "step_timeout_s": 5})
    environ = {"PARLEY_STEP_TIMEOUT_S": "7", "PARLEY_SOURCE_ROOTS": "/a:/b", "PARLEY_UNRELATED": "x"}
    settings = config.node_settings(directory, environ)
    assert settings.step_timeout_s == 7
    assert settings.source_roots == (Path("/a"), Path("/b"))


def test_all_problems_are_reported_at_once_with_what_was_expected_and_found(directory: Path) -> None:
    text = 'kind = "hub"\nnet = "A B"\nmember_bind = "127.0.0.1:0"\noperator_bind = 7002\ncolour = "red"\n'
    found = {problem.field: problem for problem in problems(directory, text, {"PARLEY_DATABASE": "x"})}
    assert set(found) == {"net", "origin", "member_bind", "operator_bind", "colour", "PARLEY_DATABASE"}
    assert found["origin"] == Problem("origin", "a value", "nothing")
    assert found["member_bind"].actual == "'127.0.0.1:0'"
    assert found["operator_bind"].actual == "7002"
    assert found["colour"].actual == "an unknown setting"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "Lender"),
        ("name", "-lender"),
        ("title", "two\nlines"),
        ("role", "owner"),
        ("api_bind", "127.0.0.1"),
        ("api_bind", "127.0.0.1:70000"),
        ("party_bind", "::1:7004"),
        ("party_endpoint", ":7004"),
        ("database", "mysql://localhost/x"),
        ("database", "sqlite://"),
        ("database", "sqlite:///:memory:"),
        ("source_roots", 5),
        ("source_roots", [5]),
        ("max_clock_skew_s", 0),
        ("max_clock_skew_s", True),
        ("max_clock_skew_s", "1.5"),
        ("final_timeout_s", 86_401),
    ],
)
def test_a_value_of_another_form_is_refused_by_name(directory: Path, name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        config.save(directory, "node", {**NODE, name: value})
    assert [problem.field for problem in caught.value.problems] == [name]
    assert not (directory / config.FILE_NAME).exists()


@pytest.mark.parametrize(
    "value",
    ["http://h:1", "https://h", "https://h:x", "https://u:p@h:1", "https://h:1/path", "https://h:1?q", "", 4],
)
def test_an_address_of_a_hub_is_https_with_host_and_port_only(directory: Path, value: Any) -> None:
    with pytest.raises(ConfigError, match="hub_url: expected an address"):
        config.save(directory, "node", {**NODE, **JOINED, "hub_url": value})


@pytest.mark.parametrize("value", ["MAA=", "M", "AAAA", "not base64!", 4])
def test_a_hub_certificate_is_der_in_base64url(directory: Path, value: Any) -> None:
    with pytest.raises(ConfigError, match="hub_certificate: expected a DER certificate"):
        config.save(directory, "node", {**NODE, **JOINED, "hub_certificate": value})


def test_a_password_in_a_database_url_shows_nowhere(directory: Path) -> None:
    config.save(directory, "hub", {**HUB, "database": "postgresql+psycopg://u:canary@h/db"})
    assert "canary" not in repr(config.hub_settings(directory, {}))
    assert "canary" in config.hub_settings(directory, {}).database
    found = problems(directory, (directory / config.FILE_NAME).read_text().replace("postgresql", "post gres"))
    assert [problem.field for problem in found] == ["database"]
    assert "canary" not in str(found)


@pytest.mark.parametrize(
    ("text", "actual"),
    [("kind = ", "Invalid value"), ("", "''"), ('kind = "node"\n', "'node'")],
)
def test_a_file_of_another_kind_or_form_is_refused(directory: Path, text: str, actual: str) -> None:
    (directory / config.FILE_NAME).write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.hub_settings(directory, {})
    assert actual in caught.value.problems[0].actual


def test_a_missing_file_and_a_missing_directory_are_named(directory: Path, tmp_path: Path) -> None:
    assert config.check(directory) == [Problem(str(directory / "parley.toml"), "a settings file", "nothing")]
    assert config.check(tmp_path / "none")[0].field == str(tmp_path / "none" / "parley.toml")
    with pytest.raises(ConfigError, match="expected a data directory, got No such file"):
        config.node_settings(tmp_path / "none", {})


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_a_directory_open_to_others_is_refused_with_path_and_mode(directory: Path, mode: int) -> None:
    config.save(directory, "hub", HUB)
    directory.chmod(mode)
    expected = Problem(str(directory), "mode 0700", f"mode {mode:04o}")
    assert config.check(directory / config.FILE_NAME) == [expected]
    for use in (lambda: config.hub_settings(directory, {}), lambda: config.private_directory(directory)):
        with pytest.raises(ConfigError, match="expected mode 0700"):
            use()


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigError, match="expected a data directory, got a file"):
        config.node_settings(tmp_path / "data", {})
    with pytest.raises(ConfigError, match="expected a data directory, got a file"):
        config.private_directory(tmp_path / "data")
    with pytest.raises(ConfigError, match="expected a directory that can be made, got Not a directory"):
        config.private_directory(tmp_path / "data" / "below")


def test_every_setting_has_a_description_and_a_variable_of_its_own() -> None:
    for fields in (config.HUB_FIELDS, config.NODE_FIELDS):
        assert len({entry.variable for entry in fields}) == len(fields)
        assert all(entry.description for entry in fields)


def test_settings_are_loaded_by_their_kind(directory: Path) -> None:
    config.save(directory, "hub", HUB)
    assert isinstance(config.load(directory / config.FILE_NAME, {}), config.HubSettings)
    config.save(directory, "node", NODE)
    assert isinstance(config.load(directory, {}), config.NodeSettings)


def test_a_hub_may_order_in_clusters(directory: Path) -> None:
    config.save(
        directory,
        "hub",
        {
            **HUB,
            "etcd_endpoints": ["https://10.0.0.1:2379", "http://[::1]:2379/"],
            "etcd_ca": "etcd-ca.pem",
            "nats_servers": ["tls://n1.example:4222"],
            "nats_monitors": ["http://n1.example:8222"],
        },
    )
    settings = config.hub_settings(directory, {"PARLEY_NATS_MONITORS": "http://a:1, http://b:2"})
    assert settings.etcd_endpoints == ("https://10.0.0.1:2379", "http://[::1]:2379")
    assert settings.etcd_ca == directory / "etcd-ca.pem"
    assert settings.nats_servers == ("tls://n1.example:4222",)
    assert settings.nats_monitors == ("http://a:1", "http://b:2")


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"etcd_endpoints": ["10.0.0.1:2379"]}, ["etcd_endpoints"]),
        ({"etcd_endpoints": ["https://user:secret@a:1"]}, ["etcd_endpoints"]),
        ({"etcd_endpoints": ["https://a:1/path"]}, ["etcd_endpoints"]),
        ({"etcd_endpoints": "https://a"}, ["etcd_endpoints"]),
        ({"etcd_endpoints": 7}, ["etcd_endpoints"]),
        ({"etcd_endpoints": [7]}, ["etcd_endpoints"]),
        ({"nats_servers": ["https://a:1"], "nats_monitors": ["http://a:2"]}, ["nats_servers"]),
        ({"nats_servers": ["nats://a:1"]}, ["nats_monitors"]),
        ({"nats_monitors": ["http://a:2"]}, ["nats_servers"]),
        ({"etcd_certificate": "a.pem"}, ["etcd_key"]),
        ({"nats_key": "a.pem"}, ["nats_certificate"]),
    ],
)
def test_settings_of_clusters_that_cannot_be_used_are_named(
    directory: Path, values: dict[str, Any], fields: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        config.save(directory, "hub", {**HUB, **values})
    assert [problem.field for problem in caught.value.problems] == fields
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"dataspace_bind": "127.0.0.1:7005"}, "dataspace_url"),
        ({"dataspace_url": "https://lender.example:7005"}, "dataspace_bind"),
    ],
)
def test_a_connector_is_bound_and_announced_or_there_is_none(
    directory: Path, given: dict[str, str], missing: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config.save(directory, "node", NODE | given)
    assert [problem.field for problem in caught.value.problems] == [missing]
    both = {"dataspace_bind": "127.0.0.1:7005", "dataspace_url": "https://lender.example:7005"}
    config.save(directory, "node", NODE | both | {"dataspace_guests": ["MAA"]})
    settings = config.node_settings(directory, {})
    assert (settings.dataspace_bind, settings.dataspace_guests) == ("127.0.0.1:7005", (b"0\x00",))
