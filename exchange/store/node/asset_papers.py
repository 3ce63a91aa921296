"""What the owner's node keeps of a version of an asset apart from the ledger: papers of a few kinds.

A draft that no steward has confirmed yet, the quality report, the steward's review and the salt of its
commitment, the synthetic twin. The ledger has digests; whoever hands a paper out compares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Engine, Integer, LargeBinary, String, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from exchange.store.engine import Moment, keep, transaction
from exchange.store.node.models import NodeBase

__all__ = ["AssetPaper", "AssetPaperRepository", "PaperKind"]


class PaperKind(StrEnum):
    """Kinds of papers."""

    DRAFT = "draft"
    QUALITY = "quality"
    REVIEW = "review"
    TWIN = "twin"


class AssetPaperRow(NodeBase):
    """One paper of one version."""

    __tablename__ = "node_asset_papers"

    asset: Mapped[str] = mapped_column(String(200), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(String(10), primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    stored: Mapped[datetime] = mapped_column(Moment)


_TABLE = NodeBase.metadata.tables[AssetPaperRow.__tablename__]


@dataclass(frozen=True)
class AssetPaper:
    """A paper as it is kept. ``salt`` opens its commitment, where the ledger has one."""

    asset: str
    version: int
    kind: PaperKind
    content: bytes = field(repr=False)
    salt: bytes = field(default=b"", repr=False)


class AssetPaperRepository:
    """Papers by asset, version and kind."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine, self._clock = engine, clock

    def put(self, paper: AssetPaper) -> None:
        """Keep a paper in place of an earlier one."""
        values = {
            "asset": paper.asset,
            "version": paper.version,
            "kind": paper.kind.value,
            "content": paper.content,
            "salt": paper.salt,
            "stored": self._clock(),
        }
        with transaction(self._engine) as connection:
            keep(connection, _TABLE, values, replace=True)

    def get(self, asset: str, version: int, kind: PaperKind) -> AssetPaper | None:
        """Return a paper, or None."""
        wanted = select(_TABLE.c.content, _TABLE.c.salt).where(
            _TABLE.c.asset == asset, _TABLE.c.version == version, _TABLE.c.kind == kind.value
        )
        with transaction(self._engine) as connection:
            row = connection.execute(wanted).one_or_none()
        return None if row is None else AssetPaper(asset, version, kind, row.content, row.salt)

    def all(self, kind: PaperKind) -> list[AssetPaper]:
        """List the papers of a kind, by asset and version."""
        wanted = select(_TABLE).where(_TABLE.c.kind == kind.value).order_by(_TABLE.c.asset, _TABLE.c.version)
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted).all()
        return [AssetPaper(row.asset, row.version, kind, row.content, row.salt) for row in rows]

    def drop(self, asset: str, version: int, kind: PaperKind) -> None:
        """Drop a paper; nothing happens if there is none."""
        wanted = (_TABLE.c.asset == asset) & (_TABLE.c.version == version) & (_TABLE.c.kind == kind.value)
        with transaction(self._engine) as connection:
            connection.execute(delete(_TABLE).where(wanted))
