"""The tables of probes: what a node is to pull, and the pods that were made for it.

As `schema`: times are milliseconds since the epoch, `due_at` is the work.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from syncwatch.store.schema import Id, metadata, partial

# What a cluster's nodes are to pull, and what became of it; one row for each digest in a place.
probes = Table(
    "probes",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("destination_id", BigInteger, nullable=False),
    Column("repository", String, nullable=False),
    Column("digest", String, nullable=False),
    # one name that served it; a look at that comes before each probe
    Column("reference", String, nullable=False),
    # null while not known: whether a node can pull it at all, and the bytes of its layers
    Column("is_image", Boolean),
    Column("size", BigInteger),
    # somebody's level asks for it
    Column("required", Boolean, nullable=False, default=False),
    Column("wanted_at", BigInteger, nullable=False),
    # the newest question of somebody who waits for it
    Column("asked_at", BigInteger),
    # null when nothing is to be done, or its pods are under way (then `began_at` is set)
    Column("due_at", BigInteger),
    Column("began_at", BigInteger),
    # of the last one that ended
    Column("ended_at", BigInteger),
    Column("result", String),
    Column("cause", String, nullable=False, default=""),
    Column("message", String, nullable=False, default=""),
    # how many in a row have not been pulled
    Column("attempts", Integer, nullable=False, default=0),
    # when a node's pull of it ended well; null again once it was seen to be gone
    Column("proved_at", BigInteger),
    UniqueConstraint("destination_id", "repository", "digest"),
    partial("probes_due", "destination_id", "due_at", where="due_at is not null"),
    partial("probes_begun", "began_at", where="began_at is not null"),
    Index("probes_wanted", "wanted_at"),
    sqlite_autoincrement=True,
)

# Every pod that was made, or was to be: its name is written down before it exists.
pods = Table(
    "pods",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("probe_id", BigInteger, nullable=False),
    Column("cluster", String, nullable=False),
    Column("destination_id", BigInteger, nullable=False),
    Column("namespace", String, nullable=False),
    Column("name", String, nullable=False, unique=True),
    # the reference that it pulls, and the architecture it is for ("": whichever)
    Column("image", String, nullable=False),
    Column("architecture", String, nullable=False, default=""),
    Column("began_at", BigInteger, nullable=False),
    Column("deadline_at", BigInteger, nullable=False),
    # JSON list of the nodes that held the digest before: what they pull proves only the reference
    Column("holders", Text, nullable=False, default="[]"),
    # when it was judged, and when the cluster had it no more
    Column("ended_at", BigInteger),
    Column("gone_at", BigInteger),
    Column("node", String, nullable=False, default=""),
    Column("result", String),
    Column("cause", String, nullable=False, default=""),
    Column("message", String, nullable=False, default=""),
    # of the pull alone, as far as the kubelet says so
    Column("seconds", Float),
    Index("pods_probe", "probe_id", "id"),
    Index("pods_began", "cluster", "began_at"),
    partial("pods_left", "cluster", where="gone_at is null"),
    sqlite_autoincrement=True,
)
