"""Keys with values, the events of late, and leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    key = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
    head = op.create_table(
        "head",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("compacted", sa.BigInteger, nullable=False),
        sa.Column("weight", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "revision": 0, "compacted": 0, "weight": 0}])
    op.create_table(
        "pair",
        sa.Column("key", key, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("lease", sa.BigInteger, index=True),
    )
    op.create_table(
        "event",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key", key, primary_key=True),
        sa.Column("value", sa.LargeBinary),
        sa.Column("weight", sa.Integer, nullable=False),
    )
    op.create_table(
        "lease",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("ttl", sa.Integer, nullable=False),
        sa.Column("expires", sa.Double, nullable=False, index=True),
    )
