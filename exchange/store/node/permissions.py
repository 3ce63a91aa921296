"""Standing permissions for repetitions of a job, each use of one, and their ends. Nothing is taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, func, insert, select

from exchange.store.engine import keep, transaction
from exchange.store.node.approval_models import PermissionEndRow, PermissionRow, PermissionUseRow
from exchange.store.node.models import NodeBase
from exchange.store.node.row_seals import RowSeals

__all__ = ["KeptPermission", "PermissionRepository"]

_PERMISSIONS = NodeBase.metadata.tables[PermissionRow.__tablename__]
_USES = NodeBase.metadata.tables[PermissionUseRow.__tablename__]
_ENDS = NodeBase.metadata.tables[PermissionEndRow.__tablename__]


@dataclass(frozen=True, kw_only=True)
class KeptPermission:
    """What may be approved without asking people again.

    Attributes:
        permission: its id.
        bound: ``spec`` for one exact specification, ``shape`` for all of the same shape.
        digest: of that specification or shape.
        submitter: whose jobs.
        times: how many; 0: not counted.
        until: first instant at which it no longer holds.
        job: the job it was proposed for.
        author: who proposed it.
        made: when.
        uses: how many jobs it has been used for.
        ended: when it was revoked; None: it was not.
    """

    permission: str
    bound: str
    digest: str
    submitter: str
    times: int
    until: datetime
    job: str
    author: str
    made: datetime
    uses: int = 0
    ended: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Whether it may be used once more, once people have approved it."""
        is_left = self.times == 0 or self.uses < self.times
        return is_left and now < self.until and self.ended is None


class PermissionRepository:
    """Permissions by id; arguments as for ``ApprovalRepository``."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], seals: RowSeals) -> None:
        self._engine, self._clock, self._seals = engine, clock, seals

    def add(self, kept: KeptPermission) -> None:
        """Keep a permission that was proposed."""
        values = {
            "permission": kept.permission,
            "bound": kept.bound,
            "digest": kept.digest,
            "submitter": kept.submitter,
            "times": kept.times,
            "until": kept.until,
            "job": kept.job,
            "author": kept.author,
            "made": kept.made,
        }
        with transaction(self._engine) as connection:
            connection.execute(insert(_PERMISSIONS).values(**self._seals.sealed(_PERMISSIONS, values)))

    def all(self) -> list[KeptPermission]:
        """Every permission, in the order of their making.

        Raises:
            SealBroken: one was made up or altered in the database.
        """
        return self._select(None)

    def bound_to(self, digests: tuple[str, ...]) -> list[KeptPermission]:
        """Those bound to one of these digests, in the order of their making; errors as in ``all``."""
        return self._select(digests)

    def use(self, permission: str, job: str, times: int) -> bool:
        """Note that a permission approves a job; tells whether it may: it counts once for each job."""
        counted = select(func.count()).select_from(_USES).where(_USES.c.permission == permission)
        mine = counted.where(_USES.c.job == job)
        values = {"permission": permission, "job": job, "used": self._clock()}
        with transaction(self._engine) as connection:
            if connection.scalar(mine):
                return True
            if times and (connection.scalar(counted) or 0) >= times:
                return False
            return keep(connection, _USES, values, replace=False)

    def end(self, permission: str, author: str, reason: str) -> bool:
        """Revoke a permission; tells whether it was the first time."""
        values = {"permission": permission, "author": author, "reason": reason, "ended": self._clock()}
        with transaction(self._engine) as connection:
            return keep(connection, _ENDS, values, replace=False)

    def _select(self, digests: tuple[str, ...] | None) -> list[KeptPermission]:
        uses = (
            select(func.count())
            .select_from(_USES)
            .where(_USES.c.permission == _PERMISSIONS.c.permission)
            .scalar_subquery()
        )
        wanted = (
            select(_PERMISSIONS, _ENDS.c.ended, uses.label("uses"))
            .join(_ENDS, _ENDS.c.permission == _PERMISSIONS.c.permission, isouter=True)
            .order_by(_PERMISSIONS.c.permission)
        )
        wanted = wanted if digests is None else wanted.where(_PERMISSIONS.c.digest.in_(digests))
        with transaction(self._engine) as connection:
            rows = [self._seals.check(_PERMISSIONS, row) for row in connection.execute(wanted).all()]
        return [_kept(row) for row in rows]


def _kept(row: Row[Any]) -> KeptPermission:
    return KeptPermission(
        permission=row.permission,
        bound=row.bound,
        digest=row.digest,
        submitter=row.submitter,
        times=row.times,
        until=row.until,
        job=row.job,
        author=row.author,
        made=row.made,
        uses=row.uses,
        ended=row.ended,
    )
