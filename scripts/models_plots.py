"""Draw the plots of docs/models.md: those of the product, of an evaluation on shares of made-up rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from exchange.jobs.evaluation.plots import drawn
from federated.vertical import Family, evaluation
from federated.vertical.evaluation import EVALUATION, Evaluation, Sizes
from federated.vertical.scoring import SCORE_FRACTION
from mpc import replicated
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import run_mesh

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "models"
_ROWS, _SEED = 4_000, 3


def evaluated() -> Evaluation:
    """Evaluate a model of two owners that has the right coefficients; one in seven rows has label 1."""
    rng = np.random.Generator(np.random.PCG64(_SEED))
    parts = rng.normal((-1.2, -1.2), 1, (_ROWS, 2)).T
    label = (rng.random(_ROWS) < 1 / (1 + np.exp(-parts.sum(axis=0)))).astype(np.float64)
    encoded = np.rint(parts * 2.0**SCORE_FRACTION).astype(np.int64)
    sizes = Sizes(Family.LOGISTIC, _ROWS, 2, 20)

    def party(mesh: Mesh) -> evaluation.Ints | None:
        with replicated.run(mesh, EVALUATION, SystemRandomness()) as rt:
            own = encoded[rt.rank] if rt.rank < len(encoded) else None
            return rt.open(evaluation.evaluate(rt, sizes, own, label if rt.rank == 0 else None), [0])

    results = run_mesh([party] * 3)[0]
    assert results is not None  # noqa: S101 - rank 0 is told
    return evaluation.opened(sizes, results)


def main() -> None:
    """Write one file a plot."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in drawn(evaluated()).items():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
