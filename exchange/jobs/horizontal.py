"""What steps over the rows of many owners with the same columns have in common.

Owners enter into a secure aggregation with drop-outs, round by round; those that fail or vanish are absent,
as long as the threshold stays. The aggregator releases what came of it, and every owner in the last round the
digest of what it has itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Final, cast

import numpy as np
from numpy.typing import NDArray

from connectors import columns as connected
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs import disclosure
from exchange.jobs.component import Absences, Param, StepContext, source, whole_number
from exchange.jobs.estimates import Estimate
from exchange.jobs.privacy import Bounds, ranges_of
from exchange.jobs.spec import ColumnInput, Step
from exchange.web.kinds import Rule, read_as
from federated.horizontal import Terms
from federated.horizontal.settings import MAX_OWNERS, MIN_OWNERS
from ledger import canonical
from mpc import fixed_point
from mpc.channel import Channel
from mpc.spec import ProtocolSpec
from policies.plans import Source, Union

__all__ = [
    "ABSENCES",
    "AGGREGATOR",
    "MILLION",
    "TAKING_PART",
    "Held",
    "Traffic",
    "attendance",
    "check_bounds",
    "check_held",
    "check_owners",
    "check_shown",
    "estimates_of",
    "label_last",
    "labelled_ranges",
    "minimum_of",
    "others_of",
    "own_rows",
    "owners_of",
    "scaled_ranges",
    "terms_of",
    "united",
]

AGGREGATOR: Final = "aggregator"
ABSENCES: Final = Absences("owner", "threshold")
MILLION: Final = 10**6

TAKING_PART: Final = {
    "min_cohort": Param("fewest rows with which an owner takes part", whole_number(2, 2**31)),
    "threshold": Param(
        "fewest owners that stay: at least three and more than half; the others may be absent",
        whole_number(MIN_OWNERS, MAX_OWNERS),
    ),
    "patience_s": Param(
        "how long each round waits for the slowest owner, its training included, in seconds; owners wait "
        "half of it for each other",
        whole_number(1, 600),
    ),
}
"""The parameters of every such step."""


@dataclass(frozen=True)
class Held:
    """What an owner releases: the digest of the outcome, as it has it itself and as it is shown."""

    digest: Annotated[str, Rule("SHA-256 in hexadecimal", pattern="[0-9a-f]{64}")]

    @classmethod
    def of(cls, shown: bytes) -> Held:
        """That of an encoded outcome."""
        return cls(hashlib.sha256(shown).hexdigest())

    def encode(self) -> bytes:
        """Encode, for sealing."""
        return canonical.encode(asdict(self))

    @classmethod
    def decode(cls, release: bytes) -> Held:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(release), "release")


def owners_of(step: Step) -> list[str]:
    """The roles of the owners, by number."""
    return [f"owner-{number}" for number in range(1, len(step.inputs) + 1)]


def terms_of(context: StepContext, spec: ProtocolSpec) -> Terms:
    """The terms of a run of the protocol among the owners of a step."""
    return Terms(
        spec=spec,
        owners=len(context.step.inputs),
        threshold=context.number("threshold"),
        session=context.session,
        patience_s=context.number("patience_s"),
    )


def minimum_of(context: StepContext) -> int:
    """The fewest rows of an owner, and of anything that is shown."""
    return max(context.minimum_cohort, context.number("min_cohort"))


def others_of(context: StepContext) -> dict[int, Channel]:
    """Channels to the owners by number, without the one that plays here."""
    return {
        number: context.late_channel(role)
        for number, role in enumerate(owners_of(context.step), start=1)
        if role != context.role
    }


def own_rows(context: StepContext, names: Sequence[str]) -> NDArray[np.float64]:
    """The rows of this owner, as its own rules let them be used: float64[rows, names].

    Raises:
        JobFailed: fewer than its minimum, or counts are to be rounded.
        Dominated: a joint mean could tell one person's value.
    """
    step, minimum = context.step, minimum_of(context)
    if context.rules.round_counts != 1:
        raise JobFailed(f"step {step.id}: counts are not rounded here, as this owner's rules ask")
    by_name = {column.name: column for column in step.inputs[context.role].columns}
    rows = np.column_stack([_values(context, by_name[name]) for name in names])
    if len(rows) < minimum:
        raise JobFailed(f"step {step.id}: expected at least {minimum} rows here, got fewer")
    return rows


def check_owners(step: Step) -> list[str]:
    """Check the threshold and that all owners read the same columns; the names of these.

    Raises:
        InvalidRequest: by name.
    """
    at, owners, threshold = f"steps.{step.id}", len(step.inputs), cast(int, step.params["threshold"])
    least = max(owners // 2 + 1, MIN_OWNERS)
    if not least <= threshold <= owners:
        expected = f"{least} to {owners}, more than half of the owners"
        raise InvalidRequest(f"{at}.params.threshold", expected, str(threshold))
    names = [column.name for column in step.inputs["owner-1"].columns]
    if len(set(names)) != len(names):
        raise InvalidRequest(f"{at}.inputs", "each column once", "one twice")
    for role, given in step.inputs.items():
        if sorted(column.name for column in given.columns) != sorted(names):
            raise InvalidRequest(
                f"{at}.inputs.{role}.columns", f"{', '.join(sorted(names))}", "other columns"
            )
    return names


def check_shown(context: StepContext, least: int, what: str) -> None:
    """Check that what is shown of at least so many rows of all owners together keeps this owner's own rules.

    Raises:
        JobFailed: its minimum is larger, or dominance is to be checked.
    """
    step = context.step
    if minimum_of(context) > least:
        raise JobFailed(f"step {step.id}: expected min_cohort of at least this owner's minimum, got less")
    if context.rules.dominance_percent or context.rules.p_percent:
        raise JobFailed(f"step {step.id}: dominance in {what} of all owners cannot be checked here")


def label_last(step: Step) -> tuple[str, ...]:
    """The features in the order of owner-1, then the label."""
    label = str(step.params["label"])
    return (*(one.name for one in step.inputs["owner-1"].columns if one.name != label), label)


def labelled_ranges(
    step: Step, bounds: Mapping[str, Bounds], where: str, *, is_class: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The bounds of columns as `label_last` has them, in their units; those of a class are 0 and 1.

    Raises:
        InvalidRequest: bounds of other columns, or of a class too; by name.
    """
    by_name = {column.name: column for column in step.inputs["owner-1"].columns}
    columns = [by_name[name] for name in label_last(step)]
    lower, upper = scaled_ranges(bounds, columns[:-1] if is_class else columns, where)
    return ((*lower, 0.0), (*upper, 1.0)) if is_class else (lower, upper)


