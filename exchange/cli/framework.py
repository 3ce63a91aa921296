"""How every command is declared: lazily loaded, with help from the catalogue and the common options.

A command's help and an option's help are keys of ``messages.json``; they become text only when printed, in
the language of that call. Groups name their members without importing them, so ``parley --help`` is fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from exchange.cli import messages

if TYPE_CHECKING:
    from exchange.cli.output import Output

__all__ = [
    "FORMATS",
    "Command",
    "Invocation",
    "LazyGroup",
    "Option",
    "alias",
    "command",
    "invocation",
    "option",
]

FORMATS = ("text", "json", "jsonl")
Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(frozen=True)
class Invocation:
    """What one call of ``parley`` was asked for, apart from its own arguments."""

    output: Output
    language: str
    environment: Mapping[str, str]

    def text(self, key: str, **values: object) -> str:
        """Fill a sentence of the catalogue in the caller's language."""
        return messages.text(self.language, key, **values)


def invocation(context: click.Context) -> Invocation:
    """Return the invocation of a running command."""
    found = context.find_object(Invocation)
    if found is None:
        raise click.UsageError("this command runs only under `parley`")
    return found


def _language(context: click.Context) -> str:
    found = context.find_object(Invocation)
    return found.language if found is not None else messages.LANGUAGES[0]


class Option(click.Option):
    """An option whose help is a key of the catalogue."""

    def get_help_record(self, context: click.Context) -> tuple[str, str] | None:
        """Show the option's sentence in the caller's language."""
        record = super().get_help_record(context)
        if record is None or self.help is None:
            return record
        return record[0], record[1].replace(self.help, messages.text(_language(context), self.help), 1)


def _common() -> list[click.Parameter]:
    # Both are read before parsing (see application.main), so that even a usage error obeys them.
    return [
        Option(["--format"], type=click.Choice(FORMATS), expose_value=False, help="option.format"),
        Option(["--lang"], type=click.Choice(messages.LANGUAGES), expose_value=False, help="option.lang"),
    ]


def _write_help(context: click.Context, formatter: click.HelpFormatter, key: str | None) -> None:
    if key is not None:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(messages.text(_language(context), key))


def _help_option(made: click.Option | None) -> click.Option | None:
    if made is None:
        return None
    return Option(
        list(made.opts),
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=made.callback,
        help="option.help",
    )


class Command(click.Command):
    """A command with the common options and translated help."""

    def __init__(self, *args: object, **attributes: object) -> None:
        super().__init__(*args, **attributes)  # type: ignore[arg-type]  # click's own signature, unchanged
        self.params.extend(_common())

    def format_help_text(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's sentence in the caller's language."""
        _write_help(context, formatter, self.help)

    def get_help_option(self, context: click.Context) -> click.Option | None:
        """Describe ``--help`` in the caller's language."""
        return _help_option(super().get_help_option(context))


class LazyGroup(click.Group):
    """A group that knows its members by name and imports one when it is used.

    ``members`` maps a command's name to ``module:attribute``; its short help is ``help.<path>``.
    """

    def __init__(self, name: str, members: Mapping[str, str], path: str = "") -> None:
        super().__init__(name=name, help=f"help.{path}" if path else "help.parley")
        self.members, self.path = dict(members), path
        self.params.extend(_common())

    def list_commands(self, context: click.Context) -> list[str]:
        """Name the members, in the order in which they were declared."""
        return list(self.members)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import one member."""
        target = self.members.get(name)
        if target is None:
            return None
        module, attribute = target.split(":")
        loaded = getattr(import_module(module), attribute)
        if not isinstance(loaded, click.Command):
            raise TypeError(f"{target} is not a command")
        return loaded

    def format_help_text(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the group's sentence in the caller's language."""
        _write_help(context, formatter, self.help)

    def get_help_option(self, context: click.Context) -> click.Option | None:
        """Describe ``--help`` in the caller's language."""
        return _help_option(super().get_help_option(context))

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the members with their sentences, importing none."""
        prefix = f"help.{self.path}." if self.path else "help."
        rows = [(name, messages.text(_language(context), prefix + name)) for name in self.members]
        with formatter.section(messages.text(_language(context), "help.commands")):
            formatter.write_dl(rows)


def command(path: str) -> Callable[[Callable[..., object]], Command]:
    """Declare a command; ``path`` is its place, as in ``asset.publish``."""

    def declare(function: Callable[..., object]) -> Command:
        made = click.command(name=path.rsplit(".", 1)[-1], cls=Command, help=f"help.{path}")(function)
        return made

    return declare


def alias(made: Command, path: str) -> Command:
    """Declare a command that does the same as ``made`` in another place."""
    common = {parameter.name for parameter in _common()}
    own = [parameter for parameter in made.params if parameter.name not in common]
    return Command(name=path.rsplit(".", 1)[-1], callback=made.callback, params=own, help=f"help.{path}")


def option(*names: str, key: str, **attributes: object) -> Callable[[Function], Function]:
    """Declare an option whose help is the sentence ``option.<key>``."""
    made = click.option(*names, cls=Option, help=f"option.{key}", **attributes)
    return made


def directory(names: str = "--dir", key: str = "dir") -> Callable[[Function], Function]:
    """Declare the option that names a process's own data directory."""
    return option(names, "directory", key=key, required=True, type=click.Path(path_type=Path))
