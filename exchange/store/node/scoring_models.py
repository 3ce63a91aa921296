"""Tables of models and their scores. None has a column for an identifier, a coefficient or a score."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from exchange.store.engine import Moment
from exchange.store.node.models import NodeBase

__all__ = ["ModelPartRow", "ScoreAccountRow", "ScoreQuestionRow", "ScoreSignedRow"]


class ModelPartRow(NodeBase):
    """This owner's part of a version of a model, sealed to its own key, and the table made from it."""

    __tablename__ = "node_model_parts"

    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    filing: Mapped[dict[str, object]] = mapped_column(JSON)
    built: Mapped[int] = mapped_column(BigInteger)
    failure: Mapped[str] = mapped_column(Text)
    changed: Mapped[datetime] = mapped_column(Moment)


class ScoreAccountRow(NodeBase):
    """What this owner has answered of one account."""

    __tablename__ = "node_score_accounts"
    __table_args__ = (
        Index("ix_node_score_accounts_agreement", "agreement"),
        Index("ix_node_score_accounts_consumer", "consumer", "model"),
    )

    account: Mapped[str] = mapped_column(String(580), primary_key=True)
    agreement: Mapped[str] = mapped_column(String(40))
    consumer: Mapped[str] = mapped_column(String(220))
    model: Mapped[str] = mapped_column(String(200))
    number: Mapped[int] = mapped_column(BigInteger)
    seen: Mapped[int] = mapped_column(BigInteger)
    floor: Mapped[int] = mapped_column(BigInteger)
    count: Mapped[int] = mapped_column(BigInteger)
    calls: Mapped[int] = mapped_column(BigInteger)
    since: Mapped[datetime] = mapped_column(Moment)
    last: Mapped[bytes] = mapped_column(LargeBinary)
    sent: Mapped[bytes] = mapped_column(LargeBinary)
    sent_count: Mapped[int] = mapped_column(BigInteger)
    minute: Mapped[int] = mapped_column(BigInteger)
    in_minute: Mapped[int] = mapped_column(BigInteger)
    day: Mapped[int] = mapped_column(BigInteger)
    in_day: Mapped[int] = mapped_column(BigInteger)


class ScoreSignedRow(NodeBase):
    """What this label holder has signed for at most in one account."""

    __tablename__ = "node_score_signed"

    account: Mapped[str] = mapped_column(String(580), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[int] = mapped_column(BigInteger)


class ScoreQuestionRow(NodeBase):
    """How often somebody of this member asked for scores of a version in a day."""

    __tablename__ = "node_score_questions"

    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    person: Mapped[str] = mapped_column(String(200), primary_key=True)
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    purpose: Mapped[str] = mapped_column(String(256), primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger)
    persons: Mapped[int] = mapped_column(BigInteger)
