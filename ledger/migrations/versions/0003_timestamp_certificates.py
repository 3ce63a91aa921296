"""Time stamps are kept with the certificates of their authority. Nothing wrote the table before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table anew, with the certificates."""
    op.drop_table("ledger_timestamps")
    op.create_table(
        "ledger_timestamps",
        *_columns(),
        sa.Column("certificates", sa.LargeBinary, nullable=False, comment="PEM"),
        _key(),
    )


def downgrade() -> None:
    """Make the table anew, without the certificates."""
    op.drop_table("ledger_timestamps")
    op.create_table("ledger_timestamps", *_columns(), _key())


def _columns() -> list[sa.Column[object]]:
    return [
        sa.Column("size", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("authority", sa.String(256), nullable=False),
        sa.Column("token", sa.LargeBinary, nullable=False),
    ]


def _key() -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint("size", "authority", name="pk_ledger_timestamps")
