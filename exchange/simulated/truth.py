"""The truth check: simulated parties play a job on synthetic twins; plaintext stands beside each result."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from exchange.errors import ExchangeError, InvalidRequest, public_face
from exchange.jobs.registry import Registry, built_in
from exchange.jobs.spec import JobSpec, Step
from exchange.simulated import references
from exchange.simulated.figures import Figure, Tolerance
from exchange.simulated.parties import PlayedStep, SimulatedParties, is_playable
from exchange.simulated.people import matchings_of, with_people_in_common
from exchange.simulated.plaintext import Plaintext
from exchange.simulated.pooled import joint_statistics, query
from exchange.simulated.references import NoReference, Reason, Reference, Run
from exchange.simulated.regressions import correlation, regression
from exchange.simulated.scores import evaluation, scores
from mpc.errors import MpcError

__all__ = ["REFERENCES", "StepCheck", "TruthCheck", "check"]

_TRAINED: Final = Tolerance(absolute=0.01)
"""Of coefficients of standardised columns, in the unit of the label or its logarithm."""
_CHANCES: Final = Tolerance(absolute=0.02, relative=0.03)
"""Of log odds: the logistic function on shares is within 0.0032, which tells most where labels are rare."""
_SCORED: Final = Tolerance(absolute=0.002)
"""Parts of scores are rounded to 1/4096 at up to sixteen owners."""
_EVALUATED: Final = Tolerance(absolute=0.004, relative=0.001)
"""Of measures: the Brier score is within 0.0032, errors of counts are within 0.0006 of the mean label."""
_RELATED: Final = Tolerance(absolute=0.001, relative=0.001)
_ROUNDED: Final = Tolerance(absolute=2e-6, relative=1e-9)
"""Results have six digits behind the point, rounded or cut off; plaintext is calculated in floats."""
_EXACT: Final = Tolerance()

REFERENCES: Final[Mapping[str, Reference]] = {
    "model/correlation": Reference(correlation, _RELATED),
    "model/evaluate": Reference(evaluation, _EVALUATED),
    "model/linear": Reference(regression, _TRAINED),
    "model/logistic": Reference(regression, _CHANCES),
    "model/poisson": Reference(regression, _TRAINED),
    "model/score": Reference(scores, _SCORED),
    "psi/cardinality": Reference(references.matching, _EXACT),
    "psi/ecdh": Reference(references.matching, _EXACT),
    "psi/many": Reference(references.matching, _EXACT),
    "psi/sum": Reference(references.sums_of_matched, _ROUNDED),
    "sql/query": Reference(query, _ROUNDED),
    "stats/group-sums": Reference(references.group_sums, _EXACT),
    "stats/joint": Reference(joint_statistics, _ROUNDED),
}
"""The components with a reference, by name."""

State = Literal["compared", "not-compared", "not-played", "failed"]


@dataclass(frozen=True)
class StepCheck:
    """What came of one step.

    Attributes:
        step: its id.
        component: by name.
        state: what became of it.
        reason: why it was not compared or not played, a ``Reason``; of a failure, the error's code.
        detail: of a failure, its text.
        figures: that were compared.
        tolerance: of each figure.
    """

    step: str
    component: str
    state: State
    reason: str = ""
    detail: str = ""
    figures: tuple[Figure, ...] = ()
    tolerance: Tolerance = _EXACT

    @property
    def absolute(self) -> float:
        """The largest difference of a figure; infinite where one side lacks a figure."""
        return max((figure.absolute for figure in self.figures), default=0.0)

    @property
    def relative(self) -> float:
        """The largest difference in parts of the plaintext, of figures that are not 0 there."""
        finite = (figure.relative for figure in self.figures if np.isfinite(figure.relative))
        return max(finite, default=0.0)

    @property
    def is_within(self) -> bool:
        """Whether every figure is within the tolerance."""
        return all(figure.is_within(self.tolerance) for figure in self.figures)

    def as_json(self) -> dict[str, object]:
        """Write the check of the step; what has no number, such as an infinite error, is null."""
        written: dict[str, object] = {
            "step": self.step,
            "component": self.component,
            "state": self.state,
            "reason": self.reason or None,
            "detail": self.detail or None,
        }
        if self.state != "compared":
            return written
        return written | {
            "absolute_error": _finite(self.absolute),
            "relative_error": _finite(self.relative),
            "tolerance": {"absolute": self.tolerance.absolute, "relative": self.tolerance.relative},
            "within": self.is_within,
            "figures": [
                {
                    **figure.as_json(),
                    "absolute_error": _finite(figure.absolute),
                    "relative_error": _finite(figure.relative),
                    "within": figure.is_within(self.tolerance),
                }
                for figure in self.figures
            ],
        }


@dataclass(frozen=True)
class TruthCheck:
    """What came of a job.

    Attributes:
        steps: in order.
        rows: of each table that was read, by asset.
        share: of the rows of the smallest matched table that were given the same people.
        samples: assets of which a sample was read, and no twin.
    """

    steps: tuple[StepCheck, ...]
    rows: Mapping[str, int]
    share: float
    samples: tuple[str, ...] = ()

    @property
    def is_within(self) -> bool:
        """Whether no step failed and every figure that was compared is within its tolerance."""
        return all(one.is_within and one.state != "failed" for one in self.steps)

    def as_json(self) -> dict[str, object]:
        """Write the check."""
        return {
            "within": self.is_within,
            "rows": dict(self.rows),
            "share": self.share,
            "samples": list(self.samples),
            "steps": [one.as_json() for one in self.steps],
        }


def check(
    spec: JobSpec,
    tables: Mapping[str, pa.Table],
    *,
    share: float,
    rng: np.random.Generator,
    samples: Collection[str] = (),
    complete: Mapping[str, Collection[str]] = MappingProxyType({}),
    registry: Registry | None = None,
    known: Mapping[str, Reference] = REFERENCES,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> TruthCheck:
    """Play a job on twins, or on samples that owners gave, and compare each result with plaintext.

    Args:
        spec: the job, as it would be submitted.
        tables: a twin or a sample of every asset that it reads.
        share: of the rows of the smallest matched table, above 0 and at most 1; so many rows of each matched
            table get the same people, since the identifiers of twins match nobody.
        rng: draws which rows these are.
        samples: assets whose tables are samples: of these, identifiers are matched as they stand.
        complete: columns that have a value in every row of the data, by asset; a twin may lack some, because
            noise is added to how many are missing, and such rows are left out.
        registry: the components; those of this build by default.
        known: references by component.
        progress: told how far which step is.

    Raises:
        InvalidRequest: the job is not what its components declare, a table lacks a column that it reads, or
            twins cannot be given the same people.
    """
    components = built_in() if registry is None else registry
    components.check(spec)
    for step in spec.steps:
        _check_columns(step, tables)
    matchings = [one for one in matchings_of(spec, components) if not one.keys.keys() <= set(samples)]
    whole = {asset: _whole(table, complete.get(asset, ())) for asset, table in tables.items()}
    made = with_people_in_common(whole, matchings, share, rng)
    with tempfile.TemporaryDirectory(prefix="parley-simulated-") as folder:
        parties = SimulatedParties(spec, components, made, Path(folder))
        run = Run(spec, components, parties, Plaintext(made))
        done: dict[str, StepCheck] = {}
        for step in spec.steps:
            done[step.id] = _checked(run, step, done, known, progress)
    rows = {asset: len(table) for asset, table in made.items()}
    return TruthCheck(tuple(done.values()), rows, share, tuple(sorted(samples)))


def _whole(table: pa.Table, complete: Collection[str]) -> pa.Table:
    """The rows that have a value in every column that is complete in the data."""
    kept = np.ones(len(table), dtype=np.bool_)
    for name in table.column_names:
        if name in complete:
            kept &= table.column(name).is_valid().to_numpy()
    return table.filter(pa.array(kept))


def _check_columns(step: Step, tables: Mapping[str, pa.Table]) -> None:
    for role, given in step.inputs.items():
        has = tables[given.asset].column_names
        for column in given.columns:
            if column.name not in has:
                expected = f"columns of {given.asset}: {', '.join(has)}"
                raise InvalidRequest(f"steps.{step.id}.inputs.{role}.columns", expected, column.name)


def _checked(
    run: Run,
    step: Step,
    done: Mapping[str, StepCheck],
    known: Mapping[str, Reference],
    progress: Callable[[str, int, int], None],
) -> StepCheck:
    if not is_playable(run.registry.get(step.component)):
        return StepCheck(step.id, step.component, "not-played", Reason.OUTSIDE)
    if any(done[name].state in ("not-played", "failed") for name in step.after):
        return StepCheck(step.id, step.component, "not-played", Reason.AFTER)
    played = run.parties.play(step, lambda at, total: progress(step.id, at, total))
    if played.failure is not None:
        return _failed(step, played.failure)
    return _compared(run, played, known.get(step.component))


def _compared(run: Run, played: PlayedStep, reference: Reference | None) -> StepCheck:
    step = played.step
    try:
        if reference is None:
            is_reader = run.registry.get(step.component).protocol is None and not step.inputs
            raise NoReference(Reason.READER if is_reader else Reason.UNKNOWN)
        figures = tuple(reference.compare(run, played))
    except NoReference as missing:
        return StepCheck(step.id, step.component, "not-compared", missing.reason)
    except (ExchangeError, MpcError) as error:  # whoever opens the releases runs into it too
        return _failed(step, error)
    return StepCheck(step.id, step.component, "compared", figures=figures, tolerance=reference.tolerance)


def _failed(step: Step, error: Exception) -> StepCheck:
    face = public_face(error)
    return StepCheck(step.id, step.component, "failed", face.code, face.detail)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
