"""The images and the compose file, linted: no container engine is needed for what is checked here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from exchange.cli.application import root

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
IMAGES = ("hub", "node")
NODES = ("lender", "bureau", "analyst", "regulator")


def hadolint() -> str | None:
    return shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")


def instructions(image: str) -> list[tuple[str, str]]:
    text = (DOCKER / f"{image}.Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def last_stage(image: str) -> list[tuple[str, str]]:
    found = instructions(image)
    start = max(number for number, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize("image", IMAGES)
def test_hadolint_finds_nothing(image: str) -> None:
    program = hadolint()
    if program is None:
        pytest.skip("hadolint is packaged for Linux on x86-64 only")
    done = subprocess.run(
        [program, "--config", DOCKER / "hadolint.yaml", DOCKER / f"{image}.Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("image", IMAGES)
def test_the_final_stage_has_no_build_tools_and_no_root(image: str) -> None:
    stage = last_stage(image)
    runs = " ".join(rest for word, rest in stage if word == "RUN")
    assert "pip" not in runs
    assert "apt" not in runs
    users = [rest for word, rest in stage if word == "USER"]
    assert users == ["10001:10001"]
    assert any(word == "HEALTHCHECK" for word, _ in stage)


@pytest.mark.parametrize("image", IMAGES)
def test_the_base_is_a_public_image(image: str) -> None:
    bases = [rest.split()[0] for word, rest in instructions(image) if word == "FROM"]
    assert set(bases) == {"python:3.11-slim-bookworm"}


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_copied_exists_and_is_in_the_build_context(image: str) -> None:
    admitted = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"
    }
    for word, rest in instructions(image):
        if word == "COPY" and not rest.startswith("--from") and rest != ". .":
            for source in rest.split()[:-1]:
                assert (ROOT / source).is_file(), source
                assert any(Path(source).match(pattern) for pattern in admitted), source


def test_the_build_context_holds_all_that_an_installation_needs() -> None:
    admitted = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"
    }
    packages = {"exchange", "federated", "mpc", "ledger", "connectors", "policies"}
    assert packages | {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"} <= admitted


@pytest.mark.parametrize("script", ["hub-entrypoint", "node-entrypoint", "passphrases"])
def test_scripts_parse_and_may_be_run(script: str) -> None:
    path = DOCKER / script
    assert path.stat().st_mode & 0o111
    assert subprocess.run(["sh", "-n", path], check=False).returncode == 0


def test_the_compose_file_holds_the_demos_consortium(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"hub", *NODES}
    assert compose["services"]["hub"]["environment"]["FOUNDERS"].split() == list(NODES)
    for name in NODES:
        assert compose["services"][name]["environment"]["PARTICIPANT"] == name


def test_each_process_has_its_own_volume_and_its_own_passphrase(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        mounts = dict(volume.split(":")[:2] for volume in service["volumes"])
        assert mounts[name] == "/data"
        assert set(mounts) & set(compose["volumes"]) == {name, "papers"}
        assert service["secrets"] == [name]
        assert service["environment"]["PASSPHRASE_FILE"] == f"/run/secrets/{name}"
        assert compose["secrets"][name] == {"file": f"./secrets/{name}"}


def test_no_passphrase_is_in_the_repository() -> None:
    assert "secrets/" in (DOCKER / ".gitignore").read_text("utf-8").splitlines()


def test_services_are_confined(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "network_mode", "pid", "cap_add", "user"} & set(service), name
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_services_are_built_here(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["image"] == ("parley-hub" if name == "hub" else "parley-node")
        assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_commands_are_options_of_parley(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        group = root().get_command(click.Context(root()), "hub" if name == "hub" else "node")
        assert isinstance(group, click.Group)
        init = group.get_command(click.Context(group), "init")
        assert init is not None
        known = {option for parameter in init.params for option in parameter.opts}
        assert {word for word in service["command"] if str(word).startswith("--")} <= known
