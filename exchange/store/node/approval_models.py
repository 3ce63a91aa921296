"""The node's tables of approvals, delegations, rules of approval and notices. Rows are only added."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from exchange.store.engine import Moment
from exchange.store.node.models import NodeBase

__all__ = [
    "ApprovalClosedRow",
    "ApprovalDecisionRow",
    "ApprovalRequestRow",
    "ApprovalRuleRow",
    "DelegationEndRow",
    "DelegationRow",
    "MeasurementRow",
    "NoticeReadRow",
    "NoticeRow",
    "PermissionEndRow",
    "PermissionRow",
    "PermissionUseRow",
    "WebhookCallRow",
]


class ApprovalRequestRow(NodeBase):
    """What people of this organisation are asked to decide, and by which rule."""

    __tablename__ = "node_approval_requests"
    __table_args__ = (UniqueConstraint("kind", "subject", "digest", name="node_approval_requests_once"),)

    request: Mapped[str] = mapped_column(String(80), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    subject: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str] = mapped_column(String(64))
    card: Mapped[bytes] = mapped_column(LargeBinary)
    rule: Mapped[dict[str, Any]] = mapped_column(JSON)
    requester: Mapped[str] = mapped_column(String(300))
    opened: Mapped[datetime] = mapped_column(Moment)
    expires: Mapped[datetime] = mapped_column(Moment)
    seal: Mapped[bytes] = mapped_column(LargeBinary)


class ApprovalDecisionRow(NodeBase):
    """What one person decided, sealed so that nobody adds or alters one in the database unseen."""

    __tablename__ = "node_approval_decisions"
    __table_args__ = (UniqueConstraint("request", "approver", name="node_approval_decisions_once"),)

    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    request: Mapped[str] = mapped_column(String(80))
    approver: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(40))
    department: Mapped[str] = mapped_column(String(200))
    behalf: Mapped[str] = mapped_column(String(100))
    decision: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))
    decided: Mapped[datetime] = mapped_column(Moment)
    seal: Mapped[bytes] = mapped_column(LargeBinary)


class ApprovalClosedRow(NodeBase):
    """How a request ended; the first end stays."""

    __tablename__ = "node_approval_closed"

    request: Mapped[str] = mapped_column(String(80), primary_key=True)
    outcome: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(Text)
    closed: Mapped[datetime] = mapped_column(Moment)
    seal: Mapped[bytes] = mapped_column(LargeBinary)


class ApprovalRuleRow(NodeBase):
    """A version of the rule for one scope; the newest one holds. An empty rule means the built-in one."""

    __tablename__ = "node_approval_rules"
    __table_args__ = (UniqueConstraint("scope", "version", name="node_approval_rules_once"),)

    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    scope: Mapped[str] = mapped_column(String(220))
    version: Mapped[int] = mapped_column(Integer)
    rule: Mapped[dict[str, Any]] = mapped_column(JSON)
    author: Mapped[str] = mapped_column(String(100))
    reason: Mapped[str] = mapped_column(Text)
    made: Mapped[datetime] = mapped_column(Moment)
    seal: Mapped[bytes] = mapped_column(LargeBinary)


class DelegationRow(NodeBase):
    """A person's right to decide, given to another for a span."""

    __tablename__ = "node_delegations"

    delegation: Mapped[str] = mapped_column(String(80), primary_key=True)
    grantor: Mapped[str] = mapped_column(String(100))
    grantee: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(40))
    department: Mapped[str] = mapped_column(String(200))
    begins: Mapped[datetime] = mapped_column(Moment)
    ends: Mapped[datetime] = mapped_column(Moment)
    made: Mapped[datetime] = mapped_column(Moment)
    seal: Mapped[bytes] = mapped_column(LargeBinary)


class DelegationEndRow(NodeBase):
    """A delegation that was taken back before its end."""

    __tablename__ = "node_delegation_ends"

    delegation: Mapped[str] = mapped_column(String(80), primary_key=True)
    ended: Mapped[datetime] = mapped_column(Moment)


class NoticeRow(NodeBase):
    """A notice to one person or to everybody with a role."""

    __tablename__ = "node_notices"
    __table_args__ = (UniqueConstraint("notice", name="node_notices_once"),)

    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    notice: Mapped[str] = mapped_column(String(80))
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(200))
    person: Mapped[str] = mapped_column(String(100), index=True)
    role: Mapped[str] = mapped_column(String(40), index=True)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    made: Mapped[datetime] = mapped_column(Moment)


class NoticeReadRow(NodeBase):
    """A person has read a notice."""

    __tablename__ = "node_notices_read"

    notice: Mapped[str] = mapped_column(String(80), primary_key=True)
    person: Mapped[str] = mapped_column(String(100), primary_key=True)
    read: Mapped[datetime] = mapped_column(Moment)


class PermissionRow(NodeBase):
    """A standing permission for repetitions of a job; people approve it as a request of its own."""

    __tablename__ = "node_permissions"

    permission: Mapped[str] = mapped_column(String(80), primary_key=True)
    bound: Mapped[str] = mapped_column(String(10))
    digest: Mapped[str] = mapped_column(String(64), index=True)
    submitter: Mapped[str] = mapped_column(String(300))
    times: Mapped[int] = mapped_column(Integer)
    until: Mapped[datetime] = mapped_column(Moment)
    job: Mapped[str] = mapped_column(String(80))
    author: Mapped[str] = mapped_column(String(100))
    made: Mapped[datetime] = mapped_column(Moment)
    seal: Mapped[bytes] = mapped_column(LargeBinary)


class PermissionUseRow(NodeBase):
    """A job that a permission approved."""

    __tablename__ = "node_permission_uses"

    permission: Mapped[str] = mapped_column(String(80), primary_key=True)
    job: Mapped[str] = mapped_column(String(80), primary_key=True)
    used: Mapped[datetime] = mapped_column(Moment)


class PermissionEndRow(NodeBase):
    """A permission that was revoked, by whom and why."""

    __tablename__ = "node_permission_ends"

    permission: Mapped[str] = mapped_column(String(80), primary_key=True)
    author: Mapped[str] = mapped_column(String(100))
    reason: Mapped[str] = mapped_column(Text)
    ended: Mapped[datetime] = mapped_column(Moment)


class MeasurementRow(NodeBase):
    """What a step that ran here was expected to take, and what it took."""

    __tablename__ = "node_step_costs"

    job: Mapped[str] = mapped_column(String(80), primary_key=True)
    step: Mapped[str] = mapped_column(String(80), primary_key=True)
    component: Mapped[str] = mapped_column(String(100), index=True)
    role: Mapped[str] = mapped_column(String(40))
    work: Mapped[int] = mapped_column(BigInteger)
    expected: Mapped[dict[str, Any]] = mapped_column(JSON)
    actual: Mapped[dict[str, Any]] = mapped_column(JSON)
    measured: Mapped[datetime] = mapped_column(Moment)


class WebhookCallRow(NodeBase):
    """A call of the webhook that is still owed; one that was made or given up has no row."""

    __tablename__ = "node_webhook_calls"

    notice: Mapped[str] = mapped_column(String(80), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(200))
    attempts: Mapped[int] = mapped_column(Integer)
    due: Mapped[datetime] = mapped_column(Moment)
