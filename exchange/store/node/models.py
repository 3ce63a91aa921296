"""The node's tables. Trusted by its own organisation alone, and by nobody else for anything."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger, Boolean, Integer, LargeBinary, String, Text, UniqueConstraint, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from exchange.store.engine import Moment

__all__ = [
    "AssetRow",
    "CheckpointRow",
    "DataspaceRow",
    "JobRow",
    "NodeBase",
    "NotarizationRow",
    "OutboxRow",
    "StateRow",
]


class NodeBase(DeclarativeBase):
    """Root of the node's models."""


class AssetRow(NodeBase):
    """Where a version of an asset lies.

    ``location`` holds no credentials; where it has some, ``sealed_location`` is the whole. Options of a
    source are always sealed.
    """

    __tablename__ = "node_assets"

    asset: Mapped[str] = mapped_column(String(200), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    location: Mapped[str] = mapped_column(Text)
    sealed_location: Mapped[bytes | None] = mapped_column(LargeBinary)
    sealed_options: Mapped[bytes | None] = mapped_column(LargeBinary)
    source_table: Mapped[str | None] = mapped_column(String(200))
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    columns: Mapped[list[str]] = mapped_column(JSON)
    text_columns: Mapped[list[str]] = mapped_column(JSON)


class JobRow(NodeBase):
    """The specification of a job that this party submitted or decided on."""

    __tablename__ = "node_jobs"

    job: Mapped[str] = mapped_column(String(80), primary_key=True)
    spec: Mapped[bytes] = mapped_column(LargeBinary)
    stored: Mapped[datetime] = mapped_column(Moment)


class BegunRow(NodeBase):
    """A step with other parties that this node has begun, and whether it may be attempted again."""

    __tablename__ = "node_begun"

    job: Mapped[str] = mapped_column(String(80), primary_key=True)
    step: Mapped[str] = mapped_column(String(80), primary_key=True)
    begun: Mapped[datetime] = mapped_column(Moment)
    attempts: Mapped[int] = mapped_column(Integer, server_default="1")
    is_last: Mapped[bool] = mapped_column(Boolean, server_default=false())


class StateRow(NodeBase):
    """What a step under way kept to go on from, sealed to this node's own key."""

    __tablename__ = "node_step_states"

    job: Mapped[str] = mapped_column(String(80), primary_key=True)
    step: Mapped[str] = mapped_column(String(80), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class CheckpointRow(NodeBase):
    """A finished step, sealed to this node's own key."""

    __tablename__ = "node_checkpoints"

    job: Mapped[str] = mapped_column(String(80), primary_key=True)
    step: Mapped[str] = mapped_column(String(80), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    stored: Mapped[datetime] = mapped_column(Moment)


class DataspaceRow(NodeBase):
    """How many steps of a process of the Dataspace Protocol both sides have exchanged."""

    __tablename__ = "node_dataspace"

    kind: Mapped[str] = mapped_column(String(12), primary_key=True)
    pid: Mapped[str] = mapped_column(String(160), primary_key=True)
    peer: Mapped[str] = mapped_column(String(256))
    position: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(12))
    tries: Mapped[int] = mapped_column(Integer)
    problem: Mapped[str | None] = mapped_column(String(80))
    updated: Mapped[datetime] = mapped_column(Moment)


class NotarizationRow(NodeBase):
    """A batch of fingerprints that this participant notarized, with the salts; see its repository."""

    __tablename__ = "node_notarizations"

    notarization: Mapped[str] = mapped_column(String(80), primary_key=True)
    entry: Mapped[bytes] = mapped_column(LargeBinary)
    leaves: Mapped[bytes] = mapped_column(LargeBinary)
    stored: Mapped[datetime] = mapped_column(Moment)


class OutboxRow(NodeBase):
    """A signed entry on its way to the ledger."""

    __tablename__ = "node_outbox"
    __table_args__ = (UniqueConstraint("txid", name="node_outbox_txid"),)

    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    txid: Mapped[str] = mapped_column(String(64))
    type: Mapped[str] = mapped_column(String(40))
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(String(10), index=True)
