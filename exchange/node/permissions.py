"""Standing permissions: people approve "this job and its repetitions" once, for a number of jobs or a span.

A permission is bound to the digest of one specification or of a shape (``exchange.jobs.shapes``). It is
itself a request that the stages of the job's rule approve. A job that matches is approved by it without
asking anybody; whatever differs in anything but the job's id and title falls back to people. So does a job
for which this organisation's rule has changed since.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from exchange.errors import Conflict, InvalidRequest, NotFound
from exchange.jobs.shapes import shape_digest
from exchange.jobs.spec import JobSpec
from exchange.node.approvals import Approvals, Standing
from exchange.node.notices import Notices
from exchange.node.people import Person, Role
from exchange.store import KeptPermission, PermissionRepository
from ledger import canonical
from ledger.entries import new_id
from ledger.times import format_time
from policies.approvals import ApprovalRule

__all__ = ["KIND", "LONGEST", "PermissionView", "Permissions"]

KIND: Final = "permission"
LONGEST: Final = timedelta(days=366)
_MOST_TIMES: Final = 10_000
_PROPOSERS: Final = (Role.STEWARD, Role.APPROVER)


@dataclass(frozen=True)
class PermissionView:
    """A permission and where people's approval of it stands."""

    kept: KeptPermission
    standing: Standing | None

    def holds(self, now: datetime) -> bool:
        """Whether it approves one more job."""
        return self.kept.holds(now) and self.standing is not None and self.standing.is_approved


class Permissions:
    """This participant's standing permissions; arguments as for ``Approvals``."""

    def __init__(
        self,
        repository: PermissionRepository,
        people: Approvals,
        notices: Notices,
        clock: Callable[[], datetime],
    ) -> None:
        self._repository, self._people = repository, people
        self._notices, self._clock = notices, clock
        self._using = threading.Lock()

    def propose(
        self,
        spec: JobSpec,
        standing: Standing,
        person: Person,
        *,
        bound: str,
        times: int,
        until: datetime | None,
    ) -> PermissionView:
        """Ask the people who decide on a job to approve its repetitions too.

        Args:
            spec: of the job.
            standing: of the request about the job, whose rule and card are taken over.
            person: who proposes it.
            bound: ``spec`` or ``shape``.
            times: how many jobs; 0: not counted.
            until: first instant at which it no longer holds; None: a year from now, if it is counted.

        Raises:
            Forbidden: another role. InvalidRequest: neither a number nor a date, or one out of range.
        """
        person.require(*_PROPOSERS)
        now = self._clock()
        if bound not in ("spec", "shape"):
            raise InvalidRequest("bound", "spec or shape", repr(bound)[:40])
        if not 0 <= times <= _MOST_TIMES or (times == 0 and until is None):
            raise InvalidRequest(
                "times", f"1 to {_MOST_TIMES} jobs, or a date until which it holds", str(times)
            )
        if until is not None and not now < until <= now + LONGEST:
            raise InvalidRequest("until", f"a time within the next {LONGEST.days} days", format_time(until))
        request = standing.request
        kept = KeptPermission(
            permission=new_id("permission", self._clock),
            bound=bound,
            digest=spec.digest() if bound == "spec" else shape_digest(spec),
            submitter=request.requester,
            times=times,
            until=(until or now + LONGEST).replace(microsecond=0),
            job=spec.job,
            author=person.name,
            made=now.replace(microsecond=0),
        )
        self._repository.add(kept)
        terms = _terms(kept)
        job: Any = canonical.decode(request.card)
        self._people.open(
            KIND,
            kept.permission,
            _digest(kept),
            {"permission": terms, "job": job},
            request.rule,
            kept.submitter,
        )
        return self._view(kept)

    def approve(self, spec: JobSpec, submitter: str, rule: ApprovalRule) -> PermissionView | None:
        """Use the first permission that covers a job; None where people have to decide.

        Args:
            spec: the specification, known to be what was signed.
            submitter: who asks.
            rule: the one that holds for the job now; a permission under another one does not count.
        """
        now = self._clock()
        for kept in self._repository.bound_to((spec.digest(), shape_digest(spec))):
            view = self._view(kept)
            covers = kept.digest == (spec.digest() if kept.bound == "spec" else shape_digest(spec))
            if not covers or kept.submitter != submitter or not view.holds(now):
                continue
            if view.standing is None or view.standing.request.rule != rule:
                continue
            with self._using:
                is_covered = self._repository.use(kept.permission, spec.job, kept.times)
            if is_covered:
                roles = [stage.role for stage in rule.stages]
                self._notices.tell("permission.used", kept.permission, roles=roles, facts={"job": spec.job})
                return view
        return None

    def revoke(self, permission: str, person: Person, reason: str) -> None:
        """End a permission; jobs that it has approved stay approved.

        Raises:
            Forbidden: another role. NotFound: there is none of that id. Conflict: it has been revoked.
        """
        person.require(*_PROPOSERS, Role.ADMINISTRATOR)
        view = self.of(permission)
        if not self._repository.end(permission, person.name, reason):
            raise Conflict(f"permission {permission} has been revoked already")
        self._people.withdraw(KIND, permission, f"{person.name} revoked it: {reason}")
        self._notices.tell("permission.revoked", permission, people=[view.kept.author])

    def of(self, permission: str) -> PermissionView:
        """A permission by its id.

        Raises:
            NotFound: there is none.
        """
        for kept in self._repository.all():
            if kept.permission == permission:
                return self._view(kept)
        raise NotFound(f"no permission {permission}")

    def all(self) -> list[PermissionView]:
        """Every permission, the oldest first."""
        return [self._view(kept) for kept in self._repository.all()]

    def _view(self, kept: KeptPermission) -> PermissionView:
        return PermissionView(kept, self._people.standing(KIND, kept.permission, _digest(kept)))


def _terms(kept: KeptPermission) -> dict[str, str | int]:
    return {
        "author": kept.author,
        "bound": kept.bound,
        "digest": kept.digest,
        "job": kept.job,
        "permission": kept.permission,
        "submitter": kept.submitter,
        "times": kept.times,
        "until": format_time(kept.until),
    }


def _digest(kept: KeptPermission) -> str:
    """SHA-256 over everything a permission allows, which is what people approve."""
    return hashlib.sha256(canonical.encode(_terms(kept))).hexdigest()
