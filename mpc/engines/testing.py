"""Stands for an engine in tests: one process plays all parties, and the program is computed in the clear.

Nothing here is for production: every party's inputs lie together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mpc.engines.shares import Program, Sharing
from mpc.mesh import Mesh, mesh_run

__all__ = ["ClearEngine"]


class ClearEngine:
    """In the place of `shares.evaluate`, for the parties of one run in threads of this process.

    Attributes:
        shapes: of the output of each program that was played.
    """

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self._entered: dict[int, Sequence[NDArray[np.int64]]] = {}

    def __call__(
        self, mesh: Mesh, program: Program, own: Sequence[NDArray[np.int64]], kind: Sharing, *others: object
    ) -> NDArray[np.uint64]:
        """Give each computing party a summand of the output, uniform where it is not the first."""
        del others
        self._entered[mesh.rank] = own
        self._meet(mesh, kind)
        held = {rank: iter(arrays) for rank, arrays in self._entered.items()}
        result = program.in_the_clear([next(held[owner]) for owner in program.owners]).view(np.uint64)
        self._meet(mesh, kind)
        shape = (kind.computing, *result.shape)
        masks = np.random.default_rng(3).integers(0, 2**64, shape, dtype=np.uint64)
        if mesh.rank == 0:
            self.shapes.append(result.shape)
            masks[0] = result - masks[1:].sum(axis=0, dtype=np.uint64)
        summand: NDArray[np.uint64] = masks[mesh.rank]
        return summand

    def _meet(self, mesh: Mesh, kind: Sharing) -> None:
        """Wait until every party is here; raises where one has aborted."""
        with mesh_run(mesh, kind.spec) as peers:
            peers.broadcast("hello", b"")
            peers.gather("hello")