def check_bounds(value: object, at: str) -> None:
    """Check a parameter of bounds by column; raises ``InvalidRequest``."""
    read_as(dict[str, Bounds], value, at)


def scaled_ranges(
    bounds: Mapping[str, Bounds], columns: Sequence[ColumnInput], where: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The lower and the upper bounds of columns, in their units; raises as ``ranges_of``."""
    ranges = ranges_of(bounds, columns, where)
    units = [10.0**column.decimals for column in columns]
    lower = tuple(low / unit for (low, _), unit in zip(ranges, units, strict=True))
    return lower, tuple(high / unit for (_, high), unit in zip(ranges, units, strict=True))


def united(step: Step) -> tuple[list[Source | Union], str]:
    """The rows of all owners as operators of a plan, and the id of the last."""
    sources = [source(step, role) for role in owners_of(step)]
    operators: list[Source | Union] = [*sources]
    rows = sources[0].id
    for number, other in enumerate(sources[1:], start=2):
        operators.append(Union(f"{step.id}.rows-{number}", rows, other.id))
        rows = f"{step.id}.rows-{number}"
    return operators, rows


def check_held(step: Step, releases: Mapping[str, bytes], present: Sequence[str]) -> None:
    """Check that every owner in the last round and nobody else released the digest of the outcome.

    Raises:
        JobFailed: the releases do not fit each other.
    """
    told = {role: Held.decode(one) for role, one in releases.items() if role != AGGREGATOR}
    if set(told) != set(present) or set(told.values()) != {Held.of(releases[AGGREGATOR])}:
        raise JobFailed(f"step {step.id}: the owners have another model than the aggregator released")


def attendance(step: Step, present: Sequence[str]) -> dict[str, object]:
    """Who was in the last round and who was not, as facts of a result."""
    return {
        "threshold": step.params["threshold"],
        "present": sorted(step.parties[role] for role in present),
        "absent": sorted(step.parties[role] for role in set(step.inputs) - set(present)),
    }


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What a run sends and how often it waits, as `federated.horizontal.costs` states it.

    Attributes:
        sent: bytes of an owner.
        told: bytes of the aggregator to each owner.
        compared: bytes of ``sent`` to other owners, and received of them.
        owner_phases: receiving phases of an owner over all its channels.
        aggregator_phases: those of the aggregator with each owner.
    """

    sent: int
    told: int
    compared: int
    owner_phases: int
    aggregator_phases: int


def estimates_of(
    step: Step,
    traffic: Traffic,
    *,
    work_ns: int,
    memory_bytes: int,
    own: Mapping[str, tuple[int, int]],
    assumes: str,
) -> dict[str, Estimate]:
    """What each role is expected to spend.

    Args:
        step: that is run.
        traffic: of the run.
        work_ns: of every party, in rounds.
        memory_bytes: of the aggregator.
        own: of each owner, nanoseconds besides and bytes of memory.
        assumes: what the figures take for granted.
    """
    owners = len(step.inputs)
    estimates = {
        role: Estimate(
            sent_bytes=traffic.sent,
            received_bytes=traffic.told + traffic.compared,
            rounds=traffic.owner_phases,
            work_ns=work_ns + own_ns,
            memory_bytes=own_bytes,
            assumes=assumes,
        )
        for role, (own_ns, own_bytes) in own.items()
    }
    estimates[AGGREGATOR] = Estimate(
        sent_bytes=traffic.told * owners,
        received_bytes=(traffic.sent - traffic.compared) * owners,
        rounds=traffic.aggregator_phases * owners,
        work_ns=work_ns,
        memory_bytes=memory_bytes,
        assumes=assumes,
    )
    return estimates


def _values(context: StepContext, column: ColumnInput) -> NDArray[np.float64]:
    values = connected.measure_array(context.read(column.name), column.name)
    rules, base = context.rules, context.rules.base_of(column.name, column.decimals)
    if base == 1 and not rules.dominance_percent and not rules.p_percent:
        return values.astype(np.float64)
    exact = list(values) if values.dtype == object else values
    encoded = disclosure.rounded(fixed_point.encode(exact, column.decimals), base)
    disclosure.check_dominance(rules, encoded, len(encoded), column.name)
    kept: NDArray[np.float64] = encoded / 10.0**column.decimals if base != 1 else values.astype(np.float64)
    return kept
