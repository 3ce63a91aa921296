"""``parley psi`` and ``parley stats``: a joint question in one line.

The spec is built from the flags, the caller's own agreements are found by asset, and then it is an
ordinary job. Whether an agreement covers the question is not judged here: the owners' nodes do that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exchange.cli.access import client, person
from exchange.cli.budgets import millionths
from exchange.cli.framework import command, invocation, option
from exchange.cli.jobs import DEFAULT_TIMEOUT_S, fetch, result_view, wait_for
from exchange.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from exchange.sdk import NodeClient, Side

__all__ = ["answer", "choose_agreement", "privacy_of", "psi", "sides", "stats"]

DEFAULT_MIN_COHORT = 10


def choose_agreement(
    agreements: Sequence[Mapping[str, Any]], asset: str, consumer: str, named: Sequence[str] = ()
) -> Mapping[str, Any]:
    """Choose the caller's agreement for an asset.

    One that is named; else the latest final one with uses left; else the latest, for its owner to refuse.

    Raises:
        NotFound: the caller has none for this asset.
    """
    own = [row for row in agreements if row["asset"] == asset and row["consumer"] == consumer]
    wanted = [row for row in own if row["agreement"] in named] or own
    final = [row for row in wanted if row["status"] == "final"] or wanted
    unspent = [row for row in final if int(row["uses"]) < int(row["limits"]["uses"])] or final
    if not unspent:
        raise NotFound(f"expected an agreement for {asset}, found none; ask with `parley agreement request`")
    return unspent[-1]


def sides(
    node: NodeClient, identifiers: Sequence[str], rules: Sequence[str], named: Sequence[str]
) -> tuple[str, list[Side]]:
    """Turn ``--id`` flags into the question's two sides; returns them with the caller's DID."""
    from exchange.sdk import Identifier, Reference, Side

    if len(identifiers) != 2:
        raise InvalidRequest("--id", "two columns, one of each owner", str(len(identifiers)))
    reader, held = str(node.node()["did"]), node.agreements()
    found = []
    for text in identifiers:
        reference = Reference.parse(text)
        row = choose_agreement(held, reference.asset, reader, named)
        identifier = Identifier(reference, tuple(rules)) if rules else Identifier(reference)
        found.append(Side(str(row["provider"]), str(row["agreement"]), identifier))
    return reader, found


def answer(
    context: click.Context, node: NodeClient, spec: Mapping[str, Any], timeout_s: float, out: Path | None
) -> None:
    """Submit a question, wait, and show what came of it."""
    called = invocation(context)
    made = node.submit(spec)
    called.output.note("note.submitted", job=made["job"])
    wait_for(called, node, str(made["job"]), timeout_s)
    found = fetch(node, str(made["job"]), out)
    called.output.result(found, result_view(found["result"]))


@command("psi")
@option("--id", "identifiers", key="id_reference", multiple=True, required=True)
@option("--purpose", key="purpose_one", required=True)
@option("--rule", "rules", key="rule", multiple=True)
@option("--agreement", "named", key="agreement", multiple=True)
@option("--min-matches", key="min_matches", type=click.IntRange(1), default=DEFAULT_MIN_COHORT)
@option("--title", key="title", default="psi")
@option("--timeout", "timeout_s", key="timeout", type=float, default=DEFAULT_TIMEOUT_S, show_default=True)
@option("--out", key="out_files", type=click.Path(path_type=Path, file_okay=False))
@person
@click.pass_context
def psi(
    context: click.Context,
    identifiers: tuple[str, ...],
    purpose: str,
    rules: tuple[str, ...],
    named: tuple[str, ...],
    min_matches: int,
    title: str,
    timeout_s: float,
    out: Path | None,
    org: str,
    home: Path | None,
) -> None:
    """Ask how many people two owners both know, in one line."""
    from exchange.sdk import matching_spec
    from ledger.entries import new_id

    with client(context, org, home) as node:
        reader, (left, right) = sides(node, identifiers, rules, named)
        spec = matching_spec(
            job=new_id("job", lambda: datetime.now(UTC)),
            title=title,
            purpose=purpose,
            reader=reader,
            left=left,
            right=right,
            minimum_matches=min_matches,
        )
        answer(context, node, spec, timeout_s, out)


@command("stats")
@option("--id", "identifiers", key="id_reference", multiple=True, required=True)
@option("--measure", "measures", key="measure_reference", multiple=True, required=True)
@option("--group", key="group_reference", required=True)
@option("--purpose", key="purpose_one", required=True)
@option("--rule", "rules", key="rule", multiple=True)
@option("--agreement", "named", key="agreement", multiple=True)
@option("--min-cohort", key="min_cohort", type=click.IntRange(1), default=DEFAULT_MIN_COHORT)
@option("--epsilon", key="epsilon")
@option("--delta-exponent", key="delta_exponent", type=click.IntRange(1, 30), default=6, show_default=True)
@option("--mechanism", key="mechanism", type=click.Choice(["gaussian", "laplace"]), default="gaussian")
@option("--bounds", key="bounds", metavar="COLUMN:LOWER:UPPER", multiple=True)
@option("--title", key="title", default="stats")
@option("--timeout", "timeout_s", key="timeout", type=float, default=DEFAULT_TIMEOUT_S, show_default=True)
@option("--out", key="out_files", type=click.Path(path_type=Path, file_okay=False))
@person
@click.pass_context
def stats(
    context: click.Context,
    identifiers: tuple[str, ...],
    measures: tuple[str, ...],
    group: str,
    purpose: str,
    rules: tuple[str, ...],
    named: tuple[str, ...],
    min_cohort: int,
    epsilon: str | None,
    delta_exponent: int,
    mechanism: str,
    bounds: tuple[str, ...],
    title: str,
    timeout_s: float,
    out: Path | None,
    org: str,
    home: Path | None,
) -> None:
    """Ask for counts, sums and means by group over the people two owners both know."""
    from exchange.sdk import Measure, Reference, statistics_spec
    from ledger.entries import new_id

    with client(context, org, home) as node:
        reader, found = sides(node, identifiers, rules, named)
        spec = statistics_spec(
            job=new_id("job", lambda: datetime.now(UTC)),
            title=title,
            purpose=purpose,
            reader=reader,
            sides=found,
            measures=[Measure.parse(measure) for measure in measures],
            group=Reference.parse(group),
            min_cohort=min_cohort,
            privacy=privacy_of(epsilon, delta_exponent, mechanism, bounds),
        )
        answer(context, node, spec, timeout_s, out)


def privacy_of(
    epsilon: str | None, delta_exponent: int, mechanism: str, bounds: Sequence[str]
) -> dict[str, Any] | None:
    """The step's parameter ``privacy``; None where no epsilon is given."""
    if epsilon is None:
        if bounds:
            raise InvalidRequest("--bounds", "bounds together with --epsilon", "bounds alone")
        return None
    ranges = {}
    for text in bounds:
        column, _, ends = text.partition(":")
        lower, colon, upper = ends.partition(":")
        if not (column and colon):
            raise InvalidRequest("--bounds", "COLUMN:LOWER:UPPER, such as balance:0:5000", repr(text)[:40])
        ranges[column] = {"lower": lower, "upper": upper}
    return {
        "mechanism": mechanism,
        "epsilon_micro": millionths("--epsilon", epsilon),
        "delta_exponent": delta_exponent,
        "bounds": ranges,
    }
