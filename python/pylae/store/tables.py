"""The tables of a store in SQL, as the newest migration leaves them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Integer, LargeBinary, MetaData, Table, Text

METADATA = MetaData()

HEAD = Table(
    "head",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("compacted", BigInteger, nullable=False),
    Column("weight", BigInteger, nullable=False),
)
"""One row: the revision of the last change, that of the last event that was forgotten, and what events have come since
then, as bytes. Each transaction that changes something locks it, so revisions are in the order of the commits."""

PAIR = Table(
    "pair",
    METADATA,
    Column("key", Text(collation="C").with_variant(Text(), "sqlite"), primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("lease", BigInteger, index=True),
)
"""The keys that exist."""

EVENT = Table(
    "event",
    METADATA,
    Column("revision", BigInteger, primary_key=True),
    Column("key", Text(collation="C").with_variant(Text(), "sqlite"), primary_key=True),
    Column("value", LargeBinary),
    Column("weight", Integer, nullable=False),
)
"""The latest changes."""

LEASE = Table(
    "lease",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("ttl", Integer, nullable=False),
    Column("expires", Double, nullable=False, index=True),
)
"""The leases that are not over, or whose keys nobody has deleted yet. `expires` is in seconds since 1970."""
