"""An example specification for tests of whoever handles specifications: the joint statistics of the demo.

And runs of steps over channels in memory: of roles whose rows are aligned, and of many owners.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from connectors.errors import ConnectorError
from exchange.errors import ExchangeError
from exchange.jobs.component import Component, HandOver, Outcome, StepContext
from exchange.jobs.disclosure import OutputRules
from exchange.jobs.kept import Kept
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from federated.checkpoints import Checkpoints
from mpc.errors import MpcError
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of

__all__ = [
    "ANALYST",
    "BUREAU",
    "JOB",
    "LENDER",
    "OwnersRun",
    "aligned_roles",
    "example_spec",
    "nothing_lent",
    "read_from",
]

LENDER, BUREAU, ANALYST = "did:key:zLender", "did:key:zBureau", "did:key:zAnalyst"
JOB = "job-" + "0" * 26


def example_spec() -> dict[str, Any]:
    """Intersection, sums by group, report; as plain JSON values to alter."""
    return {
        "v": 1,
        "job": JOB,
        "title": "Default rate by income band",
        "purpose": "dpv:CustomerSolvencyMonitoring",
        "agreements": {"lender/loans": "agreement-1", "bureau/people": "agreement-2"},
        "steps": [
            {
                "id": "match",
                "component": "psi/ecdh",
                "version": 1,
                "parties": {"left": LENDER, "right": BUREAU},
                "inputs": {
                    "left": {"asset": "lender/loans", "columns": [{"name": "customer_id", "decimals": 0}]},
                    "right": {"asset": "bureau/people", "columns": [{"name": "person_id", "decimals": 0}]},
                },
                "after": [],
                "params": {
                    "normalise": {"left": ["trim", "upper"], "right": ["trim"]},
                    "minimum_matches": 10,
                },
                "recipients": [],
            },
            {
                "id": "stats",
                "component": "stats/group-sums",
                "version": 1,
                "parties": {"measure_holder": LENDER, "group_holder": BUREAU},
                "inputs": {
                    "measure_holder": {
                        "asset": "lender/loans",
                        "columns": [{"name": "default", "decimals": 0}],
                    },
                    "group_holder": {"asset": "bureau/people", "columns": [{"name": "band", "decimals": 0}]},
                },
                "after": ["match"],
                "params": {"min_cohort": 10},
                "recipients": [ANALYST],
            },
            {
                "id": "report",
                "component": "report/table",
                "version": 1,
                "parties": {"reader": ANALYST},
                "inputs": {},
                "after": ["stats"],
                "params": {"plot": "bar"},
                "recipients": [],
            },
        ],
    }


def read_from(spec: dict[str, Any], asset: str) -> None:
    """Have the bureau's steps of the example read another asset."""
    for step, role in zip(spec["steps"], ("right", "group_holder"), strict=False):
        step["inputs"][role]["asset"] = asset


def nothing_lent() -> HandOver:
    """For components that deliver nothing: whatever they take of it fails."""

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("only a delivery takes this")

    return HandOver(
        rows=refuse,
        folder=Path("/dev/null/nowhere"),
        mark_key=b"",
        pieces=refuse,
        spool=Path("/dev/null/nowhere"),
        kept=Kept(Path("/dev/null/nowhere"), bytes(32)),
    )


def aligned_roles(
    component: Component,
    step: Step,
    tables: Sequence[Mapping[str, Any]],
    earlier: Callable[[int, str], Mapping[str, bytes]],
    *,
    held: Sequence[Checkpoints] | None = None,
    **context: Any,  # noqa: ANN401 - attributes of a step's context
) -> list[Callable[[Mesh], tuple[Outcome, int]]]:
    """The roles of a step, each to be called with its mesh: the outcome, and the bytes it has sent.

    Args:
        component: of the step.
        step: that is run.
        tables: columns by name, of the first ranks; the others have none.
        earlier: what steps before have left, by rank and role; nothing at ranks without a table.
        held: checkpoints, by rank.
        context: what else the context of all roles has.
    """
    ranks = component.ranks(step)

    def role(mesh: Mesh) -> tuple[Outcome, int]:
        own, has_table = ranks[mesh.rank], mesh.rank < len(tables)

        def read(name: str) -> Iterator[pa.RecordBatch]:
            return iter([pa.record_batch([pa.array(tables[mesh.rank][name])], names=[name])])

        given: dict[str, Any] = {
            "minimum_cohort": 2,
            "before": {},
            "progress": lambda done, total: None,
            "checkpoints": Checkpoints() if held is None else held[mesh.rank],
            **context,
        }
        outcome = component.run(
            StepContext(
                step=step,
                role=own,
                ranks=ranks,
                session=mesh.session,
                read=read,
                channel=lambda other: mesh.channels[ranks.index(other)],
                earlier=earlier(mesh.rank, own) if has_table else {},
                released={},
                rng=SystemRandomness(),
                hand_over=nothing_lent(),
                **given,
            )
        )
        return outcome, sum(one.stats.bytes_sent for one in mesh.channels.values())

    return [role] * len(ranks)


