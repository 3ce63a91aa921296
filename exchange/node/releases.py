"""The owner's gate: what must hold before an output of a step leaves this node.

Small cohorts and row-level outputs are refused. The people behind each output are compared with those behind
every earlier one of the same asset, whoever asked, under whatever agreement: figures whose cohorts differ by
fewer people than the minimum, but not by none, are refused (``exchange.jobs.cohorts``). Every release counts
a number of people, so every two releases of an asset overlap; outputs with noise are not compared, because
noise covers the difference, nor deliveries, which hand over the rows themselves. Where the owner asks for it,
the output then waits until a person who has not approved the job has looked at it.

What was admitted is remembered before it leaves. A node whose memory lacks a release that the ledger has, for
instance after an old backup was restored, releases nothing exact of that asset any more.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from connectors import columns
from exchange.jobs.cohorts import NOBODY, Cohort, smallest_difference
from exchange.jobs.component import Outcome
from exchange.jobs.disclosure import (
    CohortDiffers,
    MemoryLost,
    OutputRules,
    ReleaseWithheld,
    RowLevel,
    SmallCohort,
)
from exchange.jobs.spec import JobSpec, Step
from exchange.node.approvals import RequestState, Standing
from exchange.node.consented import Use
from exchange.node.services import NodeServices
from exchange.store import KeptRelease, ReleaseState
from ledger import canonical
from mpc.engines.texts import holds_only
from policies.approvals import ApprovalRule, Stage

__all__ = ["KIND", "Admission", "ReleaseGate"]

KIND = "release"
"""Of the requests for approval that a held output waits for; the subject is ``JOB/STEP``."""

_UNESCAPED = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))
"""Texts of these characters alone are written into JSON as they are."""

_REVIEWER = "approver"
_lock = threading.Lock()


class Admission(NamedTuple):
    """Whether an output may leave now, and the word of the person who let it go, if one was asked."""

    may_leave: bool
    review: Mapping[str, str] | None = None


class ReleaseGate:
    """The gate of one run of a job at this owner's node."""

    def __init__(self, services: NodeServices, spec: JobSpec, minimum_cohort: int) -> None:
        self._services, self._spec, self._minimum = services, spec, minimum_cohort
        self._me = services.keys.did

    def rules(self, step: Step, role: str) -> OutputRules:
        """The output checks for what a role of a step reads, stricter where the job tells totals too."""
        given = step.inputs.get(role)
        if given is None:
            return OutputRules.NONE
        stored = self._services.store.releases.rules(given.asset)
        rules = OutputRules.NONE if stored is None else OutputRules.parse(stored)
        if any(self._spec.step(name).recipients for name in step.after):
            return OutputRules(**{**rules.__dict__, "complementary": True})
        return rules

    def finish(self, step: Step, role: str, outcome: Outcome) -> None:
        """Check an output as it is made, and keep whose figures it has.

        Raises:
            SmallCohort, RowLevel: it is about too few people.
        """
        release = outcome.release
        if release is None or not step.recipients:
            return
        if outcome.cohort < self._minimum:
            raise SmallCohort(f"step {step.id}: a released group is smaller than the agreed {self._minimum}")
        given = step.inputs.get(role)
        is_delivery = self._services.registry.get(step.component).is_delivery
        has_figures = outcome.rows is not None and outcome.groups is not None
        if given is None or not (has_figures or is_delivery) or self._is_own_only(step):
            return
        if outcome.rows is not None and 1 < outcome.figures >= len(outcome.rows):
            raise RowLevel(f"step {step.id}: expected fewer figures than people")
        self._services.store.releases.finish(
            KeptRelease(
                job=self._spec.job,
                step=step.id,
                asset=given.asset,
                digest=hashlib.sha256(release).hexdigest(),
                shape=_shape(step, role),
                is_exact=outcome.is_exact and not is_delivery,
                minimum=self._minimum,
                cohort=(NOBODY if is_delivery else self._cohort(given.asset, outcome)).encode(),
                state=ReleaseState.FINISHED,
                stored=self._services.clock(),
            )
        )

    def admit(self, step: Step, role: str) -> Admission:
        """Decide whether an output may leave; safe to repeat, before and after a restart.

        Raises:
            CohortDiffers, MemoryLost: it would tell about a few people.
            ReleaseWithheld: a person did not let it go.
        """
        kept = self._services.store.releases.find(self._spec.job, step.id)
        if kept is None:
            return Admission(True)
        waits = self.rules(step, role).review or self._is_held(step)
        if kept.state is ReleaseState.FINISHED:
            with _lock:
                self._compare(kept)
                state = ReleaseState.HELD if waits else ReleaseState.ADMITTED
                self._services.store.releases.move(kept.job, kept.step, state)
        return self._reviewed(kept, step) if waits else Admission(True)

    def released(self, step: Step) -> None:
        """Write down that an output has left."""
        self._services.store.releases.move(self._spec.job, step.id, ReleaseState.RELEASED)

    def _reviewed(self, kept: KeptRelease, step: Step) -> Admission:
        services, subject = self._services, f"{kept.job}/{kept.step}"
        if not self._is_held(step):
            services.ledger.write("job.hold", {"job": kept.job, "step": kept.step})
        standing = services.approvals.standing(KIND, subject, kept.digest)
        if standing is None:
            self._ask(kept, step, subject)
            return Admission(False)
        if standing.state is RequestState.PENDING:
            return Admission(False)
        if not standing.is_approved:
            services.store.releases.move(kept.job, kept.step, ReleaseState.WITHHELD)
            raise ReleaseWithheld(f"step {step.id}: {standing.state.value.lower()}: {standing.reason}")
        services.store.releases.move(kept.job, kept.step, ReleaseState.ADMITTED)
        return Admission(True, _word(standing))

    def _ask(self, kept: KeptRelease, step: Step, subject: str) -> None:
        """Ask the approvers who have not approved this job; without one, ask again at the next look."""
        candidates = self._approvers() - self._deciders(kept)
        if not candidates:
            return
        rule = ApprovalRule((Stage(_REVIEWER, approvers=frozenset(candidates)),))
        card = {
            "job": kept.job,
            "step": kept.step,
            "title": self._spec.title,
            "purpose": self._spec.purpose,
            "component": step.component,
            "asset": kept.asset,
            "recipients": list(step.recipients),
            "exact": kept.is_exact,
            "people": len(Cohort.decode(kept.cohort).people),
        }
        requester = str(self._row()["submitter"])
        self._services.approvals.open(KIND, subject, kept.digest, card, rule, requester)

    def _approvers(self) -> set[str]:
        with self._services.store.people.reading() as people:
            accounts = people.accounts()
        return {one.name for one in accounts if _REVIEWER in one.roles and one.state == "active"}

    def _deciders(self, kept: KeptRelease) -> set[str]:
        """Who approved this job, or the agreement that lets it read the asset."""
        services = self._services
        names: set[str] = set()
        for request in services.store.approvals.of_subject("job", kept.job):
            names |= {decision.approver for decision in services.store.approvals.decisions(request.request)}
        agreement = services.ledger.final("agreements", self._spec.agreements.get(kept.asset, ""))
        if agreement is not None:
            negotiation = services.ledger.final("negotiations", agreement["negotiation"]) or {}
            names |= {str(one["approver"]) for one in negotiation.get("approvals", ())}
        return names

    def _compare(self, kept: KeptRelease) -> None:
        """Compare an exact output with every other of the asset that has been admitted."""
        if not kept.is_exact:
            return
        self._require_memory(kept.asset)
        new = Cohort.decode(kept.cohort)
        for earlier in self._services.store.releases.of_asset(kept.asset):
            is_self = (earlier.job, earlier.step) == (kept.job, kept.step)
            known = earlier.state in (ReleaseState.HELD, ReleaseState.ADMITTED, ReleaseState.RELEASED)
            if is_self or not known or not earlier.is_exact:
                continue
            minimum = max(kept.minimum, earlier.minimum)
            if 0 < smallest_difference(new, Cohort.decode(earlier.cohort)) < minimum:
                raise CohortDiffers(
                    f"step {kept.step}: the people behind a figure differ by fewer than {minimum} from those "
                    f"behind one that was released before"
                )

    def _require_memory(self, asset: str) -> None:
        """Check that this node remembers every release of its own that the ledger has about an asset."""
        known = self._services.store.releases.known()
        for job, row in self._services.ledger.state.rows("jobs").items():
            sent = {step: to.get(self._me, self._me) for step, to in row["recipients"].items()}
            steps = [step for step, recipient in sent.items() if recipient != self._me]
            if not steps or not self._used(row, asset):
                continue
            missing = [step for step in steps if (job, step) not in known]
            if missing:
                raise MemoryLost(
                    f"expected to remember the release of step {missing[0]} of {job}: this node's store is "
                    f"older than what it has released"
                )

    def _used(self, row: Mapping[str, Any], asset: str) -> bool:
        names = row["starts"].get(self._me, ())
        agreements = (self._services.ledger.final("agreements", name) for name in names)
        return any(one is not None and one["asset"] == asset for one in agreements)

    def _cohort(self, asset: str, outcome: Outcome) -> Cohort:
        """The people behind an output, by this owner's own identifiers as they stand in the data."""
        assert outcome.rows is not None  # noqa: S101 - narrows for the type checker
        assert outcome.groups is not None  # noqa: S101 - narrows for the type checker
        row = self._services.ledger.final("assets", asset) or {}
        names = sorted(column["name"] for column in row.get("schema", ()) if column["role"] == "identifier")
        key = self._services.keys.storage_key(b"people behind releases")
        if not names:
            root = str(row.get("root", "")).encode()
            numbers = pa.array(outcome.rows).cast(pa.large_string()).cast(pa.large_binary())
            return Cohort.of(_joined(root, numbers, b""), outcome.groups, key)
        texts = []
        for name in names:
            with self._services.assets.open(asset, Use.by(self._spec, asset)) as connector:
                array = columns.column_array(connector.batches([name]), name)
            texts.append(array.take(pa.array(outcome.rows)))
        return Cohort.of(_people(texts), outcome.groups, key)

    def _is_own_only(self, step: Step) -> bool:
        return set(step.recipients) <= {self._me}

    def _is_held(self, step: Step) -> bool:
        return self._me in self._row()["holds"].get(step.id, {})

    def _row(self) -> Mapping[str, Any]:
        return self._services.ledger.state.rows("jobs")[self._spec.job]


