"""The job specification: canonical JSON whose digest is what owners decide on and what nodes execute.

A specification is read strictly: a field that is unknown, missing or of another type is refused by name,
because two nodes that read the same bytes differently would approve one thing and run another. No field may
be left out, so that a specification has one encoding only. It holds no floats and no data.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, cast

from exchange.errors import InvalidRequest
from exchange.web.kinds import Rule, read_as
from ledger import canonical
from ledger.errors import LedgerError

__all__ = ["ColumnInput", "JobSpec", "Step", "StepInput"]


@dataclass(frozen=True)
class ColumnInput:
    """A column of an asset; ``decimals`` is the number of decimal digits kept of a numeric measure."""

    name: Annotated[str, Rule("a column name", minimum=1, maximum=200)]
    decimals: Annotated[int, Rule("decimal digits kept, 0 to 9", minimum=0, maximum=9)]


@dataclass(frozen=True)
class StepInput:
    """What one role reads: columns of one asset."""

    asset: Annotated[str, Rule("an asset id", minimum=1, maximum=200)]
    columns: Annotated[tuple[ColumnInput, ...], Rule("columns", minimum=1, maximum=64)]


@dataclass(frozen=True)
class Step:
    """One node of the job's graph. ``parties`` and ``inputs`` are keyed by the component's roles."""

    id: Annotated[str, Rule("lower-case letters, digits and hyphens", pattern="[a-z][a-z0-9-]{0,62}")]
    component: Annotated[str, Rule("a component name", minimum=1, maximum=100)]
    version: int
    parties: dict[str, str]
    inputs: dict[str, StepInput]
    after: tuple[str, ...]
    params: dict[str, object]
    recipients: Annotated[tuple[str, ...], Rule("at most one participant", maximum=1)]

    def role_of(self, did: str) -> str | None:
        """The role ``did`` plays in this step, or ``None`` where it takes no part."""
        return next((role for role, party in self.parties.items() if party == did), None)

    def params_digest(self) -> str:
        """SHA-256 of the canonical parameters and inputs, as receipts state it."""
        step = _plain(self)
        return hashlib.sha256(
            canonical.encode({"params": step["params"], "inputs": step["inputs"]})
        ).hexdigest()


@dataclass(frozen=True)
class JobSpec:
    """A whole job: purpose, the agreement that covers each asset, and the steps in order.

    Steps come after those they name in ``after``. An asset that the submitter owns needs no agreement.
    """

    v: Annotated[int, Rule("version 1 of this format", minimum=1, maximum=1)]
    job: Annotated[str, Rule("job- and 26 lower-case characters", pattern="job-[0-9a-z]{26}")]
    title: Annotated[str, Rule("a title", minimum=1, maximum=200)]
    purpose: Annotated[str, Rule("a purpose", minimum=1, maximum=200)]
    agreements: dict[str, str]
    steps: Annotated[tuple[Step, ...], Rule("steps", minimum=1, maximum=64)]

    @classmethod
    def parse(cls, raw: bytes) -> JobSpec:
        """Read canonical bytes.

        Raises:
            InvalidRequest: not canonical JSON, or a field is unknown, missing, of another type or out of
            range.
        """
        try:
            value = canonical.decode(raw)
        except LedgerError as exc:
            raise InvalidRequest("spec", "canonical JSON", str(exc)) from exc
        return cls.from_json(value)

    @classmethod
    def from_json(cls, value: object) -> JobSpec:
        """Read a decoded specification; errors as in ``parse``."""
        spec = read_as(cls, value, "spec")
        seen: set[str] = set()
        for i, step in enumerate(spec.steps):
            if step.id in seen:
                raise InvalidRequest(f"spec.steps[{i}].id", "an id not used before", step.id)
            for name in step.after:
                if name not in seen:
                    raise InvalidRequest(f"spec.steps[{i}].after", "ids of earlier steps", name)
            for role in step.inputs:
                if role not in step.parties:
                    raise InvalidRequest(
                        f"spec.steps[{i}].inputs.{role}", "a role among the step's parties", role
                    )
            seen.add(step.id)
        return spec

    def encode(self) -> bytes:
        """The canonical bytes: what is digested, approved, relayed and executed."""
        return canonical.encode(_plain(self))

    def digest(self) -> str:
        """SHA-256 of the canonical bytes, lower-case hex."""
        return hashlib.sha256(self.encode()).hexdigest()

    def summary(self) -> list[dict[str, Any]]:
        """The steps as the ledger states them: who takes part in what, without parameters and columns."""
        return [
            {
                "id": step.id,
                "component": step.component,
                "version": step.version,
                "parties": sorted(step.parties.values()),
            }
            for step in self.steps
        ]

    def parties(self) -> tuple[str, ...]:
        """All participants of any step, sorted."""
        return tuple(sorted({did for step in self.steps for did in step.parties.values()}))

    def assets(self) -> tuple[str, ...]:
        """All assets any step reads, sorted."""
        return tuple(sorted({given.asset for step in self.steps for given in step.inputs.values()}))

    def step(self, step_id: str) -> Step:
        """The step of that id; the check on reading guarantees that ids in ``after`` exist."""
        return next(step for step in self.steps if step.id == step_id)


def _plain(value: Step | JobSpec) -> dict[str, Any]:
    return cast("dict[str, Any]", _lists(dataclasses.asdict(value)))


def _lists(value: object) -> object:
    if isinstance(value, dict):
        return {name: _lists(item) for name, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, tuple | list) else value
