"""Component ``report/table``: the reader puts the released shares together and draws the answer.

Runs at the node of the participant who asked. Its files never leave that node except to the person who
fetches them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Component, Outcome, Param, StepContext
from exchange.jobs.releases import Cardinality, GroupRelease, MeasureRelease
from exchange.jobs.spec import Step
from ledger import canonical
from mpc import fixed_point
from mpc.stats.shares import combine
from policies.plans import Plan

__all__ = ["COMPONENT", "Group", "Result", "opened"]

_MEAN_DIGITS = 6


@dataclass(frozen=True)
class Group:
    """One released group; numbers are decimal texts, exact for sums, rounded to six places for means."""

    group: str
    count: int
    sums: dict[str, str]
    means: dict[str, str]


@dataclass(frozen=True)
class Result:
    """The answer as ``result.json`` has it; a bare cardinality has no groups."""

    matched: int
    group: str = ""
    measures: list[str] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    suppressed_groups: int = 0
    noise: dict[str, object] = field(default_factory=dict)
    rounded_to: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """As ``result.json`` has it: what the answer does not have is not mentioned."""
        optional = {"noise": self.noise, "rounded_to": self.rounded_to}
        written = {name: value for name, value in asdict(self).items() if name not in optional}
        return written | {name: value for name, value in optional.items() if value}


def _check_plot(value: object, at: str) -> None:
    if value not in ("bar", "none"):
        raise InvalidRequest(at, "bar or none", repr(value)[:40])


def _run(context: StepContext) -> Outcome:
    result = opened(context.released[context.step.after[0]])
    files = {"result.json": canonical.encode(result.as_json()), "table.csv": _table(result)}
    if context.step.params["plot"] == "bar" and result.groups:
        files |= _bars(result)
    return Outcome(local=b"", files=files)


def opened(released: Mapping[str, bytes]) -> Result:
    """Put the releases of a step's two roles together.

    Raises:
        JobFailed, MpcError: they do not belong together.
    """
    return _cardinality(released) if "left" in released else _grouped(released)


def _cardinality(released: Mapping[str, bytes]) -> Result:
    sizes = {Cardinality.decode(release).matched for release in released.values()}
    if len(sizes) != 1:
        raise JobFailed("the two owners state different numbers of matches")
    return Result(matched=sizes.pop())


def _grouped(released: Mapping[str, bytes]) -> Result:
    measured = MeasureRelease.decode(released["measure_holder"])
    grouped = GroupRelease.decode(released["group_holder"])
    sums = combine(measured.shares, grouped.shares)
    if measured.noise != grouped.noise:
        raise JobFailed("the two owners state different noise")
    columns = [
        fixed_point.decode(sums[:, i], measure.decimals) for i, measure in enumerate(measured.measures)
    ]
    names = [measure.name for measure in measured.measures]
    groups = []
    for i, (label, count) in enumerate(zip(grouped.labels, grouped.shares.counts.tolist(), strict=True)):
        if count >= 0:
            totals = dict(zip(names, (column[i] for column in columns), strict=True))
            means = {name: f"{_mean(total, count):f}" for name, total in totals.items()}
            groups.append(Group(label, count, {name: f"{total:f}" for name, total in totals.items()}, means))
    return Result(
        matched=sum(group.count for group in groups),
        group=grouped.group,
        measures=names,
        groups=groups,
        suppressed_groups=len(grouped.labels) - len(groups),
        noise=dict(grouped.noise),
        rounded_to={
            measure.name: f"{Decimal(measure.base).scaleb(-measure.decimals):f}"
            for measure in measured.measures
            if measure.base != 1
        },
    )


def _mean(total: Decimal, count: int) -> Decimal:
    return round(total / count, _MEAN_DIGITS)


def _table(result: Result) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if not result.measures:
        writer.writerows([["matched"], [result.matched]])
        return text.getvalue().encode()
    names = result.measures
    writer.writerow(
        [result.group, "count", *(f"sum {name}" for name in names), *(f"mean {name}" for name in names)]
    )
    for row in result.groups:
        writer.writerow([row.group, row.count, *(row.sums[n] for n in names), *(row.means[n] for n in names)])
    return text.getvalue().encode()


def _bars(result: Result) -> dict[str, bytes]:
    # Drawing is needed at the reader's node alone and takes half a second to import.
    from matplotlib.figure import Figure

    labels = [f"{row.group}\n(n={row.count})" for row in result.groups]
    figure = Figure(figsize=(7, 2.6 * len(result.measures)), layout="constrained")
    every = figure.subplots(len(result.measures), squeeze=False)[:, 0]
    for axes, name in zip(every, result.measures, strict=True):
        bars = axes.bar(labels, [float(row.means[name]) for row in result.groups], color="#3b6ea5")
        axes.bar_label(bars, fmt="%.5g", padding=2)
        axes.margins(y=0.15)
        axes.set_ylabel(f"mean {name}")
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(result.group)
    files = {}
    for kind in ("png", "svg"):
        out = io.BytesIO()
        figure.savefig(out, format=kind)
        files[f"plot.{kind}"] = out.getvalue()
    return files


def _plan(step: Step) -> Plan:
    """Nothing is read and nothing shown that was not released to the reader before."""
    return ()


COMPONENT = Component(
    name="report/table",
    version=1,
    summary="The participant who asked puts the released shares together: a table and a plot.",
    roles={"reader": None},
    params={"plot": Param("bar or none", _check_plot)},
    output_type="report",
    needs=frozenset({"psi/ecdh", "psi/rr22", "stats/group-sums"}),
    protocol=None,
    run=_run,
    plan=_plan,
)
