"""Which rule of approval holds for what, in versions, and who may decide in whose place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, func, insert, select

from exchange.store.engine import keep, transaction
from exchange.store.node.approval_models import ApprovalRuleRow, DelegationEndRow, DelegationRow
from exchange.store.node.models import NodeBase
from exchange.store.node.row_seals import RowSeals
from policies.approvals import ApprovalRule
from policies.delegation import Delegation

__all__ = ["ApprovalRuleRepository", "KeptDelegation", "RuleVersion"]

_RULES = NodeBase.metadata.tables[ApprovalRuleRow.__tablename__]
_DELEGATIONS = NodeBase.metadata.tables[DelegationRow.__tablename__]
_ENDS = NodeBase.metadata.tables[DelegationEndRow.__tablename__]


@dataclass(frozen=True)
class RuleVersion:
    """A version of a scope's rule; ``rule`` is None where the built-in one holds again."""

    scope: str
    version: int
    rule: ApprovalRule | None
    author: str
    reason: str
    made: datetime


@dataclass(frozen=True)
class KeptDelegation:
    """A delegation with its id, the department of its grantor and, where it was taken back, since when."""

    delegation: str
    terms: Delegation
    department: str
    ended: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Whether it has begun and not ended."""
        return self.terms.begins <= now < self.terms.ends and (self.ended is None or now < self.ended)


class ApprovalRuleRepository:
    """Rules by scope and delegations by id; arguments as for ``ApprovalRepository``."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], seals: RowSeals) -> None:
        self._engine, self._clock, self._seals = engine, clock, seals

    def set(self, scope: str, rule: ApprovalRule | None, author: str, reason: str) -> int:
        """Keep the next version of a scope's rule and return its number."""
        newest = select(func.max(_RULES.c.version)).where(_RULES.c.scope == scope)
        with transaction(self._engine) as connection:
            version = (connection.scalar(newest) or 0) + 1
            values = {
                "scope": scope,
                "version": version,
                "rule": {} if rule is None else rule.as_json(),
                "author": author,
                "reason": reason,
                "made": self._clock(),
            }
            connection.execute(insert(_RULES).values(**self._seals.sealed(_RULES, values)))
        return version

    def history(self, scope: str = "") -> list[RuleVersion]:
        """Every version, of one scope where it is named, the oldest first."""
        wanted = select(_RULES).order_by(_RULES.c.position)
        wanted = wanted.where(_RULES.c.scope == scope) if scope else wanted
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted).all()
        return [self._version(row) for row in rows]

    def rule(self, scope: str) -> ApprovalRule | None:
        """The rule that holds for a scope; None where none was set."""
        wanted = select(_RULES).where(_RULES.c.scope == scope).order_by(_RULES.c.version.desc()).limit(1)
        with transaction(self._engine) as connection:
            row = connection.execute(wanted).one_or_none()
        return None if row is None else self._version(row).rule

    def delegate(self, kept: KeptDelegation) -> None:
        """Keep a delegation."""
        values = {
            "delegation": kept.delegation,
            "grantor": kept.terms.grantor,
            "grantee": kept.terms.grantee,
            "role": kept.terms.role,
            "department": kept.department,
            "begins": kept.terms.begins,
            "ends": kept.terms.ends,
            "made": self._clock(),
        }
        with transaction(self._engine) as connection:
            connection.execute(insert(_DELEGATIONS).values(**self._seals.sealed(_DELEGATIONS, values)))

    def end_delegation(self, delegation: str) -> bool:
        """End a delegation now; tells whether it was the first time."""
        values = {"delegation": delegation, "ended": self._clock()}
        with transaction(self._engine) as connection:
            return keep(connection, _ENDS, values, replace=False)

    def delegations(self) -> list[KeptDelegation]:
        """All delegations, in the order of their ids, which is that of their making."""
        wanted = (
            select(_DELEGATIONS, _ENDS.c.ended)
            .join(_ENDS, _ENDS.c.delegation == _DELEGATIONS.c.delegation, isouter=True)
            .order_by(_DELEGATIONS.c.delegation)
        )
        with transaction(self._engine) as connection:
            rows = [self._seals.check(_DELEGATIONS, row) for row in connection.execute(wanted).all()]
        return [
            KeptDelegation(
                row.delegation,
                Delegation(row.grantor, row.grantee, row.role, row.begins, row.ends),
                row.department,
                row.ended,
            )
            for row in rows
        ]

    def _version(self, row: Row[Any]) -> RuleVersion:
        row = self._seals.check(_RULES, row)
        rule = ApprovalRule.parse(row.rule) if row.rule else None
        return RuleVersion(row.scope, row.version, rule, row.author, row.reason, row.made)
