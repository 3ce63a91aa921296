"""Jobs at this node: submitting, deciding on those of others, running, and reading what came of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

from exchange.errors import Conflict, ExchangeError, JobFailed, LedgerRefused, NotFound
from exchange.jobs.spec import JobSpec
from exchange.node import budgets, enforcement
from exchange.node.checkpoints import unpack
from exchange.node.job_approvals import KIND, JobApprovals
from exchange.node.ledger_client import FinalEntry
from exchange.node.runner import JobRun, release_context
from exchange.node.services import NodeServices
from exchange.node.stops import UNDER_WAY
from ledger.rules import absences

__all__ = ["Jobs"]

ENDED_WITHOUT_RESULT = ("FAILED", "REFUSED", "ABORTED", "REVOKED", "EXPIRED")

_SPEC_WAIT_S = 20.0
_HALT_WAIT_S = 10.0
_SPEC_RETRY_S = 0.1


class Jobs:
    """One participant's part in jobs, as submitter, owner or both."""

    def __init__(self, services: NodeServices) -> None:
        self._services = services
        self._approvals = JobApprovals(services)
        services.approvals.watch(KIND, self._approvals.is_over)
        services.approvals.guard(KIND, self._approvals.check_open)
        self._decided: set[str] = set()

    def submit(self, value: object) -> dict[str, str]:
        """Sign a specification's digest onto the ledger and give the hub the specification to relay.

        Submitting the same specification again changes nothing and answers the same.

        Raises:
            InvalidRequest: the specification or one of its steps is not what its component declares.
            Conflict: the job id stands for another specification already.
        """
        services = self._services
        spec = JobSpec.from_json(value)
        services.registry.check(spec)
        before = services.ledger.final("jobs", spec.job)
        if before is not None:
            if before["spec"] != spec.digest():
                raise Conflict(f"job {spec.job} was submitted with another specification")
        else:
            services.store.jobs.keep_spec(spec.job, spec.encode())
            services.ledger.write(
                "job.submit",
                {
                    "job": spec.job,
                    "spec": spec.digest(),
                    "purpose": spec.purpose,
                    "agreements": sorted(spec.agreements.values()),
                    "parties": list(spec.parties()),
                    "steps": services.registry.summary(spec),
                },
            )
        services.hub.put_spec(spec.job, spec.encode())
        return {"job": spec.job, "spec": spec.digest()}

    def decide(self, job: str) -> None:
        """The owner's duty: start the job or refuse it, with the reasons, on the ledger."""
        services = self._services
        mark = self._approvals.mark(job)
        if job in self._decided or self._approvals.is_waiting(job, mark):
            return
        row = self._row(job)
        raw = self._relayed_spec(job, row)
        decision = enforcement.decide(
            raw,
            row,
            services.ledger.state,
            services.keys.did,
            services.registry,
            services.clock(),
            computes_for_members=services.settings.computes_for_members,
        )
        reasons = tuple(reason for reason in decision.reasons if not reason.pending)
        if decision.is_pending and row["state"] == "SUBMITTED":
            services.store.jobs.keep_spec(job, raw)
            against = self._approvals.advance(JobSpec.parse(raw), row, mark)
            if against is None:
                return
            reasons = (against,)
        self._decided.add(job)
        if decision.is_permitted and row["state"] == "SUBMITTED":
            services.store.jobs.keep_spec(job, raw)
            try:
                body: dict[str, object] = {
                    "job": job,
                    "spec": row["spec"],
                    "agreements": list(decision.agreements),
                }
                spec = JobSpec.parse(raw)
                losses = budgets.spends(spec, decision.agreements, services.registry)
                if losses:
                    body["spends"] = losses
                services.ledger.write("job.start", body)
            except LedgerRefused as exc:
                reasons = (enforcement.Reason(exc.reason, str(exc)),)
        if reasons and self._row(job)["state"] in ("SUBMITTED", "REFUSED"):
            refusal: dict[str, object] = {
                "job": job,
                "spec": row["spec"],
                "code": reasons[0].code,
                "reasons": [reason.text[:500] for reason in reasons[:20]],
            }
            services.ledger.write("job.refuse", refusal)

    def approve(self, job: str) -> None:
        """The duty of an organisation that an agreement names: approve the job or say no, on the ledger."""
        services = self._services
        mark = self._approvals.mark(job)
        if self._approvals.is_waiting(job, mark):
            return
        row = self._row(job)
        raw = self._relayed_spec(job, row)
        decision = enforcement.decide(
            raw, row, services.ledger.state, services.keys.did, services.registry, services.clock()
        )
        against = next((reason for reason in decision.reasons if not reason.pending), None)
        if against is None:
            services.store.jobs.keep_spec(job, raw)
            against = self._approvals.advance(JobSpec.parse(raw), row, mark)
        if against is not None:
            self._approvals.disapprove(row, against.text)

    def run(self, job: str) -> None:
        """Play this party's steps of a running job; only what this node itself started is run."""
        services, me = self._services, self._services.keys.did
        row = self._row(job)
        settled = _has_settled(row, me) and not services.store.releases.owed(job)
        if me != row["submitter"] and (me not in row["starts"] or settled):
            return
        raw = services.store.jobs.spec(job)
        spec = JobSpec.parse(raw) if raw is not None else None
        if spec is None or spec.digest() != row["spec"]:
            services.ledger.write(
                "job.fail",
                {
                    "job": job,
                    "step": "",
                    "code": "job.spec-lost",
                    "reason": "this node lost the specification",
                },
            )
            return
        minimum = enforcement.minimum_cohort(spec, row, services.ledger.state, me)
        playing = JobRun(services, spec, minimum)
        with self._services.runs.running(job, lambda: playing.step) as signal:
            playing.run(signal)

    def stop(self, job: str, reason: str) -> FinalEntry:
        """End a job that is under way, as its submitter, a party or an owner of its data.

        Raises:
            Conflict: it has ended already.
        """
        row = self._row(job)
        if row["state"] not in ("SUBMITTED", *UNDER_WAY):
            raise Conflict(f"job {job} is {row['state']}")
        body = {"job": job, "cause": "stopped", "reason": reason}
        return self._services.ledger.write("job.stop", body)

    def suspend(self, job: str, reason: str) -> tuple[str, ...]:
        """Pause own started parts of a job: an owner its own, who asked for it those of all owners.

        Nothing of the job leaves a house until whoever paused a part lets it go on.

        Returns:
            The owners whose parts were paused.

        Raises:
            NotFound: this participant has no part in the job. Conflict: no part is started and not paused.
        """
        row, me = self._row(job), self._services.keys.did
        if me != row["submitter"] and me not in row["starts"]:
            raise NotFound(f"this participant has no part in job {job} that could be suspended")
        parts = [did for did in row["starts"] if me in (did, row["submitter"])]
        parts = [did for did in parts if did not in row.get("suspended", {})]
        if not parts:
            raise Conflict(f"job {job} is {row['state']} and has no part to suspend")
        for did in parts:
            self._services.ledger.write("job.suspend", {"job": job, "provider": did, "reason": reason})
        return tuple(parts)

    def resume(self, job: str) -> tuple[str, ...]:
        """Let the parts go on that this participant has paused; returns their owners.

        Raises:
            Conflict: there are none.
        """
        row, me = self._row(job), self._services.keys.did
        parts = tuple(did for did, one in row.get("suspended", {}).items() if one["by"] == me)
        if not parts:
            raise Conflict(f"job {job} has no part that this participant has suspended")
        for did in parts:
            self._services.ledger.write("job.resume", {"job": job, "provider": did})
        return parts

    def halt(self, job: str) -> None:
        """The duty of a party of a stopped job: end its part, then say so."""
        row = self._row(job)
        self._services.runs.tell(job, f"the job is {row['state']}")
        step, after_ms = self._services.runs.ended(job, _HALT_WAIT_S)
        body = {"job": job, "step": step or None, "after_ms": after_ms}
        self._services.ledger.write("receipt.halt", body)

    def describe(self, job: str) -> dict[str, Any]:
        """Everything this node's ledger says of a job, and the progress the parties post."""
        row = self._row(job)
        names = {member["did"]: member["name"] for member in self._services.ledger.final_rows("members")}
        described = {
            key: value for key, value in row.items() if key not in ("refusals", "receipts", "releases")
        }
        described["halts"] = [
            {"party": did, "name": names.get(did, ""), **halt} for did, halt in row["halts"].items()
        ]
        described["refusals"] = [
            {"party": did, "name": names.get(did, ""), **refusal} for did, refusal in row["refusals"].items()
        ]
        described["receipts"] = [
            {"step": step, "party": did, "name": names.get(did, ""), "txid": txid}
            for step, by_party in row["receipts"].items()
            for did, txid in by_party.items()
        ]
        described["releases"] = [
            {"step": step, "party": did, "name": names.get(did, ""), "digest": digest}
            for step, by_party in row["releases"].items()
            for did, digest in by_party.items()
        ]
        described["absent"] = [
            {"step": step, "party": did, "name": names.get(did, "")}
            for step, dids in row.get("absent", {}).items()
            for did in dids
        ]
        described["costs"] = self._services.costs.compared(job)
        described["approvals"] = self._approvals.described(row, names)
        described["waiting_for"] = self._waiting_for(row, names)
        try:
            described["progress"] = self._with_loss(job, self._services.hub.job(job)["progress"])
        except ExchangeError:
            described["progress"] = []
        return described

    def _with_loss(self, job: str, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What the parties tell of their steps, with the loss that this one has learned and tells nobody."""
        me, loss = self._services.keys.did, self._services.runs.loss
        return [one | ({"loss": loss(job, one["step"])} if one["party"] == me else {}) for one in told]

    def result(self, job: str) -> dict[str, bytes]:
        """The files of a completed job that this participant asked for.

        Raises:
            Conflict: the job has not completed; JobFailed: it will not.
        """
        services, me = self._services, self._services.keys.did
        row = self._row(job)
        if row["submitter"] != me:
            raise NotFound(f"this participant did not ask for job {job}")
        if row["state"] in ENDED_WITHOUT_RESULT:
            raise JobFailed(f"job {job} is {row['state'].lower()}")
        if row["state"] != "COMPLETED":
            raise Conflict(f"job {job} is {row['state']}, not COMPLETED")
        files: dict[str, bytes] = {}
        for step in row["steps"]:
            kept = services.store.jobs.checkpoint(job, step["id"])
            if kept is not None and me in step["parties"]:
                files |= unpack(
                    services.keys.open_sealed(kept, release_context(job, step["id"], me, me))
                ).outcome.files
        return files

    def _waiting_for(self, row: Mapping[str, Any], names: Mapping[str, str]) -> str:
        if row.get("suspended") and row["state"] not in ENDED_WITHOUT_RESULT:
            paused = sorted({names.get(one["by"], one["by"]) for one in row["suspended"].values()})
            return f"{', '.join(paused)} to resume it"
        if row["state"] == "SUBMITTED":
            providers = {
                agreement["provider"]
                for name in row["agreements"]
                if (agreement := self._services.ledger.final("agreements", name)) is not None
            }
            unapproved = self._approvals.missing(row)
            waits = self._approvals.waiting_for(row, names)
            undecided = sorted(names.get(did, did) for did in providers - set(row["starts"]) - unapproved)
            return "; ".join(waits + ([f"the decision of {', '.join(undecided)}"] if undecided else []))
        if row["state"] == "RELEASE_REVIEW":
            held = {(step, did) for step, dids in row["holds"].items() for did in dids}
            reviews = sorted(held - {(step, did) for step, dids in row["releases"].items() for did in dids})
            return "; ".join(f"the review of step {step} at {names.get(did, did)}" for step, did in reviews)
        if row["state"] == "RUNNING":
            for step in row["steps"]:
                missing = set(step["parties"]) - set(row["receipts"].get(step["id"], {}))
                missing -= absences.named(row, step["id"])
                if missing:
                    return f"step {step['id']} at {', '.join(sorted(names.get(did, did) for did in missing))}"
        return ""

    def _relayed_spec(self, job: str, row: Mapping[str, Any]) -> bytes:
        """The specification as this node kept it, else from the hub; it may follow the entry by a moment.

        Raises:
            NotFound: the hub has had it for none of the time waited; the decision is taken again later.
        """
        kept = self._services.store.jobs.spec(job)
        if kept is not None and hashlib.sha256(kept).hexdigest() == row["spec"]:
            return kept
        deadline = time.monotonic() + _SPEC_WAIT_S
        while True:
            try:
                return self._services.hub.get_spec(job)
            except NotFound:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_SPEC_RETRY_S)

    def _row(self, job: str) -> Mapping[str, Any]:
        row = self._services.ledger.final("jobs", job)
        if row is None:
            raise NotFound(f"no job {job} on this node's ledger")
        return row


def _has_settled(row: Mapping[str, Any], me: str) -> bool:
    """Whether the ledger has every receipt this party owes; one that left, or was absent, owes none."""
    mine = [step["id"] for step in row["steps"] if me in step["parties"]]
    is_out = any(me in absences.named(row, step) or me in row.get("left", {}).get(step, {}) for step in mine)
    return is_out or all(me in row["receipts"].get(step, {}) for step in mine)