def _people(texts: Sequence[pa.Array]) -> Sequence[bytes] | pa.LargeBinaryArray:
    """The canonical list of each row's texts; all at once where every text stands in it as it is."""
    if all(_is_plain(text) for text in texts):
        raw = [text.cast(pa.large_string()).cast(pa.large_binary()) for text in texts]
        quoted = pc.binary_join_element_wise(*raw, pa.scalar(b'","', pa.large_binary()))
        return _joined(b'["', quoted, b'"]')
    rows = zip(*(text.to_pylist() for text in texts), strict=True)
    return [canonical.encode([str(part) for part in row]) for row in rows]


def _is_plain(column: pa.Array) -> bool:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) or column.null_count:
        return False
    return holds_only(column, _UNESCAPED)


def _joined(before: bytes, texts: pa.Array, after: bytes) -> pa.LargeBinaryArray:
    kind = pa.large_binary()
    return pc.binary_join_element_wise(
        pa.scalar(before, kind), texts, pa.scalar(after, kind), pa.scalar(b"", kind)
    )


def _shape(step: Step, role: str) -> str:
    """Digest of what was asked of this owner: component, parameters and the columns it read."""
    asked = {
        "component": step.component,
        "params": step.params_digest(),
        "asset": step.inputs[role].asset,
        "columns": sorted(column.name for column in step.inputs[role].columns),
    }
    return hashlib.sha256(canonical.encode(asked)).hexdigest()


def _word(standing: Standing) -> dict[str, str]:
    last = standing.decisions[-1]
    return {"reviewer": last.approver, "role": last.role, "reason": last.reason}
