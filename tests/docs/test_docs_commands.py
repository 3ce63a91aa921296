"""Every command, option and target that a document shows exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from exchange.cli.application import root

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
AREAS = [path.stem for path in (ROOT / "benchmarks").glob("*.py")]
TARGETS |= {f"bench-{name}" for area in AREAS for name in (area, area.partition("_")[0])}


def shown(page: Path) -> Iterator[str]:
    """Command lines in shell blocks and in inline code."""
    text = page.read_text("utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        yield from (line for line in block.splitlines() if line and not line.startswith("#"))
    for code in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if re.match(r"(parley|make) \w", code):
            yield code.replace("\n", " ")


def options_of(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def check(line: str) -> None:
    words = shlex.split(line)
    command: click.Command = root()
    known = options_of(command)
    arguments = iter(words[1:])
    for word in arguments:
        if word.startswith("--"):
            assert word.split("=")[0] in known, f"{line}: {command.name} has no option {word}"
        elif isinstance(command, click.Group):
            if word == "…":
                return
            found = command.get_command(click.Context(command), word)
            assert found is not None, f"{line}: there is no command {word}"
            command, known = found, known | options_of(found)


COMMANDS = sorted({(page.name, line) for page in PAGES for line in shown(page) if line.startswith("parley ")})
MAKES = sorted({(page.name, line) for page in PAGES for line in shown(page) if line.startswith("make ")})


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_the_command_exists(page: str, line: str) -> None:
    check(line)


@pytest.mark.parametrize(("page", "line"), MAKES)
def test_the_target_exists(page: str, line: str) -> None:
    targets = [word for word in line.split()[1:] if re.fullmatch(r"[a-z_-]+", word)]
    assert targets
    assert set(targets) <= TARGETS


def test_commands_were_found_at_all() -> None:
    assert len(COMMANDS) > 30
    assert len(MAKES) > 4


def test_an_unknown_option_would_be_found() -> None:
    with pytest.raises(AssertionError, match="no option --nonsense"):
        check("parley asset list --nonsense")
    with pytest.raises(AssertionError, match="no command lst"):
        check("parley asset lst")


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    run = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert run[-1] == "make test"
    assert "make test" in [line for _, line in MAKES]


def test_both_readmes_show_the_same_commands() -> None:
    blocks = [
        re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL)
        for name in ("README.md", "README.zh.md")
    ]
    assert blocks[0] == blocks[1]
