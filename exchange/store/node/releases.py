"""What this owner lets go: every output of its steps, whose people stand behind it, and how far it is.

A cohort is sealed (XChaCha20-Poly1305) with a key the node hands in and bound to its job and step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from nacl.exceptions import CryptoError
from nacl.secret import Aead
from sqlalchemy import Boolean, Engine, Integer, LargeBinary, Row, String, Text, select, update
from sqlalchemy.orm import Mapped, mapped_column

from exchange.errors import Conflict, SealBroken
from exchange.store.engine import Moment, keep, transaction
from exchange.store.node.models import NodeBase
from ledger import canonical

__all__ = ["KeptRelease", "ReleaseRepository", "ReleaseState"]


class OutputRulesRow(NodeBase):
    """The output checks that this owner sets for an asset."""

    __tablename__ = "node_output_rules"

    asset: Mapped[str] = mapped_column(String(200), primary_key=True)
    rules: Mapped[str] = mapped_column(Text)
    set_by: Mapped[str] = mapped_column(String(200))
    stored: Mapped[datetime] = mapped_column(Moment)


class ReleaseRow(NodeBase):
    """An output of a step at this owner's node."""

    __tablename__ = "node_releases"

    job: Mapped[str] = mapped_column(String(80), primary_key=True)
    step: Mapped[str] = mapped_column(String(80), primary_key=True)
    asset: Mapped[str] = mapped_column(String(200), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    shape: Mapped[str] = mapped_column(String(64))
    is_exact: Mapped[bool] = mapped_column(Boolean)
    minimum: Mapped[int] = mapped_column(Integer)
    cohort: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(String(10))
    stored: Mapped[datetime] = mapped_column(Moment)


_RELEASES = NodeBase.metadata.tables[ReleaseRow.__tablename__]
_RULES = NodeBase.metadata.tables[OutputRulesRow.__tablename__]


class ReleaseState(StrEnum):
    """How far an output is. ``ADMITTED`` may leave, or has left, and counts as known to its recipient."""

    FINISHED = "finished"
    HELD = "held"
    ADMITTED = "admitted"
    RELEASED = "released"
    WITHHELD = "withheld"


@dataclass(frozen=True)
class KeptRelease:
    """An output as it is kept; the output itself is in the step's checkpoint.

    Attributes:
        job: of which job.
        step: of which of its steps.
        asset: this owner's asset that went into it.
        digest: SHA-256 of the output, lower-case hex: what a person who reviews it decides on.
        shape: SHA-256 of component, inputs and parameters: what was asked.
        is_exact: its figures carry no noise.
        minimum: smallest cohort that was agreed.
        cohort: the people behind it, encoded.
        state: how far it is.
        stored: when the step was finished.
    """

    job: str
    step: str
    asset: str
    digest: str
    shape: str
    is_exact: bool
    minimum: int
    cohort: bytes = field(repr=False)
    state: ReleaseState
    stored: datetime


class ReleaseRepository:
    """Outputs by job and step, and the output checks of assets.

    Args:
        engine: the node's database.
        clock: aware time in UTC.
        cohort_key: 32 bytes that seal cohorts; None: no output is kept, so none is released.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime], cohort_key: bytes | None) -> None:
        self._engine, self._clock = engine, clock
        self._box = None if cohort_key is None else Aead(cohort_key)

    def finish(self, made: KeptRelease) -> None:
        """Keep an output with its cohort; the first one of a step stays.

        Raises:
            Conflict: this store was opened without a key.
        """
        if self._box is None:
            raise Conflict("expected a key to seal cohorts with, got none")
        sealed = bytes(self._box.encrypt(made.cohort, _context(made.job, made.step)))
        values = {name: getattr(made, name) for name in made.__dataclass_fields__}
        values |= {"cohort": sealed, "state": made.state.value}
        with transaction(self._engine) as connection:
            keep(connection, _RELEASES, values, replace=False)

    def find(self, job: str, step: str) -> KeptRelease | None:
        """An output, or None.

        Raises:
            SealBroken: its cohort was altered in the database.
        """
        wanted = select(_RELEASES).where(_RELEASES.c.job == job, _RELEASES.c.step == step)
        with transaction(self._engine) as connection:
            row = connection.execute(wanted).one_or_none()
        return None if row is None else self._read(row)

    def of_asset(self, asset: str) -> Iterator[KeptRelease]:
        """Yield the outputs that an asset went into, oldest first; errors as in ``find``.

        One at a time: together their cohorts may be larger than the memory.
        """
        wanted = select(_RELEASES.c.job, _RELEASES.c.step).where(_RELEASES.c.asset == asset)
        wanted = wanted.order_by(_RELEASES.c.stored, _RELEASES.c.job, _RELEASES.c.step)
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted).all()
        for row in rows:
            kept = self.find(row.job, row.step)
            if kept is not None:
                yield kept

    def known(self) -> set[tuple[str, str]]:
        """Job and step of every output kept here."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(_RELEASES.c.job, _RELEASES.c.step)).all()
        return {(row.job, row.step) for row in rows}

    def owed(self, job: str) -> bool:
        """Whether an output of this job is neither released nor withheld."""
        over = (ReleaseState.RELEASED.value, ReleaseState.WITHHELD.value)
        wanted = select(_RELEASES.c.step).where(_RELEASES.c.job == job, _RELEASES.c.state.not_in(over))
        with transaction(self._engine) as connection:
            return connection.execute(wanted).first() is not None

    def move(self, job: str, step: str, state: ReleaseState) -> None:
        """Write down how far an output is."""
        moved = update(_RELEASES).where(_RELEASES.c.job == job, _RELEASES.c.step == step)
        with transaction(self._engine) as connection:
            connection.execute(moved.values(state=state.value))

    def latest(self, limit: int) -> list[KeptRelease]:
        """The newest outputs first; errors as in ``find``."""
        wanted = select(_RELEASES).order_by(_RELEASES.c.stored.desc(), _RELEASES.c.job, _RELEASES.c.step)
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.limit(limit)).all()
        return [self._read(row) for row in rows]

    def set_rules(self, asset: str, rules: dict[str, object], person: str) -> None:
        """Set the output checks of an asset."""
        values = {"asset": asset, "rules": canonical.encode(rules).decode(), "set_by": person}
        with transaction(self._engine) as connection:
            keep(connection, _RULES, {**values, "stored": self._clock()}, replace=True)

    def rules(self, asset: str) -> object | None:
        """The output checks of an asset as they were set, or None."""
        with transaction(self._engine) as connection:
            found = connection.scalar(select(_RULES.c.rules).where(_RULES.c.asset == asset))
        return None if found is None else canonical.decode(found.encode())

    def _read(self, row: Row[tuple[object, ...]]) -> KeptRelease:
        values = dict(row._mapping)
        if self._box is None:
            raise Conflict("expected a key to open cohorts with, got none")
        try:
            cohort = self._box.decrypt(bytes(values["cohort"]), _context(row.job, row.step))
        except CryptoError:
            raise SealBroken(f"the cohort of {row.job}, step {row.step}, was altered") from None
        state = ReleaseState(values["state"])
        return KeptRelease(**(values | {"cohort": bytes(cohort), "state": state}))


def _context(job: str, step: str) -> bytes:
    return canonical.encode({"job": job, "step": step})
