"""The parties of a job, simulated: every role of a step in a thread, with channels in memory between them.

The components are those that nodes run. What nodes add is not there: decisions, agreements, output checks of
owners, receipts and the ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

import pyarrow as pa

from connectors.errors import ConnectorError
from exchange.errors import ExchangeError, JobFailed
from exchange.jobs.component import Component, HandOver, Outcome, StepContext
from exchange.jobs.engines import OWN
from exchange.jobs.kept import Kept
from exchange.jobs.registry import Registry
from exchange.jobs.spec import JobSpec, Step
from ledger.errors import LedgerError
from mpc.errors import ChannelBroken, MpcError, PeerAborted
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.simulated import mesh_of

__all__ = ["PlayedStep", "SimulatedParties", "is_playable"]

_SESSION_BYTES: Final = 32
_BATCH_ROWS: Final = 65_536
_TIMEOUT_S: Final = 600.0
_DOMAIN = (ConnectorError, ExchangeError, LedgerError, MpcError)


@dataclass(frozen=True)
class PlayedStep:
    """What came of a step.

    Attributes:
        step: that was played.
        session: of its run.
        outcomes: by role; not all roles where the step failed.
        failure: the error that ended it, if one did.
    """

    step: Step
    session: bytes = field(repr=False)
    outcomes: Mapping[str, Outcome]
    failure: Exception | None = None

    def released(self) -> dict[str, bytes]:
        """What was released, by role."""
        return {role: one.release for role, one in self.outcomes.items() if one.release is not None}


def is_playable(component: Component) -> bool:
    """Whether simulated parties can play a component: it runs on no outside engine and hands nothing over."""
    return component.engine is OWN and not component.name.startswith("delivery/")


class SimulatedParties:
    """All parties of one job.

    Args:
        spec: the job.
        registry: the components this build has.
        tables: of every asset that the job reads.
        folder: an empty one, for what components keep on a disk.
    """

    def __init__(
        self, spec: JobSpec, registry: Registry, tables: Mapping[str, pa.Table], folder: Path
    ) -> None:
        self._spec, self._registry, self._tables, self._folder = spec, registry, tables, folder
        self._played: dict[str, PlayedStep] = {}

    def play(self, step: Step, progress: Callable[[int, int], None]) -> PlayedStep:
        """Play a step behind those in its ``after``, all of which have been played.

        Args:
            step: of this job.
            progress: told how far the first role is, as (done, total).
        """
        component, rng = self._registry.get(step.component), SystemRandomness()
        ranks, session = component.ranks(step), rng.bytes(_SESSION_BYTES)
        meshes = mesh_of(len(ranks), session, timeout_s=_TIMEOUT_S)
        ends: dict[str, Outcome | Exception] = {}

        def play(role: str, mesh: Mesh) -> None:
            try:
                tell = progress if mesh.rank == 0 else lambda done, total: None
                ends[role] = component.run(self._context(step, role, ranks, mesh, tell))
            except Exception as error:  # noqa: BLE001  # of a thread: raised again below, if it is no refusal
                ends[role] = error
                mesh.abort(getattr(error, "code", "job.failed"))

        threads = [
            threading.Thread(target=play, args=(role, mesh), name=f"simulated {role}", daemon=True)
            for role, mesh in zip(ranks, meshes, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        outcomes = {role: end for role, end in ends.items() if isinstance(end, Outcome)}
        found = PlayedStep(step, session, outcomes, _failure(list(ends.values())))
        self._played[step.id] = found
        return found

    def played(self, step_id: str) -> PlayedStep:
        """A step that was played."""
        return self._played[step_id]

    def _context(
        self, step: Step, role: str, ranks: tuple[str, ...], mesh: Mesh, tell: Callable[[int, int], None]
    ) -> StepContext:
        party, before = step.parties[role], {name: self._spec.step(name) for name in step.after}

        def read(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
            table = self._tables[step.inputs[role].asset]
            yield from table.select(list(names)).to_batches(max_chunksize=_BATCH_ROWS)

        earlier = {}
        for name, other in before.items():
            own = other.role_of(party)
            if own is not None:
                earlier[name] = self._played[name].outcomes[own].local
        return StepContext(
            step=step,
            role=role,
            ranks=ranks,
            session=mesh.session,
            minimum_cohort=0,
            read=lambda name: read([name]),
            channel=lambda peer: mesh.channels[ranks.index(peer)],
            late_channel=lambda peer: mesh.channels[ranks.index(peer)],
            before=before,
            earlier=earlier,
            released={
                name: self._played[name].released()
                for name, other in before.items()
                if party in other.recipients
            },
            rng=SystemRandomness(),
            progress=tell,
            hand_over=self._hand_over(step, role, read),
        )

    def _hand_over(
        self, step: Step, role: str, rows: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
    ) -> HandOver:
        def refuse(*_: object) -> NoReturn:
            raise JobFailed(f"step {step.id}: simulated parties hand nothing over")

        folder = self._folder / step.id / role
        folder.mkdir(mode=0o700, parents=True)
        key = SystemRandomness().bytes(32)
        return HandOver(
            rows=rows,
            folder=folder,
            mark_key=key,
            pieces=refuse,
            spool=folder,
            kept=Kept(folder / "kept", key),
        )


def _failure(ends: Sequence[Outcome | Exception]) -> Exception | None:
    """The error that came first: not one that a party ran into because another had ended."""
    errors = [end for end in ends if isinstance(end, Exception)]
    for error in errors:
        if not isinstance(error, _DOMAIN):
            raise error
    own = [error for error in errors if not isinstance(error, ChannelBroken | PeerAborted)]
    return next(iter(own or errors), None)
