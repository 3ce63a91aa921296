"""Draw the plots of docs/models.md: those of the product, of evaluations on shares of made-up rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from exchange.jobs.evaluation.group_plots import drawn_groups
from exchange.jobs.evaluation.grouping import By
from exchange.jobs.evaluation.plots import drawn
from federated.vertical import Family, evaluation
from federated.vertical.evaluation import EVALUATION, Evaluation, Sizes
from federated.vertical.scoring import SCORE_FRACTION
from mpc import replicated
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import run_mesh

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "models"
_ROWS, _SEED, _LEAST = 4_000, 3, 20
_REGIONS = By("owner-2", "region", ("north", "south", "east", "west"), ("0.3",))
_MONTHS = By("owner-2", "month", tuple(f"2026-{month:02d}" for month in range(1, 13)), order="time")


def evaluated(by: By | None = None) -> Evaluation:
    """Evaluate a model of two owners that has the right coefficients; one in seven rows has label 1.

    Scores differ between regions; after eight months the label depends on them less.
    """
    rng = np.random.Generator(np.random.PCG64(_SEED))
    parts = rng.normal((-1.2, -1.2), 1, (_ROWS, 2)).T
    codes = None if by is None else np.arange(_ROWS) * len(by.labels) // _ROWS
    if by is not None and codes is not None:
        parts[0] += np.maximum(codes - 7, 0) * 0.3 if by.is_over_time else codes * 0.2
    weight = 1.0 if codes is None else np.where(codes > 7, 0.5, 1.0)
    label = (rng.random(_ROWS) < 1 / (1 + np.exp(-parts.sum(axis=0) * weight))).astype(np.float64)
    encoded = np.rint(parts * 2.0**SCORE_FRACTION).astype(np.int64)
    sizes = Sizes(Family.LOGISTIC, _ROWS, 2, 20, None if by is None else by.grouping)

    def party(mesh: Mesh) -> evaluation.Ints | None:
        with replicated.run(mesh, EVALUATION, SystemRandomness()) as rt:
            own = encoded[rt.rank] if rt.rank < len(encoded) else None
            groups = codes if rt.rank == 1 else None
            held = label if rt.rank == 0 else None
            return rt.open(evaluation.evaluate(rt, sizes, own, held, codes=groups, least=_LEAST), [0])

    results = run_mesh([party] * 3)[0]
    assert results is not None  # noqa: S101 - rank 0 is told
    return evaluation.opened(sizes, results)


def main() -> None:
    """Write one file a plot."""
    FOLDER.mkdir(exist_ok=True)
    files = drawn(evaluated())
    # Of regions the rates, of months the others.
    for by in (_REGIONS, _MONTHS):
        groups = evaluated(by).groups
        assert groups is not None  # noqa: S101 - they were asked for
        files |= drawn_groups(by, Family.LOGISTIC, groups)
    for name, content in files.items():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