class OwnersRun:
    """One run of an aggregator and owners with tables, over channels in memory.

    Args:
        component: that is run.
        step: with the roles ``aggregator`` and ``owner-1`` and so on.
        tables: of the owners, by number.
        gone: owners that never send a word.
        rules: of every owner.
        minimum: of every owner's agreement.
        spool: where engines make their folders; none where the component runs on none.
        timeout_s: of the channels.
        checkpoints: of every party by rank, the aggregator's first; None: new ones.
    """

    def __init__(
        self,
        component: Component,
        step: Step,
        tables: Mapping[int, pa.Table],
        *,
        gone: tuple[int, ...] = (),
        rules: OutputRules = OutputRules.NONE,
        minimum: int = 0,
        spool: Path = Path("/dev/null/nowhere"),
        timeout_s: float = 8,
        checkpoints: Sequence[Checkpoints] | None = None,
    ) -> None:
        self.lent = replace(nothing_lent(), spool=spool)
        self.component, self.step, self.rules, self.minimum = component, step, rules, minimum
        self.tables = tables
        self.checkpoints = checkpoints or [Checkpoints() for _ in range(len(tables) + 1)]
        self.ranks = ("aggregator", *(f"owner-{number}" for number in tables))
        self.meshes = mesh_of(len(self.ranks), b"session of the step", timeout_s=timeout_s)
        self.ends: dict[str, Outcome | Exception] = {}
        for number in gone:
            self.meshes[number].abort("gone")
        threads = [
            threading.Thread(target=self._play, args=(role, self.meshes[rank]), daemon=True)
            for rank, role in enumerate(self.ranks)
            if rank not in gone
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _play(self, role: str, mesh: Mesh) -> None:
        is_owner = mesh.rank in self.tables

        def read(name: str) -> Iterator[pa.RecordBatch]:
            yield from self.tables[mesh.rank].select([name]).to_batches(max_chunksize=7)

        context = StepContext(
            step=self.step,
            role=role,
            ranks=self.component.ranks(self.step),
            session=mesh.session,
            minimum_cohort=self.minimum if is_owner else 0,
            read=read,
            channel=lambda peer: mesh.channels[self.ranks.index(peer)],
            late_channel=lambda peer: mesh.channels[self.ranks.index(peer)],
            before={},
            earlier={},
            released={},
            rng=SystemRandomness(),
            progress=lambda done, total: None,
            hand_over=self.lent,
            rules=self.rules if is_owner else OutputRules.NONE,
            checkpoints=self.checkpoints[mesh.rank],
        )
        try:
            self.ends[role] = self.component.run(context)
        except (ConnectorError, ExchangeError, MpcError) as error:
            self.ends[role] = error
            mesh.abort(error.code)

    def outcome(self, role: str) -> Outcome:
        """What a role came to, that came to something."""
        found = self.ends[role]
        if not isinstance(found, Outcome):
            raise AssertionError(f"{role}: expected an outcome, got {found!r}")
        return found

    def released(self) -> dict[str, bytes]:
        """What was released, by role."""
        return {
            role: end.release
            for role, end in self.ends.items()
            if isinstance(end, Outcome) and end.release is not None
        }

    def result(self) -> ResultTable:
        """What a recipient reads."""
        if self.component.open_result is None:
            raise AssertionError(f"{self.component.name}: nobody reads its releases")
        return self.component.open_result(self.step, self.released())
