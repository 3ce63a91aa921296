"""``parley lookup``: ask other members' lists about keys that they do not learn; open such a service."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from exchange.cli.access import client, person
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows
from exchange.errors import InvalidRequest

__all__ = ["batch", "lookup", "publish", "query", "services", "statement", "withdraw"]

_HERE = "exchange.cli.lookups"
_PATH = click.Path(path_type=Path, dir_okay=False)

lookup = LazyGroup(
    "lookup",
    {
        "publish": f"{_HERE}:publish",
        "services": f"{_HERE}:services",
        "query": f"{_HERE}:query",
        "batch": f"{_HERE}:batch",
        "statement": f"{_HERE}:statement",
        "withdraw": f"{_HERE}:withdraw",
    },
    "lookup",
)


@command("lookup.publish")
@click.argument("service")
@option("--asset", key="lookup_asset")
@option("--key", "keys", key="lookup_key_column", multiple=True, required=True)
@option("--record", "record", key="lookup_record", multiple=True)
@option(
    "--record-bytes", key="lookup_record_bytes", type=click.IntRange(16, 256), default=64, show_default=True
)
@option("--price", key="lookup_price", type=click.IntRange(0), default=0, show_default=True)
@option("--per-minute", key="lookup_per_minute", type=click.IntRange(1))
@option("--per-day", key="lookup_per_day", type=click.IntRange(1))
@option("--purpose", "purposes", key="purpose", multiple=True, required=True)
@option("--epoch", key="lookup_epoch", type=click.IntRange(1), default=1, show_default=True)
@person
@click.pass_context
def publish(
    context: click.Context,
    service: str,
    asset: str | None,
    keys: tuple[str, ...],
    record: tuple[str, ...],
    record_bytes: int,
    price: int,
    per_minute: int | None,
    per_day: int | None,
    purposes: tuple[str, ...],
    epoch: int,
    org: str,
    home: Path | None,
) -> None:
    """Open a service, or its next release, and wait until it is on the ledger."""
    called = invocation(context)
    body = {
        "service": service,
        "asset": asset or service,
        "keys": [_key_column(text) for text in keys],
        "record": list(record),
        "record_bytes": record_bytes,
        "price": price,
        "rates": {"minute": per_minute, "day": per_day},
        "purposes": list(purposes),
        "epoch": epoch,
    }
    called.output.note("note.lookup_building", service=service)
    with client(context, org, home) as node:
        made = node.open_lookup(body)
    released = made["released"]
    called.output.result(released, fields(released))


@command("lookup.services")
@person
@click.pass_context
def services(context: click.Context, org: str, home: Path | None) -> None:
    """List the services of all members."""
    with client(context, org, home) as node:
        found = node.lookup_services()
    columns = [
        "service",
        "release",
        "entries",
        "record",
        "record_bytes",
        "price",
        "rates",
        "purposes",
        "status",
    ]
    invocation(context).output.result(found, rows(found, columns))


@command("lookup.query")
@click.argument("service", nargs=-1, required=True)
@option("--purpose", key="purpose_one", required=True)
@option("--value", "values", key="lookup_value", multiple=True)
@option("--agreement", key="agreement")
@person
@click.pass_context
def query(
    context: click.Context,
    service: tuple[str, ...],
    purpose: str,
    values: tuple[str, ...],
    agreement: str | None,
    org: str,
    home: Path | None,
) -> None:
    """Look one key up. Exit code 1 where a service did not answer."""
    key = list(values) or [_read_key(context)]
    with client(context, org, home) as node:
        answers = node.lookup(_named(service, agreement), [key], purpose)
    shown = [_line(answer, answer["records"][0] if answer["records"] else {}) for answer in answers]
    columns = ["service", "outcome", "found", "record", "release", "fee", "duration_ms", "detail"]
    invocation(context).output.result(answers, rows(shown, columns))
    _end(context, answers)


@command("lookup.batch")
@click.argument("service", nargs=-1, required=True)
@option("--keys", "source", key="lookup_keys", required=True, type=click.Path(path_type=Path, exists=True))
@option("--header", key="lookup_header", is_flag=True)
@option("--purpose", key="purpose_one", required=True)
@option("--agreement", key="agreement")
@option("--out", key="lookup_out", type=_PATH)
@person
@click.pass_context
def batch(
    context: click.Context,
    service: tuple[str, ...],
    source: Path,
    header: bool,
    purpose: str,
    agreement: str | None,
    out: Path | None,
    org: str,
    home: Path | None,
) -> None:
    """Look the keys of a file up, at most 10,000. Exit code 1 where a service did not answer."""
    keys = _read_keys(source, header)
    with client(context, org, home) as node:
        answers = node.lookup(_named(service, agreement), keys, purpose)
    if out is not None:
        _write(out, keys, answers)
    shown = [
        _line(answer, {"found": sum(one["found"] for one in answer["records"])}) | {"keys": len(keys)}
        for answer in answers
    ]
    columns = ["service", "outcome", "keys", "found", "release", "fee", "duration_ms", "detail"]
    invocation(context).output.result(shown if out is not None else answers, rows(shown, columns))
    _end(context, answers)


@command("lookup.statement")
@person
@click.pass_context
def statement(context: click.Context, org: str, home: Path | None) -> None:
    """Show what was asked and is owed."""
    with client(context, org, home) as node:
        found = node.lookup_statement()
    columns = ["service", "purpose", "provider", "consumer", "queries", "fee", "signed", "owed", "receipts"]
    invocation(context).output.result(found, rows(found, columns))


@command("lookup.withdraw")
@click.argument("service")
@option("--reason", key="reason", required=True)
@person
@click.pass_context
def withdraw(context: click.Context, service: str, reason: str, org: str, home: Path | None) -> None:
    """Close a service."""
    with client(context, org, home) as node:
        made = node.withdraw_lookup(service, reason)
    invocation(context).output.result(made, fields(made))


def _key_column(text: str) -> dict[str, Any]:
    column, _, rules = text.partition("=")
    return {"column": column, "rules": [rule for rule in rules.split(",") if rule]}


def _named(services: Sequence[str], agreement: str | None) -> Sequence[str] | Mapping[str, str]:
    return list(services) if agreement is None else dict.fromkeys(services, agreement)


def _read_key(context: click.Context) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    text = invocation(context).text("prompt.lookup_key")
    return str(click.prompt(text, hide_input=True, err=True))


def _read_keys(source: Path, header: bool) -> list[list[str]]:
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error):
        raise InvalidRequest("--keys", "a CSV file in UTF-8", source.name) from None
    return lines[1:] if header else lines


def _line(answer: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: answer[name] for name in ("service", "outcome", "release", "fee", "duration_ms", "detail")}
    return {**shown, "found": more.get("found"), "record": more.get("record")}


def _write(out: Path, keys: Sequence[Sequence[str]], answers: Sequence[Mapping[str, Any]]) -> None:
    out.touch(mode=0o600)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        for answer in answers:
            for key, one in zip(keys, answer["records"], strict=False):
                record = "" if one["record"] is None else json.dumps(one["record"], ensure_ascii=False)
                writer.writerow([*key, answer["service"], str(one["found"]).lower(), record])


def _end(context: click.Context, answers: Sequence[Mapping[str, Any]]) -> None:
    if any(answer["outcome"] != "answered" for answer in answers):
        context.exit(1)
