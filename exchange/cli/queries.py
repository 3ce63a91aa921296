"""``parley sql``: a query over several owners' tables, explained or answered."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exchange.cli.access import client, person
from exchange.cli.framework import Invocation, LazyGroup, command, invocation, option
from exchange.cli.jobs import DEFAULT_TIMEOUT_S, fetch, wait_for
from exchange.cli.output import rows
from exchange.cli.policies import simulation_view

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["explain", "run", "sql"]

_HERE = "exchange.cli.queries"
DEFAULT_MIN_COHORT = 10
MATCHINGS = ("psi/ecdh", "psi/rr22")
_STANDARD_INPUT = "-"

sql = LazyGroup("sql", {"explain": f"{_HERE}:explain", "run": f"{_HERE}:run"}, "sql")


def read_query(argument: str) -> str:
    """The query as it was given; ``-`` reads it from standard input."""
    return sys.stdin.read() if argument == _STANDARD_INPUT else argument


def explanation_view(called: Invocation, found: Mapping[str, Any]) -> RenderableType:
    """Lay out an explanation: a line for each operator, then what each owner decides."""
    from rich.console import Group

    lines = [
        {
            "id": one["id"],
            "kind": called.text(f"sql.operator.{one['kind']}"),
            "where": one["where"],
            "inputs": one["inputs"],
            "detail": one["detail"],
            "rows": one["rows"],
            "sent_bytes": one["sent_bytes"],
            "rounds": one["rounds"],
            "milliseconds": one["milliseconds"],
            "learns": "\n".join(f"{each['who']}: {each['what']}" for each in one["learns"]),
        }
        for one in found["operators"]
    ]
    title = called.text(
        "sql.explained",
        component=found["component"],
        engine=found["engine"],
        plan=str(found["plan"])[:16],
    )
    return Group(rows(lines, list(lines[0]), title=title), simulation_view(called, found["decision"]))


@command("sql.explain")
@click.argument("query")
@option("--purpose", key="purpose_one", required=True)
@option("--min-cohort", key="min_cohort", type=click.IntRange(1), default=DEFAULT_MIN_COHORT)
@option("--helper", key="sql_helper", metavar="MEMBER")
@option(
    "--matching", key="sql_matching", type=click.Choice(MATCHINGS), default=MATCHINGS[0], show_default=True
)
@option("--agreement", "named", key="agreement", multiple=True)
@person
@click.pass_context
def explain(
    context: click.Context,
    query: str,
    purpose: str,
    min_cohort: int,
    helper: str | None,
    matching: str,
    named: tuple[str, ...],
    org: str,
    home: Path | None,
) -> None:
    """Say what a query would compute where, at what cost, and who would learn what."""
    called = invocation(context)
    with client(context, org, home) as node:
        found = node.explain_sql(
            read_query(query),
            purpose=purpose,
            min_cohort=min_cohort,
            helper=helper,
            matching=matching,
            agreements=named,
            language=called.language,
        )
    called.output.result(found, explanation_view(called, found))


@command("sql.run")
@click.argument("query")
@option("--purpose", key="purpose_one", required=True)
@option("--min-cohort", key="min_cohort", type=click.IntRange(1), default=DEFAULT_MIN_COHORT)
@option("--helper", key="sql_helper", metavar="MEMBER")
@option(
    "--matching", key="sql_matching", type=click.Choice(MATCHINGS), default=MATCHINGS[0], show_default=True
)
@option("--agreement", "named", key="agreement", multiple=True)
@option("--title", key="title", default="")
@option("--timeout", "timeout_s", key="timeout", type=float, default=DEFAULT_TIMEOUT_S, show_default=True)
@option("--out", key="out_files", type=click.Path(path_type=Path, file_okay=False))
@person
@click.pass_context
def run(
    context: click.Context,
    query: str,
    purpose: str,
    min_cohort: int,
    helper: str | None,
    matching: str,
    named: tuple[str, ...],
    title: str,
    timeout_s: float,
    out: Path | None,
    org: str,
    home: Path | None,
) -> None:
    """Answer a query: submit its job, wait, and show the table."""
    called = invocation(context)
    with client(context, org, home) as node:
        explained = node.explain_sql(
            read_query(query),
            purpose=purpose,
            title=title,
            min_cohort=min_cohort,
            helper=helper,
            matching=matching,
            agreements=named,
        )
        job = str(node.submit(explained["spec"])["job"])
        called.output.note("note.submitted", job=job)
        wait_for(called, node, job, timeout_s)
        found = fetch(node, job, out)
    called.output.result(found, table_view(called, found["result"]))


def table_view(called: Invocation, document: Mapping[str, Any]) -> RenderableType:
    """Lay out an answer: its columns and rows, and how many groups are not shown."""
    columns = [str(name) for name in document["columns"]]
    lines = [dict(zip(columns, row, strict=True)) for row in document["rows"]]
    hidden = document["facts"].get("groups_not_shown", 0)
    return rows(lines, columns, title=called.text("sql.answered", rows=len(lines), hidden=hidden))
