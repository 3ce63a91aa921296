"""Approval of single jobs where an agreement asks for it: by the owner's people, or a named organisation's.

The node opens a request with a card that it computed itself, waits for its people, and writes ``job.approve``
over the digest that stands in the job's row. What people rejected, or let expire, is a reason to refuse the
job. Nothing here trusts the hub: a specification is decided on only after ``enforcement`` has found it to be
what the submitter signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from exchange.errors import Conflict
from exchange.jobs.spec import JobSpec
from exchange.node.approvals import Approvals, RequestState, Standing
from exchange.node.cards import Card, job_card
from exchange.node.job_request import Reason
from exchange.node.services import NodeServices
from exchange.store import KeptRequest
from ledger import canonical
from ledger.errors import LedgerError
from ledger.rules import approvals as rules
from ledger.search import Query
from policies.approvals import ApprovalRule, Sensitivity, combined
from policies.errors import InvalidDecision

__all__ = ["KIND", "JobApprovals", "stages_of"]

KIND = "job"
Mark = tuple[int, int]
"""Changes of the own requests so far, and where the last approval of a job stands on the ledger."""


class JobApprovals:
    """This participant's approvals of jobs."""

    def __init__(self, services: NodeServices) -> None:
        self._services = services
        self._seen: dict[str, Mark] = {}

    @property
    def _people(self) -> Approvals:
        return self._services.approvals

    def mark(self, job: str) -> Mark:
        """Return how far approvals are; to be taken before anything is read that a decision rests on."""
        standing = self._services.ledger.state.get("approvals", job)
        return self._people.changes, -1 if standing is None else int(standing["index"])

    def is_waiting(self, job: str, mark: Mark) -> bool:
        """Whether nothing has happened since this job was last left waiting for approvals."""
        return self._seen.get(job) == mark

    def advance(self, spec: JobSpec, row: Mapping[str, Any], mark: Mark) -> Reason | None:
        """Bring this organisation's own approval of a submitted job further.

        Args:
            spec: the specification, known to be what the submitter signed.
            row: the job's row.
            mark: of before the job was looked at; what has happened since then is looked at again.

        Returns:
            Why this organisation's people do not approve; None while somebody still has to act.
        """
        me = self._services.keys.did
        if me in self.missing(row):
            try:
                rule = self._rule(spec)
            except InvalidDecision as exc:
                return Reason("approval.no-rule", f"the rules of approval do not fit together: {exc}")
            known = self._people.standing(KIND, spec.job, row["spec"])
            used = None
            if known is None or known.state is RequestState.PENDING:
                used = self._services.permissions.approve(spec, row["submitter"], rule)
            if used is not None and used.standing is not None:
                card = canonical.encode(self._card(spec, row))
                self._write(row, used.standing, card, permission=used.kept.permission)
                self._people.withdraw(KIND, spec.job, f"permission {used.kept.permission} approved it")
                self._seen[spec.job] = mark
                return None
            standing = known or self._asked(spec, row, rule)
            if standing.is_approved:
                self._write(row, standing, standing.request.card)
            elif standing.state is not RequestState.PENDING:
                code = f"approval.{standing.state.name.lower()}"
                return Reason(code, f"the approval is {standing.state.name.lower()}: {standing.reason}")
        self._seen[spec.job] = mark
        return None

    def disapprove(self, row: Mapping[str, Any], reason: str) -> None:
        """Say no to a job, or take back an own approval, before an owner has started it."""
        body = {"job": row["job"], "spec": row["spec"], "reason": reason[:500]}
        self._services.ledger.write("job.disapprove", body)

    def missing(self, row: Mapping[str, Any]) -> frozenset[str]:
        """The organisations that have still to approve a job."""
        state = self._services.ledger.state
        return rules.may_approve(state, row) - set(rules.standing(state, row)["approved"])

    def described(self, row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
        """Who is asked to approve a job, who has and who has said no; where the own request stands."""
        state = self._services.ledger.state
        standing = rules.standing(state, row)
        own = self._people.standing(KIND, row["job"], row["spec"])
        return {
            "asked": sorted(names.get(did, did) for did in rules.may_approve(state, row)),
            "approved": sorted(names.get(did, did) for did in standing["approved"]),
            "withdrawn": {names.get(did, did): reason for did, reason in standing["withdrawn"].items()},
            "request": None if own is None else own.request.request,
            "state": None if own is None else own.state.value,
        }

    def is_over(self, request: KeptRequest) -> str | None:
        """Why nothing is left to decide about a job; None while there is."""
        row = self._services.ledger.final("jobs", request.subject)
        state = "not on record" if row is None else str(row["state"])
        return None if state == "SUBMITTED" else f"the job is {state}"

    def check_open(self, request: KeptRequest) -> None:
        """Check that a job can still be approved.

        Raises:
            Conflict: it has ended, or has been started already.
        """
        reason = self.is_over(request)
        if reason is not None:
            raise Conflict(f"nothing is left to decide: {reason}")

    def waiting_for(self, row: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
        """Whose approval a submitted job lacks; of the own people, how many of which role and since when."""
        me, found = self._services.keys.did, []
        for did in sorted(self.missing(row), key=lambda did: names.get(did, did)):
            own = self._people.standing(KIND, row["job"], row["spec"]) if did == me else None
            name = names.get(did, did)
            if own is None or own.state is not RequestState.PENDING:
                found.append(f"the approval of {name}{self._since(row['job'])}")
                continue
            since = own.request.opened.strftime("%H:%M")
            found += [f"{count} {stage} of {name} since {since}" for stage, count in own.missing.items()]
        return found

    def _since(self, job: str) -> str:
        """Since when a job waits, by the log; nothing where the copy's search index is not ready."""
        try:
            entries = self._services.ledger.mirror.found(Query(types=("job.submit",), concerning=(job,)))
            first = next(iter(entries), None)
        except LedgerError:
            return ""
        return "" if first is None else f" since {datetime.fromtimestamp(first.time, UTC):%H:%M}"

    def _asked(self, spec: JobSpec, row: Mapping[str, Any], rule: ApprovalRule) -> Standing:
        card = self._card(spec, row)
        kept = self._people.open(KIND, spec.job, row["spec"], card, rule, row["submitter"])
        return self._people.of(kept.request)

    def _card(self, spec: JobSpec, row: Mapping[str, Any]) -> Card:
        services, earlier = self._services, self._last_approved(spec, row)
        return job_card(
            spec, row, services.ledger.state, services.registry, earlier, services.costs.estimates
        )

    def _rule(self, spec: JobSpec) -> ApprovalRule:
        """The rules of all own assets in the job together; that for others' jobs where there is none."""
        state, me = self._services.ledger.state, self._services.keys.did
        found = []
        for asset in spec.assets():
            row = state.get("assets", asset)
            if row is not None and row["owner"] == me:
                grades = [Sensitivity(column["sensitivity"]) for column in row["schema"]]
                found.append(self._people.rules.for_asset(asset, grades))
        return combined(found) if found else self._people.rules.for_others()

    def _last_approved(self, spec: JobSpec, row: Mapping[str, Any]) -> JobSpec | None:
        """The specification that was approved last for the same submitter and the same assets."""
        for standing in self._people.listed(pending=False, kind=KIND):
            raw = self._services.store.jobs.spec(standing.request.subject)
            if raw is None or not standing.is_approved or standing.request.requester != row["submitter"]:
                continue
            if hashlib.sha256(raw).hexdigest() != standing.request.digest:
                continue
            earlier = JobSpec.parse(raw)
            if earlier.assets() == spec.assets():
                return earlier
        return None

    def _write(
        self, row: Mapping[str, Any], standing: Standing, card: bytes, permission: str | None = None
    ) -> None:
        body: dict[str, object] = {
            "job": row["job"],
            "spec": row["spec"],
            "card": hashlib.sha256(card).hexdigest(),
            "stages": stages_of(standing),
            "decisions": standing.for_ledger(),
        }
        if permission is not None:
            body["permission"] = permission
        self._services.ledger.write("job.approve", body)


def stages_of(standing: Standing) -> list[dict[str, object]]:
    """The stages of an approval as the ledger takes them: which, and how many approved."""
    return [
        {
            "role": stage.label,
            "approvals": len([one for one in standing.decisions if stage.admits(one)]),
        }
        for stage in standing.request.rule.stages
    ]
