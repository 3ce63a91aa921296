"""Jobs at this node: submitting, deciding on those of others, running, and reading what came of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from exchange.errors import Conflict, ExchangeError, JobFailed, LedgerRefused, NotFound
from exchange.jobs.spec import JobSpec
from exchange.node import enforcement
from exchange.node.checkpoints import unpack
from exchange.node.runner import JobRun, release_context
from exchange.node.services import NodeServices

__all__ = ["Jobs"]

_SPEC_WAIT_S = 20.0
_SPEC_RETRY_S = 0.1


class Jobs:
    """One participant's part in jobs, as submitter, owner or both."""

    def __init__(self, services: NodeServices) -> None:
        self._services = services
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
                    "steps": spec.summary(),
                },
            )
        services.hub.put_spec(spec.job, spec.encode())
        return {"job": spec.job, "spec": spec.digest()}

    def decide(self, job: str) -> None:
        """The owner's duty: start the job or refuse it, with the reasons, on the ledger."""
        services = self._services
        if job in self._decided:
            return
        row = self._row(job)
        raw = self._relayed_spec(job)
        decision = enforcement.decide(
            raw,
            row,
            services.ledger.state,
            services.keys.did,
            services.registry,
            services.clock(),
        )
        self._decided.add(job)
        reasons = decision.reasons
        if decision.is_permitted and row["state"] == "SUBMITTED":
            services.store.jobs.keep_spec(job, raw)
            try:
                body: dict[str, object] = {
                    "job": job,
                    "spec": row["spec"],
                    "agreements": list(decision.agreements),
                }
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

    def run(self, job: str) -> None:
        """Play this party's steps of a running job; only what this node itself started is run."""
        services, me = self._services, self._services.keys.did
        row = self._row(job)
        if me != row["submitter"] and (me not in row["starts"] or _has_settled(row, me)):
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
        JobRun(services, spec, minimum).run()

    def describe(self, job: str) -> dict[str, Any]:
        """Everything this node's ledger says of a job, and the progress the parties post."""
        row = self._row(job)
        names = {member["did"]: member["name"] for member in self._services.ledger.final_rows("members")}
        described = {
            key: value for key, value in row.items() if key not in ("refusals", "receipts", "releases")
        }
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
        described["waiting_for"] = self._waiting_for(row, names)
        try:
            described["progress"] = self._services.hub.job(job)["progress"]
        except ExchangeError:
            described["progress"] = []
        return described

    def result(self, job: str) -> dict[str, bytes]:
        """The files of a completed job that this participant asked for.

        Raises:
            Conflict: the job has not completed; JobFailed: it will not.
        """
        services, me = self._services, self._services.keys.did
        row = self._row(job)
        if row["submitter"] != me:
            raise NotFound(f"this participant did not ask for job {job}")
        if row["state"] in ("FAILED", "REFUSED"):
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
        if row["state"] == "SUBMITTED":
            providers = {
                agreement["provider"]
                for name in row["agreements"]
                if (agreement := self._services.ledger.final("agreements", name)) is not None
            }
            undecided = sorted(names.get(did, did) for did in providers - set(row["starts"]))
            return f"the decision of {', '.join(undecided)}" if undecided else ""
        if row["state"] == "RUNNING":
            for step in row["steps"]:
                missing = set(step["parties"]) - set(row["receipts"].get(step["id"], {}))
                if missing:
                    return f"step {step['id']} at {', '.join(sorted(names.get(did, did) for did in missing))}"
        return ""

    def _relayed_spec(self, job: str) -> bytes:
        """The specification from the hub; it may follow the entry by a moment.

        Raises:
            NotFound: the hub has had it for none of the time waited; the decision is taken again later.
        """
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
    """Whether the ledger has every receipt this party owes."""
    return all(me in row["receipts"].get(step["id"], {}) for step in row["steps"] if me in step["parties"])
