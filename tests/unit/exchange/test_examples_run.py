"""What comes of an example that fails: told as such, with nothing of the data, and the others still run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchange.cli import main
from exchange.errors import JobFailed
from exchange.examples import Example, Examples, run
from exchange.examples.stage import Stage


class NoProcesses:
    """A consortium that is up and has nobody in it."""

    @classmethod
    def up(cls, *_: object, **__: object) -> NoProcesses:
        return cls()

    def stop(self) -> None:
        """End nothing."""


def raising(error: Exception) -> Callable[[Stage], tuple[object, object]]:
    def ask(stage: Stage) -> tuple[object, object]:
        stage.components.add("psi/ecdh")
        raise error

    return ask


ASKED = {
    "refused": raising(JobFailed("expected at least 5 matches, found fewer")),
    "broken": raising(KeyError("P0000017")),
    "uneven": lambda stage: ([1, "x"], [1, 2]),
    "right": lambda stage: ([1, 2], [1, 2]),
}


@pytest.fixture(autouse=True)
def _staged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "Consortium", NoProcesses)
    monkeypatch.setattr(run, "EXAMPLES", {name: Example(name, ask, ()) for name, ask in ASKED.items()})


def test_an_example_that_fails_in_whatever_way_is_told_and_the_next_is_run(tmp_path: Path) -> None:
    outcomes = list(Examples(tmp_path, lambda key, done, total: None).run(ASKED))
    assert [(one.name, one.answer, one.is_equal) for one in outcomes] == [
        ("refused", "expected at least 5 matches, found fewer", False),
        ("broken", "KeyError", False),
        ("uneven", "[1, 'x']", False),
        ("right", "[1, 2]", True),
    ]
    assert outcomes[1].components == ("psi/ecdh",)
    assert not list(tmp_path.iterdir())


def test_an_interruption_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(stage: Stage) -> tuple[object, object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "EXAMPLES", {"stopped": Example("stopped", ask, ())})
    with pytest.raises(KeyboardInterrupt):
        list(Examples(tmp_path, lambda key, done, total: None).run(["stopped"]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("names", "code"), [(("broken", "right"), 1), (("right",), 0)])
def test_the_command_ends_with_1_where_one_of_them_failed(
    names: tuple[str, ...], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["example", "run", *names, "--home", str(tmp_path), "--format", "json"]) == code
    shown = capsys.readouterr()
    found: list[dict[str, Any]] = json.loads(shown.out)["data"]
    assert [one["name"] for one in found] == list(names)
    assert "P0000017" not in shown.out + shown.err
