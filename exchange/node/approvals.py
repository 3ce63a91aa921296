"""Where people must agree: requests of any kind, decided by persons under a rule, over one exact digest.

``open`` asks, ``decide`` takes one person's decision, ``standing`` says how it is. What is approved is the
digest of the subject together with the card that this node computed and the rule that held; a decision is
bound to all of it (``KeptRequest.binding``), so what was approved cannot be exchanged for something else. An
approval counts only as long as the sealed decisions behind it are there and satisfy the rule.
"""

from __future__ import annotations

import logging
import threading
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from exchange.errors import Conflict, Forbidden, NotFound, SealBroken
from exchange.node.approval_rules import ApprovalRules
from exchange.node.notices import Notices
from exchange.node.people import Person
from exchange.store import ApprovalRepository, KeptRequest
from ledger import canonical
from ledger.entries import new_id
from policies.approvals import ApprovalRule, Decision, Outcome, Verdict, assess

__all__ = ["LIFETIME", "Approvals", "RequestState", "Standing"]

_log = logging.getLogger(__name__)

LIFETIME = timedelta(days=14)
"""How long a request waits for people unless it is told otherwise."""

_LONGEST_REASON = 300
"""Of a decision on the ledger, in characters; the node keeps the whole."""


class RequestState(StrEnum):
    """Where a request stands."""

    PENDING = "PENDING_APPROVAL"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    WITHDRAWN = "WITHDRAWN"
    BROKEN = "BROKEN"
    """Its decisions, or its end, are not those that this node sealed."""


_STATES = {
    Outcome.PENDING: RequestState.PENDING,
    Outcome.APPROVED: RequestState.APPROVED,
    Outcome.REJECTED: RequestState.REJECTED,
}


@dataclass(frozen=True)
class Standing:
    """A request, its decisions, where it stands and, while pending, what each stage still lacks."""

    request: KeptRequest
    state: RequestState
    decisions: tuple[Decision, ...]
    missing: Mapping[str, int]
    reason: str = ""

    @property
    def is_approved(self) -> bool:
        """Every stage is complete, over exactly this."""
        return self.state is RequestState.APPROVED

    def for_ledger(self) -> list[dict[str, str]]:
        """The decisions as an entry takes them: long reasons cut, so that all of them fit."""
        cut = [replace(one, reason=one.reason[:_LONGEST_REASON]) for one in self.decisions]
        return [one.as_json() for one in cut]


