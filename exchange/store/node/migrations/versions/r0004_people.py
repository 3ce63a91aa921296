"""Accounts with departments, several tokens each, and the record of changes; the people there are stay."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ledger.entries import new_id
from ledger.times import system_clock

revision = "node_0004"
down_revision = "node_0003"
branch_labels = None
depends_on = None

_BEFORE = "before"


def upgrade() -> None:
    """Make the tables and move the people and their tokens into them."""
    accounts = op.create_table(
        "node_accounts",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("display_name", sa.String(200), nullable=False),
        sa.Column("department", sa.String(40), nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("created", sa.String(20), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("changed", sa.String(20), nullable=False),
        sa.Column("changed_by", sa.String(100), nullable=False),
        sa.UniqueConstraint("name", name="node_accounts_name"),
    )
    op.create_table(
        "node_departments",
        sa.Column("department", sa.String(40), primary_key=True),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("parent", sa.String(40), nullable=False),
    )
    op.create_table(
        "node_organisation",
        sa.Column("field", sa.String(40), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    tokens = op.create_table(
        "node_tokens",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("account", sa.String(40), nullable=False),
        sa.Column("title", sa.String(100), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("created", sa.String(20), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("expires", sa.String(20), nullable=True),
        sa.Column("revoked", sa.String(20), nullable=True),
        sa.UniqueConstraint("digest", name="node_tokens_digest"),
    )
    op.create_index("ix_node_tokens_account", "node_tokens", ["account"])
    op.create_table(
        "node_people_record",
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("time", sa.String(20), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("act", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(100), nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    head = op.create_table(
        "node_people_head",
        sa.Column("head", sa.Integer, primary_key=True),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    op.bulk_insert(head, [{"head": 1, "size": 0, "digest": "0" * 64}])
    people = sa.table(
        "node_people",
        sa.column("name", sa.String),
        sa.column("roles", sa.JSON),
        sa.column("token_digest", sa.String),
        sa.column("created", sa.String),
    )
    for row in op.get_bind().execute(sa.select(people)).all():
        account = new_id("person", system_clock)
        by = {"created": row.created, "created_by": _BEFORE}
        op.bulk_insert(
            accounts,
            [
                {
                    "id": account,
                    "name": row.name,
                    "display_name": row.name,
                    "department": "",
                    "roles": row.roles,
                    "state": "active",
                    "changed": row.created,
                    "changed_by": _BEFORE,
                    **by,
                }
            ],
        )
        op.bulk_insert(
            tokens,
            [
                {
                    "id": new_id("token", system_clock),
                    "account": account,
                    "title": "first",
                    "digest": row.token_digest,
                    "roles": row.roles,
                    "expires": None,
                    "revoked": None,
                    **by,
                }
            ],
        )
    op.drop_table("node_people")
