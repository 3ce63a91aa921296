"""``parley model``: versions of models that several owners trained, and scores of single persons."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from exchange.cli.access import client, person
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows
from ledger.rules.models import MAX_REASONS

__all__ = ["all_models", "draft", "file", "model", "score", "show", "statement", "withdraw"]

_HERE = "exchange.cli.models"

model = LazyGroup(
    "model",
    {
        "list": f"{_HERE}:all_models",
        "show": f"{_HERE}:show",
        "draft": f"{_HERE}:draft",
        "file": f"{_HERE}:file",
        "network": "exchange.cli.networks:network",
        "withdraw": f"{_HERE}:withdraw",
        "score": f"{_HERE}:score",
        "statement": f"{_HERE}:statement",
    },
    "model",
)

_PART = (
    option("--key", key="model_key", required=True),
    option("--asset", key="model_asset"),
    option("--rule", "rules", key="model_rule", multiple=True),
    option("--fallback", key="model_fallback", type=click.Choice(["mean", "none"]), default="none"),
    option("--per-minute", "minute", key="model_per_minute", type=click.IntRange(1)),
    option("--per-day", "day", key="model_per_day", type=click.IntRange(1)),
    option("--reasons", key="model_reasons", type=click.IntRange(0, MAX_REASONS), default=0),
)


def _part(function: Any) -> Any:  # noqa: ANN401 - a decorator of click's
    for add in reversed(_PART):
        function = add(function)
    return function


@command("model.list")
@person
@click.pass_context
def all_models(context: click.Context, org: str, home: Path | None) -> None:
    """List the versions of all models."""
    with client(context, org, home) as node:
        found = node.models()
    columns = ["model", "version", "status", "component", "job", "purposes"]
    invocation(context).output.result(found, rows(found, columns))


@command("model.show")
@click.argument("name")
@click.argument("version", type=click.IntRange(1))
@person
@click.pass_context
def show(context: click.Context, name: str, version: int, org: str, home: Path | None) -> None:
    """Show a version, and how far this organisation's table for it is."""
    with client(context, org, home) as node:
        found = node.model(name, version)
    invocation(context).output.result(found, fields(found))


@command("model.draft")
@click.argument("name")
@option("--job", key="model_job", required=True)
@option("--step", key="model_step", default="train", show_default=True)
@option("--purpose", "purposes", key="purpose", multiple=True, required=True)
@_part
@person
@click.pass_context
def draft(
    context: click.Context,
    /,
    name: str,
    job: str,
    step: str,
    purposes: tuple[str, ...],
    org: str,
    home: Path | None,
    **part: Any,  # noqa: ANN401 - the options of a part
) -> None:
    """Draft the next version of a model, as its label holder."""
    with client(context, org, home) as node:
        made = node.draft_model(name, job=job, step=step, purposes=purposes, part=_listed(part))
    invocation(context).output.result(made, fields(made))


@command("model.file")
@click.argument("name")
@click.argument("version", type=click.IntRange(1))
@_part
@person
@click.pass_context
def file(
    context: click.Context,
    /,
    name: str,
    version: int,
    org: str,
    home: Path | None,
    **part: Any,  # noqa: ANN401 - the options of a part
) -> None:
    """File this organisation's part of another's draft."""
    with client(context, org, home) as node:
        made = node.file_model_part(name, version, _listed(part))
    invocation(context).output.result(made, fields(made))


@command("model.withdraw")
@click.argument("name")
@click.argument("version", type=click.IntRange(1))
@option("--reason", key="reason", required=True)
@person
@click.pass_context
def withdraw(
    context: click.Context, name: str, version: int, reason: str, org: str, home: Path | None
) -> None:
    """Withdraw a version."""
    with client(context, org, home) as node:
        made = node.withdraw_model(name, version, reason)
    invocation(context).output.result(made, fields(made))


@command("model.score")
@click.argument("name")
@option("--purpose", key="purpose_one", required=True)
@option("--person", "persons", key="model_person", multiple=True)
@option("--version", "version", key="model_version", type=click.IntRange(1))
@option("--wait-ms", key="model_wait", type=click.IntRange(10), default=500, show_default=True)
@person
@click.pass_context
def score(
    context: click.Context,
    name: str,
    purpose: str,
    persons: tuple[str, ...],
    version: int | None,
    wait_ms: int,
    org: str,
    home: Path | None,
) -> None:
    """Score persons. Exit code 1 where one has no score."""
    asked = list(persons) or [_read_person(context)]
    with client(context, org, home) as node:
        scores = node.score(name, asked, purpose, version=version, wait_ms=wait_ms)
    columns = ["score", "probability", "fallbacks", "missing", "reasons"]
    invocation(context).output.result(scores, rows(scores, columns))
    if any(one["score"] is None for one in scores):
        context.exit(1)


@command("model.statement")
@person
@click.pass_context
def statement(context: click.Context, org: str, home: Path | None) -> None:
    """Show how many persons were scored, as on the ledger."""
    with client(context, org, home) as node:
        found = node.model_statement()
    columns = ["model", "version", "purpose", "provider", "consumer", "persons", "calls", "fee", "receipts"]
    invocation(context).output.result(found, rows(found, columns))


def _listed(part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "rules": list(part["rules"])}


def _read_person(context: click.Context) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt(invocation(context).text("prompt.model_person"), hide_input=True, err=True))
