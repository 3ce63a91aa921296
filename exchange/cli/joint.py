"""``parley joint-stats``: statistics over the rows of several owners' tables, in one line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from exchange.cli.access import client, person
from exchange.cli.framework import command, option
from exchange.cli.jobs import DEFAULT_TIMEOUT_S
from exchange.cli.questions import DEFAULT_MIN_COHORT, answer, choose_agreement, privacy_of
from exchange.errors import InvalidRequest, NotFound

__all__ = ["joint_stats", "read_key", "read_measure"]

_RANGE = "COLUMN=STATISTIC,STATISTIC or, for what is one row's value, COLUMN=STATISTIC,0.9@LOWER:UPPER"


def read_key(text: str) -> dict[str, Any]:
    """Read ``COLUMN=LABEL,LABEL`` or, with the edges of bins, ``COLUMN<EDGE,EDGE``.

    Raises:
        InvalidRequest: it has another form.
    """
    for sign, member in (("=", "labels"), ("<", "edges")):
        column, found, values = text.partition(sign)
        if found and column and values and not {"=", "<"} & set(column):
            return {"column": column, member: values.split(",")}
    raise InvalidRequest("--by", "COLUMN=LABEL,LABEL or COLUMN<EDGE,EDGE", repr(text)[:60])


def read_measure(text: str) -> dict[str, Any]:
    """Read ``COLUMN=STATISTIC,STATISTIC[@LOWER:UPPER]``; a number among the statistics is a quantile.

    Raises:
        InvalidRequest: it has another form.
    """
    column, sign, rest = text.partition("=")
    wanted, at, ends = rest.partition("@")
    lower, colon, upper = ends.partition(":")
    if not (column and sign and wanted) or bool(at) != bool(lower and colon and upper):
        raise InvalidRequest("--measure", _RANGE, repr(text)[:60])
    named = wanted.split(",")
    measure: dict[str, Any] = {
        "column": column,
        "statistics": [name for name in named if not name[:1].isdigit()],
        "quantiles": [name for name in named if name[:1].isdigit()],
    }
    return measure | ({"bounds": {"lower": lower, "upper": upper}} if at else {})


def _decimals(texts: Sequence[str]) -> dict[str, int]:
    kept = {}
    for text in texts:
        column, colon, digits = text.rpartition(":")
        if not (column and colon and digits.isdecimal()):
            raise InvalidRequest("--decimals", "COLUMN:DIGITS", repr(text)[:60])
        kept[column] = int(digits)
    return kept


def _where(text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    try:
        read = json.loads(text)
    except ValueError as error:
        raise InvalidRequest("--where", "a JSON object", str(error)) from error
    if not isinstance(read, dict):
        raise InvalidRequest("--where", "a JSON object", type(read).__name__)
    return read


@command("joint-stats")
@option("--table", "tables", key="table_reference", multiple=True, required=True)
@option("--by", "keys", key="by_cells", multiple=True)
@option("--measure", "measures", key="measure_figures", multiple=True)
@option("--decimals", "decimals", key="column_decimals", multiple=True)
@option("--together/--apart", "together", key="together", default=False)
@option("--where", "where", key="where_rows")
@option("--helper", "helper", key="helper_member")
@option("--purpose", key="purpose_one", required=True)
@option("--agreement", "named", key="agreement", multiple=True)
@option("--min-cohort", key="min_cohort", type=click.IntRange(2), default=DEFAULT_MIN_COHORT)
@option("--epsilon", key="epsilon")
@option("--delta-exponent", key="delta_exponent", type=click.IntRange(1, 30), default=6, show_default=True)
@option("--mechanism", key="mechanism", type=click.Choice(["gaussian", "laplace"]), default="gaussian")
@option("--title", key="title", default="joint-stats")
@option("--timeout", "timeout_s", key="timeout", type=float, default=DEFAULT_TIMEOUT_S, show_default=True)
@option("--out", key="out_files", type=click.Path(path_type=Path, file_okay=False))
@person
@click.pass_context
def joint_stats(
    context: click.Context,
    tables: tuple[str, ...],
    keys: tuple[str, ...],
    measures: tuple[str, ...],
    decimals: tuple[str, ...],
    together: bool,
    where: str | None,
    helper: str | None,
    purpose: str,
    named: tuple[str, ...],
    min_cohort: int,
    epsilon: str | None,
    delta_exponent: int,
    mechanism: str,
    title: str,
    timeout_s: float,
    out: Path | None,
    org: str,
    home: Path | None,
) -> None:
    """Ask for counts and figures over the rows of several owners' tables with the same columns."""
    from exchange.sdk import Share, joint_spec
    from ledger.entries import new_id

    asked = [read_measure(text) for text in measures]
    with client(context, org, home) as node:
        reader, held = str(node.node()["did"]), node.agreements()
        rows = [choose_agreement(held, table, reader, named) for table in tables]
        bounds = [
            f"{one['column']}:{one['bounds']['lower']}:{one['bounds']['upper']}"
            for one in asked
            if epsilon is not None and "bounds" in one
        ]
        spec = joint_spec(
            job=new_id("job", lambda: datetime.now(UTC)),
            title=title,
            purpose=purpose,
            reader=reader,
            shares=[Share(str(r["provider"]), str(r["asset"]), str(r["agreement"])) for r in rows],
            min_cohort=min_cohort,
            keys=[read_key(text) for text in keys],
            measures=asked,
            together=together,
            where=_where(where),
            privacy=privacy_of(epsilon, delta_exponent, mechanism, bounds),
            decimals=_decimals(decimals),
            helper=None if helper is None else _member(node.members(), helper),
        )
        answer(context, node, spec, timeout_s, out)


def _member(members: Sequence[Mapping[str, Any]], name: str) -> str:
    for row in members:
        if row["name"] == name:
            return str(row["did"])
    raise NotFound(f"expected a member named {name}, found none")
