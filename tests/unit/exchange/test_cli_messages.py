import json
import re
from importlib import import_module
from pathlib import Path

import click
import pytest

from exchange.cli import application, messages
from exchange.cli.framework import LazyGroup

PACKAGES = ("cli", "demo", "local", "sdk")
# Keys that are built while running; each pattern must match at least one key of the catalogue.
BUILT = (
    r"help\..*",
    r"option\..*",
    r"hint\..*",
    r"demo\.step\.\d",
    r"example\..*",
    r"demo\.refused\..*",
    r"notarize\.outcome\..*",
    r"content\..*",
    r"policy\.verdict\..*",
    r"quality\..*",
    r"reason\..*",
    r"sql\.operator\..*",
    r"suggestion\..*",
    r"truth\.reason\..*",
)


def sources() -> str:
    root = Path(str(import_module("exchange").__file__)).parent
    return "\n".join(
        path.read_text() for package in PACKAGES for path in sorted((root / package).glob("*.py"))
    )


def commands(group: LazyGroup, path: str = "") -> dict[str, click.Command]:
    context = click.Context(group)
    found: dict[str, click.Command] = {}
    for name in group.list_commands(context):
        member = group.get_command(context, name)
        assert member is not None
        place = f"{path}.{name}" if path else name
        found[place] = member
        if isinstance(member, LazyGroup):
            found |= commands(member, place)
    return found


@pytest.mark.parametrize("key", sorted(messages.catalogue()))
def test_every_sentence_exists_in_every_language_with_the_same_places(key: str) -> None:
    texts = messages.catalogue()[key]
    assert set(texts) == set(messages.LANGUAGES)
    assert all(text.strip() for text in texts.values())
    places = {language: set(re.findall(r"{(\w+)}", text)) for language, text in texts.items()}
    assert places["en"] == places["zh"]


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_what_help_shows_has_no_places_to_fill(language: str) -> None:
    for key in messages.catalogue():
        if key.startswith(("help.", "option.")):
            assert messages.text(language, key)


def test_every_command_and_option_has_its_sentence() -> None:
    for place, command in commands(application.root()).items():
        assert command.help == f"help.{place}"
        assert messages.has(str(command.help))
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert messages.has(str(parameter.help)), (place, parameter.name)


def test_every_sentence_is_used() -> None:
    text = sources()
    declared = commands(application.root())
    used = {f"help.{place}" for place in declared} | {"help.parley"}
    used |= {
        str(parameter.help)
        for command in (application.root(), *declared.values())
        for parameter in command.params
        if isinstance(parameter, click.Option)
    }
    for key in messages.catalogue():
        built = any(re.fullmatch(pattern, key) for pattern in BUILT[2:])
        assert key in used or built or f'"{key}"' in text, key


def test_the_catalogue_is_sorted_so_that_changes_are_readable() -> None:
    path = Path(str(import_module("exchange.cli").__file__)).parent / "messages.json"
    assert list(json.loads(path.read_text())) == sorted(messages.catalogue())


@pytest.mark.parametrize(
    ("requested", "environment", "expected"),
    [
        (None, {}, "en"),
        ("zh", {}, "zh"),
        (None, {"PARLEY_LANG": "zh_CN.UTF-8"}, "zh"),
        ("en", {"PARLEY_LANG": "zh"}, "en"),
        ("fr", {"PARLEY_LANG": "zh"}, "zh"),
        (None, {"PARLEY_LANG": "fr"}, "en"),
    ],
)
def test_the_option_wins_over_the_environment(
    requested: str | None, environment: dict[str, str], expected: str
) -> None:
    assert messages.spoken(requested, environment) == expected


def test_every_kind_of_content_and_reason_has_its_sentence() -> None:
    from exchange.publishing.content import Content

    reasons = ("valid-share", "column-name", "every-row-differs", "few-values", "data-type")
    assert {key for key in messages.catalogue() if key.startswith("content.")} == {
        f"content.{kind}" for kind in Content
    }
    assert {key for key in messages.catalogue() if key.startswith("suggestion.")} == {
        f"suggestion.{code}" for code in reasons
    }


def test_every_reason_of_a_truth_check_has_its_sentence() -> None:
    from exchange.simulated.references import Reason

    found = {key.removeprefix("truth.reason.") for key in messages.catalogue() if "truth.reason." in key}
    assert found == set(Reason)