class Approvals:
    """The node's requests for approval; safe to use from several threads.

    Args:
        requests: where requests and decisions are kept.
        rules: this organisation's own rules and delegations.
        notices: tells people.
        clock: aware time in UTC.
    """

    def __init__(
        self,
        requests: ApprovalRepository,
        rules: ApprovalRules,
        notices: Notices,
        clock: Callable[[], datetime],
    ) -> None:
        self.rules = rules
        self._requests, self._notices, self._clock = requests, notices, clock
        self._deciding, self._counting = threading.Lock(), threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._changes = 0
        self._watched: dict[str, Callable[[KeptRequest], str | None]] = {}
        self._guards: dict[str, Callable[[KeptRequest], None]] = {}

    @property
    def changes(self) -> int:
        """Grows whenever a request is opened, decided or ended in this process."""
        return self._changes

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each change; register before requests come."""
        self._listeners.append(listener)

    def open(
        self,
        kind: str,
        subject: str,
        digest: str,
        card: Mapping[str, object],
        rule: ApprovalRule,
        requester: str,
        expires: datetime | None = None,
    ) -> KeptRequest:
        """Ask people for an approval and tell them; asking again for the same changes nothing.

        Args:
            kind: of the subject, such as ``job``.
            subject: its id.
            digest: SHA-256 of exactly what is to be approved, lower-case hex.
            card: what this node found out about it, for those who decide; JSON without floats.
            rule: who must approve.
            requester: who asks: a DID, or a person of this node, who then cannot approve.
            expires: when the request ends by itself; ``LIFETIME`` from now where it is None.
        """
        now = self._clock()
        made = KeptRequest(
            request=new_id("approval", self._clock),
            kind=kind,
            subject=subject,
            digest=digest,
            card=canonical.encode(dict(card)),
            rule=rule,
            requester=requester,
            opened=now,
            expires=expires or now + LIFETIME,
        )
        kept, is_new = self._requests.open(made)
        if is_new:
            people = {name for stage in rule.stages for name in stage.approvers or ()}
            roles = {stage.role for stage in rule.stages if stage.approvers is None}
            self._tell("approval.opened", kept, people=people, roles=roles)
        return kept

    def decide(
        self,
        request: str,
        person: Person,
        verdict: Verdict,
        reason: str,
        *,
        binding: str | None = None,
        behalf: str = "",
    ) -> Standing:
        """Take one person's decision.

        Args:
            request: which request.
            person: who decides.
            verdict: which way.
            reason: why; required.
            binding: of the request as the person saw it (``KeptRequest.binding``); another is refused.
            behalf: the person whose delegated right is used; empty: the own one.

        Raises:
            NotFound: no such request. Conflict: it has ended, is another than the person saw, or the person
            has decided already. Forbidden: this person may not decide it. InvalidDecision: no reason.
        """
        with self._deciding:
            standing = self.of(request)
            kept = standing.request
            if standing.state is not RequestState.PENDING:
                raise Conflict(f"request {request} is {standing.state}")
            if binding is not None and binding != kept.binding:
                raise Conflict(
                    f"request {request} is another than the one that was shown: {kept.binding[:16]}…"
                )
            role, department = self._right(standing, person, behalf)
            if verdict is Verdict.APPROVE:
                self._guards.get(kept.kind, _never)(kept)
            why = unicodedata.normalize("NFC", reason)
            said = {"approver": person.name, "role": role, "decision": verdict.value, "reason": why}
            decision = replace(
                Decision.parse(said), digest=kept.binding, department=department, behalf=behalf
            )
            self._requests.decide(request, decision)
            after = self.of(request)
            if after.state in (RequestState.APPROVED, RequestState.REJECTED):
                self._requests.close(request, after.state.value, why)
        self._tell_requester(after)
        return after

    def standing(self, kind: str, subject: str, digest: str) -> Standing | None:
        """Where the approval of exactly this stands; None where nobody was asked.

        Raises:
            SealBroken: the request was altered in the database; a decision that was leaves it ``BROKEN``.
        """
        kept = self._requests.about(kind, subject, digest)
        return None if kept is None else self._standing(kept)

    def of(self, request: str) -> Standing:
        """Where a request stands; errors as in ``standing``.

        Raises:
            NotFound: there is none of that id.
        """
        kept = self._requests.find(request)
        if kept is None:
            raise NotFound(f"no request for approval {request}")
        return self._standing(kept)

    def listed(self, *, pending: bool, kind: str = "", limit: int = 200) -> list[Standing]:
        """The pending requests, the oldest first; or the latest of all, the newest first."""
        if not pending:
            return [self._standing(kept) for kept in self._requests.latest(limit, kind)]
        found = [self._standing(kept) for kept in self._requests.open_ones() if kind in ("", kept.kind)]
        return [one for one in found if one.state is RequestState.PENDING]

    def withdraw(self, kind: str, subject: str, reason: str) -> None:
        """End the open requests about a subject that is itself at an end."""
        for kept in self._requests.of_subject(kind, subject):
            if self._standing(kept).state is RequestState.PENDING:
                self._end(kept, RequestState.WITHDRAWN, reason)

    def expire(self) -> list[KeptRequest]:
        """End the requests whose time is over, tell those who asked, and return them."""
        now = self._clock()
        over = [
            kept
            for kept in self._requests.open_ones(due=now)
            if self._standing(kept).state is RequestState.EXPIRED
        ]
        for kept in over:
            self._end(kept, RequestState.EXPIRED, "nobody decided in time")
        return over

    def watch(self, kind: str, is_over: Callable[[KeptRequest], str | None]) -> None:
        """Let ``tidy`` ask why nothing is left to decide about a request of ``kind``; None: there is."""
        self._watched[kind] = is_over

    def guard(self, kind: str, check: Callable[[KeptRequest], None]) -> None:
        """Have ``check`` called before a request of ``kind`` is approved; it raises where it may not be."""
        self._guards[kind] = check

    def tidy(self) -> None:
        """End the requests whose time is over or whose subject has ended otherwise."""
        self.expire()
        for standing in self.listed(pending=True):
            kept = standing.request
            reason = self._watched.get(kept.kind, _never)(kept)
            if reason is not None:
                self._end(kept, RequestState.WITHDRAWN, reason)

    def _right(self, standing: Standing, person: Person, behalf: str) -> tuple[str, str]:
        """The role and department in which a person decides, preferring a stage that is not complete.

        Raises:
            Forbidden: none.
        """
        kept = standing.request
        if kept.requester in (person.name, behalf or person.name):
            raise Forbidden("who asks does not decide, neither in person nor through a delegate")
        holder = behalf or person.name
        fitting = []
        for stage in kept.rule.stages:
            if stage.role not in {str(role) for role in person.roles}:
                continue
            department = self._department(person, behalf, stage.role)
            if department is not None and stage.admits_right(holder, department):
                fitting.append((stage.label not in standing.missing, stage.role, department))
        if not fitting:
            wanted = ", ".join(stage.label for stage in kept.rule.stages)
            raise Forbidden(f"expected a person who may decide as {wanted}; {holder} may not")
        _, role, department = min(fitting, key=lambda one: one[0])
        return role, department

    def _department(self, person: Person, behalf: str, role: str) -> str | None:
        """The department of the right that a person uses; None where the person has no such right."""
        if not behalf:
            return person.department
        lent = self.rules.lent(behalf, person.name, role)
        return None if lent is None else lent.department

    def _standing(self, kept: KeptRequest) -> Standing:
        try:
            return self._sound_standing(kept)
        except SealBroken as exc:
            _log.critical("request %s: %s", kept.request, exc)
            return Standing(kept, RequestState.BROKEN, (), {}, str(exc))

    def _sound_standing(self, kept: KeptRequest) -> Standing:
        closed = self._requests.closed(kept.request)  # first: a request is closed after its last decision
        decisions = self._requests.decisions(kept.request)
        found = assess(kept.rule, decisions, requester=kept.requester, digest=kept.binding)
        state, reason = _STATES[found.outcome], ""
        if closed is not None and closed.outcome in (RequestState.EXPIRED, RequestState.WITHDRAWN):
            state, reason = RequestState(closed.outcome), closed.reason
        elif state is RequestState.PENDING and closed is not None:
            state, reason = RequestState.WITHDRAWN, "the decisions behind its end are gone"
        elif state is RequestState.PENDING and kept.expires <= self._clock():
            state, reason = RequestState.EXPIRED, "nobody decided in time"
        elif state is RequestState.REJECTED:
            reason = next(one.reason for one in decisions if one.decision is Verdict.REJECT)
        missing = found.missing if state is RequestState.PENDING else {}
        return Standing(kept, state, decisions, missing, reason)

    def _end(self, kept: KeptRequest, state: RequestState, reason: str) -> None:
        if self._requests.close(kept.request, state.value, reason):
            self._tell_requester(self._standing(kept))

    def _tell_requester(self, standing: Standing) -> None:
        kind = {
            RequestState.PENDING: "approval.decided",
            RequestState.APPROVED: "approval.approved",
            RequestState.REJECTED: "approval.rejected",
        }.get(standing.state, "approval.ended")
        kept = standing.request
        deciders = {decision.approver for decision in standing.decisions}
        people = deciders if kept.requester.startswith("did:") else {*deciders, kept.requester}
        self._tell(kind, kept, people=people)

    def _tell(
        self, kind: str, kept: KeptRequest, *, people: Iterable[str] = (), roles: Iterable[str] = ()
    ) -> None:
        facts = {"kind": kept.kind, "subject": kept.subject, "requester": kept.requester}
        self._notices.tell(kind, kept.request, people=people, roles=roles, facts=facts)
        with self._counting:
            self._changes += 1
        for listener in self._listeners:
            listener()


def _never(_: KeptRequest) -> None:
    return None
