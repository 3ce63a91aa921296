"""The hub's tables. None is trusted: digests on the ledger say what belongs in them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from exchange.store.engine import Moment

__all__ = ["HubBase", "ProgressRow", "ResultRow", "SpecRow"]


class HubBase(DeclarativeBase):
    """Root of the hub's models."""


class SpecRow(HubBase):
    """A job specification, as its submitter handed it in."""

    __tablename__ = "hub_specs"

    job: Mapped[str] = mapped_column(String(80), primary_key=True)
    spec: Mapped[bytes] = mapped_column(LargeBinary)
    stored: Mapped[datetime] = mapped_column(Moment)


class ResultRow(HubBase):
    """A step's release, sealed to its recipient."""

    __tablename__ = "hub_results"

    job: Mapped[str] = mapped_column(String(80), primary_key=True)
    step: Mapped[str] = mapped_column(String(80), primary_key=True)
    sender: Mapped[str] = mapped_column(String(200), primary_key=True)
    recipient: Mapped[str] = mapped_column(String(200), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    stored: Mapped[datetime] = mapped_column(Moment)


class ProgressRow(HubBase):
    """How far a party says it is with a step. A courtesy to those who wait, and no evidence of anything."""

    __tablename__ = "hub_progress"

    job: Mapped[str] = mapped_column(String(80), primary_key=True)
    step: Mapped[str] = mapped_column(String(80), primary_key=True)
    party: Mapped[str] = mapped_column(String(200), primary_key=True)
    done: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[int] = mapped_column(BigInteger)
    updated: Mapped[datetime] = mapped_column(Moment)
    left_s: Mapped[int | None] = mapped_column(BigInteger)
