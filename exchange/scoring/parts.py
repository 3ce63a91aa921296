"""This owner's parts of models: taken from the finished step that trained them, kept sealed beside a salt."""

from __future__ import annotations

from dataclasses import dataclass

from exchange.errors import Conflict, InvalidRequest, NotFound
from exchange.identity import NodeKeys, seal_to
from exchange.jobs.spec import JobSpec, Step
from exchange.node.checkpoints import unpack
from exchange.node.runner import release_context
from exchange.scoring.served import without_rows
from exchange.store import JobRepository
from ledger import base64url, canonical, commitments
from ledger.rules.models import COMPONENTS

__all__ = ["Trained", "open_part", "seal_part", "trained"]


@dataclass(frozen=True, repr=False)
class Trained:
    """What a job left at this owner.

    Attributes:
        owners: DIDs of all owners of the model, the label holder first.
        asset: what this owner trained on.
        component: that trained it.
        part: its coefficients, points or splits, as the step has left them, without rows.
    """

    owners: tuple[str, ...]
    asset: str
    component: str
    part: bytes


def trained(jobs: JobRepository, keys: NodeKeys, job: str, step_id: str) -> Trained:
    """Find what a step has left at this node.

    Raises:
        NotFound: this node took no part in the step as an owner, or it is not finished.
        Conflict: the step trained no model, or one that its owners do not keep.
    """
    raw, kept = jobs.spec(job), jobs.checkpoint(job, step_id)
    if raw is None or kept is None:
        raise NotFound(f"step {step_id} of {job} has left nothing at this node")
    step = JobSpec.parse(raw).step(step_id)
    if step.component not in COMPONENTS:
        raise Conflict(f"step {step_id} trained no model: it is {step.component}")
    if step.params.get("coefficients", "split") != "split":
        raise Conflict(f"the coefficients of step {step_id} went to its recipients; its owners keep none")
    role = step.role_of(keys.did)
    if role not in step.inputs:
        raise NotFound(f"this participant owns no column of step {step_id}")
    finished = unpack(keys.open_sealed(kept, release_context(job, step_id, keys.did, keys.did)))
    part = without_rows(step.component, finished.outcome.local)
    return Trained(_owners(step), step.inputs[role].asset, step.component, part)


def _owners(step: Step) -> tuple[str, ...]:
    roles = sorted(step.inputs, key=lambda role: int(role.rpartition("-")[2]))
    return tuple(step.parties[role] for role in roles)


def seal_part(keys: NodeKeys, model: str, version: int, part: bytes) -> tuple[str, bytes]:
    """Commit to a part and seal it with the salt to this node's own key.

    Returns:
        The commitment for the ledger, and what to keep.
    """
    commitment, salt = commitments.commit(part)
    opening = {"part": base64url.encode(part), "salt": base64url.encode(salt)}
    return commitment, seal_to(keys.seal_public, canonical.encode(opening), _context(model, version))


def open_part(keys: NodeKeys, model: str, version: int, sealed: bytes, commitment: str) -> bytes:
    """Open what ``seal_part`` made.

    Raises:
        SealBroken: it is of another version, or was altered.
        CommitmentMismatch: it is not what the ledger has a commitment to.
        InvalidRequest: it has another form.
    """
    opening = canonical.decode(keys.open_sealed(sealed, _context(model, version)))
    if not isinstance(opening, dict) or set(opening) != {"part", "salt"}:
        raise InvalidRequest("model part", "a part with its salt", "something else")
    part, salt = (base64url.decode(str(opening[name])) for name in ("part", "salt"))
    commitments.check(commitment, part, salt)
    return part


def _context(model: str, version: int) -> bytes:
    return canonical.encode({"model": model, "use": "model part", "version": version})
