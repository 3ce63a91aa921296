"""The root command and the one boundary at which every failure becomes an exit code.

Exit codes: 0 ok, 1 the job or the server said no, 2 no connection or no right, 3 time-out, 4 arguments,
5 internal.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace

import click

from exchange.cli import messages
from exchange.cli.framework import FORMATS, Invocation, LazyGroup, Option
from exchange.cli.output import Output
from exchange.errors import PublicFace, public_face

__all__ = ["EXIT_ARGUMENTS", "EXIT_INTERNAL", "EXIT_INTERRUPTED", "main", "root"]

EXIT_ARGUMENTS = 4
EXIT_INTERNAL = 5
EXIT_INTERRUPTED = 130  # 128 + SIGINT, what a shell expects

_HERE = "exchange.cli"


def root() -> LazyGroup:
    """Build the command tree. Nothing below the first level is imported until it is used."""
    group = {
        "demo": f"{_HERE}.demo:demo",
        "up": f"{_HERE}.consortium:up",
        "status": f"{_HERE}.consortium:status",
        "down": f"{_HERE}.consortium:down",
        "hub": f"{_HERE}.hub:hub",
        "node": f"{_HERE}.node:node",
        "witness": f"{_HERE}.witness:witness",
        "sign-in": f"{_HERE}.sign_in:sign_in",
        "sign-out": f"{_HERE}.sign_in:sign_out",
        "people": f"{_HERE}.people:people",
        "gov": f"{_HERE}.governance:gov",
        "did": f"{_HERE}.dids:did",
        "review": f"{_HERE}.reviews:review",
        "credential": f"{_HERE}.credentials:credential",
        "consent": f"{_HERE}.consents:consent",
        "eligibility": f"{_HERE}.eligibility:eligibility",
        "example": f"{_HERE}.examples:example",
        "asset": f"{_HERE}.assets:asset",
        "catalog": f"{_HERE}.catalog:catalog",
        "stream": f"{_HERE}.sources:stream",
        "agreement": f"{_HERE}.agreements:agreement",
        "dataspace": f"{_HERE}.dataspace:dataspace",
        "approval": f"{_HERE}.approvals:approval",
        "policy": f"{_HERE}.policies:policy",
        "job": f"{_HERE}.jobs:job",
        "psi": f"{_HERE}.questions:psi",
        "stats": f"{_HERE}.questions:stats",
        "joint-stats": f"{_HERE}.joint:joint_stats",
        "sql": f"{_HERE}.queries:sql",
        "truth-check": f"{_HERE}.truth:truth_check",
        "budget": f"{_HERE}.budgets:budget",
        "release": f"{_HERE}.budgets:release",
        "lineage": f"{_HERE}.budgets:lineage",
        "delivery": f"{_HERE}.deliveries:delivery",
        "lookup": f"{_HERE}.lookups:lookup",
        "model": f"{_HERE}.models:model",
        "audit": f"{_HERE}.audit:audit",
        "ledger": f"{_HERE}.ledger:ledger",
        "verify": f"{_HERE}.verify:verify",
        "notarize": f"{_HERE}.notarize:notarize",
        "config": f"{_HERE}.checks:config",
        "doctor": f"{_HERE}.checks:doctor",
    }
    made = LazyGroup("parley", group)
    made.params.append(
        Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="option.version",
        )
    )
    return made


def _version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import version

    click.echo(version("parley-exchange"))
    context.exit(0)


def _given(arguments: Sequence[str], name: str) -> str | None:
    """Find the value of a common option wherever it stands."""
    for position, argument in enumerate(arguments):
        if argument == "--":
            return None
        if argument == name and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith(name + "="):
            return argument.removeprefix(name + "=")
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one call of ``parley`` and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    wanted = _given(given, "--format")
    language = messages.spoken(_given(given, "--lang"), os.environ)
    output = Output(wanted if wanted in FORMATS else FORMATS[0], language, sys.stdout, sys.stderr)
    called = Invocation(output, language, os.environ)
    try:
        code = root().main(given, prog_name="parley", standalone_mode=False, obj=called)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        where = error.ctx.command_path + ": " if isinstance(error, click.UsageError) and error.ctx else ""
        output.problem(
            PublicFace(422, "Arguments", "arguments", where + error.format_message(), False, EXIT_ARGUMENTS)
        )
        return EXIT_ARGUMENTS
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the process boundary: whatever failed becomes an exit code
        face = getattr(error, "face", None)
        face = face if isinstance(face, PublicFace) else public_face(error)
        if face.exit_code == EXIT_INTERNAL:
            traceback.print_exc()
            face = replace(face, detail=type(error).__name__)
        output.problem(face)
        return face.exit_code
    return code if isinstance(code, int) else 0
