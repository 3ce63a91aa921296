"""This organisation's own rules of approval, set by administrators in versions, and its people's delegations.

A rule holds for a scope: ``asset:ASSET`` of its own, ``grade:GRADE``, or ``others``
for jobs on others' data that name this organisation. Without an own rule the built-in one holds. A request
that is open keeps the rule under which it was opened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Final

from exchange.errors import Conflict, Forbidden, InvalidRequest, NotFound
from exchange.node.notices import Notices
from exchange.node.people import Person, Role
from exchange.store import ApprovalRuleRepository, KeptDelegation, RuleVersion
from ledger.entries import new_id
from policies.approvals import RULES, ApprovalRule, Sensitivity, Stage
from policies.delegation import Delegation, may_act_for

__all__ = ["ApprovalRules"]

_SCOPE: Final = re.compile(rf"asset:[a-z0-9-]+/[a-z0-9-]+|grade:({'|'.join(Sensitivity)})|others")
_ONE_APPROVER: Final = ApprovalRule((Stage("approver"),))


class ApprovalRules:
    """Which rule holds for what, and who may decide in whose place.

    Args:
        repository: where both are kept.
        notices: tells people.
        roles_of: the roles that a person of this node has at present, by name.
        clock: aware time in UTC.
    """

    def __init__(
        self,
        repository: ApprovalRuleRepository,
        notices: Notices,
        roles_of: Callable[[str], Collection[str]],
        clock: Callable[[], datetime],
    ) -> None:
        self._repository, self._notices = repository, notices
        self._roles_of, self._clock = roles_of, clock

    def for_asset(self, asset: str, grades: Iterable[Sensitivity]) -> ApprovalRule:
        """The rule for an asset: its own, else that of its highest grade; the strictest without a grade."""
        order = list(Sensitivity)
        highest = max(grades, key=order.index, default=Sensitivity.SECRET)
        own = self._repository.rule(f"asset:{asset}") or self._repository.rule(f"grade:{highest.value}")
        return own or RULES[highest]

    def for_others(self) -> ApprovalRule:
        """The rule for jobs on others' data that name this organisation as an approver."""
        return self._repository.rule("others") or _ONE_APPROVER

    def set(self, scope: str, rule: ApprovalRule | None, person: Person, reason: str) -> RuleVersion:
        """Set the rule of a scope, as an administrator; None lets the built-in one hold again.

        Raises:
            Forbidden: another role. InvalidRequest: no such scope, or a stage that nobody at this node could
            fill.
        """
        person.require(Role.ADMINISTRATOR)
        if _SCOPE.fullmatch(scope) is None:
            expected = "asset:OWNER/NAME, grade:GRADE or others"
            raise InvalidRequest("scope", expected, repr(scope)[:80])
        for stage in () if rule is None else rule.stages:
            if stage.role not in set(Role):
                raise InvalidRequest("role", f"one of {', '.join(Role)}", repr(stage.role)[:40])
            for name in sorted(stage.approvers or ()):
                if stage.role not in self._roles_of(name):
                    raise InvalidRequest("approvers", f"persons with the role {stage.role}", name)
        self._repository.set(scope, rule, person.name, reason)
        return self._repository.history(scope)[-1]

    def history(self, scope: str = "") -> list[RuleVersion]:
        """Every version that was set, the oldest first."""
        return self._repository.history(scope)

    def delegate(self, person: Person, grantee: str, role: str, begins: datetime, ends: datetime) -> str:
        """Give an own right to another person with the same role for a span; returns the delegation's id.

        Raises:
            Forbidden: one of the two lacks the role. InvalidDecision: no other person, or no such span.
        """
        terms = Delegation(person.name, grantee, role, begins, ends)
        if role not in {str(one) for one in person.roles}:
            raise Forbidden(f"expected two persons with the role {role}, {person.name} has it not")
        if role not in self._roles_of(grantee):
            raise Forbidden(f"expected two persons with the role {role}, {grantee} has it not")
        if ends <= self._clock():
            raise InvalidRequest("ends", "a later time than now", "a time that is over")
        made = new_id("delegation", self._clock)
        self._repository.delegate(KeptDelegation(made, terms, person.department))
        facts = {"grantor": person.name, "role": role}
        self._notices.tell("delegation.made", made, people=[grantee], facts=facts)
        return made

    def end_delegation(self, delegation: str, person: Person) -> None:
        """Take a delegation back, as the one who gave it or as an administrator.

        Raises:
            NotFound: there is none of that id. Forbidden: another person. Conflict: it has ended.
        """
        kept = next((one for one in self._repository.delegations() if one.delegation == delegation), None)
        if kept is None:
            raise NotFound(f"no delegation {delegation}")
        if kept.terms.grantor != person.name:
            person.require(Role.ADMINISTRATOR)
        if not self._repository.end_delegation(delegation):
            raise Conflict(f"delegation {delegation} has ended already")
        self._notices.tell("delegation.ended", delegation, people=[kept.terms.grantor, kept.terms.grantee])

    def delegations(self) -> list[KeptDelegation]:
        """Every delegation, the oldest first."""
        return self._repository.delegations()

    def lent(self, grantor: str, grantee: str, role: str) -> KeptDelegation | None:
        """The delegation by which ``grantee`` may use the right of ``grantor`` to ``role`` now."""
        now = self._clock()
        if role not in self._roles_of(grantor):
            return None
        held = [one for one in self.delegations() if one.holds(now)]
        usable = [one for one in held if may_act_for([one.terms], grantee, grantor, role, now)]
        return usable[-1] if usable else None
