"""The tables. Times are milliseconds since the epoch; `harbor` columns hold our name of a Harbor.

`due_at` columns are the work: a stage takes what is due and writes when it is due again, so a
restart is no special case. `counts` is kept in the transaction that changes a row, so that no
scrape ever counts rows.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

# SQLite numbers rows by itself only for a column of type INTEGER, and never twice only where the
# table says so: an id in somebody's link must not come to mean something else.
Id = BigInteger().with_variant(Integer, "sqlite")


def partial(name: str, *columns: str | Column[object], where: str) -> Index:
    """An index of those rows only that meet a condition."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


harbors = Table(
    "harbors",
    metadata,
    Column("name", String, primary_key=True),
    # since when this store watches it: nothing older is ever expected
    Column("watching_since", BigInteger, nullable=False),
    Column("version", String, nullable=False, default=""),
    Column("up", Boolean, nullable=False, default=False),
    # Harbor's clock minus ours
    Column("skew", BigInteger, nullable=False, default=0),
    Column("last_webhook_at", BigInteger),
    Column("last_look_at", BigInteger),
    # the feed of executions: read up to this id, at this time, without a gap since that time
    Column("feed_cursor", BigInteger, nullable=False, default=0),
    Column("feed_read_at", BigInteger),
    Column("feed_ok", Boolean, nullable=False, default=True),
    Column("feed_since", BigInteger),
    # the sweep: when one last ended well, and the moment (Harbor's clock) up to which repositories
    # that changed were read
    Column("last_sweep_at", BigInteger),
    Column("swept_until", BigInteger),
    # the complete pass under way, or the last one
    Column("pass_began_at", BigInteger),
    Column("pass_ended_at", BigInteger),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("harbor", String, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("sameness", String, nullable=False),
    Column("event", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    # null once planned
    Column("due_at", BigInteger),
    Index("deliveries_sameness", "sameness"),
    Index("deliveries_received", "received_at"),
    partial("deliveries_due", "harbor", "due_at", where="due_at is not null"),
    sqlite_autoincrement=True,
)

destinations = Table(
    "destinations",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("harbor", String, nullable=False),
    Column("registry_id", BigInteger, nullable=False),
    Column("url", String, nullable=False),
    Column("name", String, nullable=False),
    Column("type", String, nullable=False),
    # the name under which the configuration knew it, should Harbor rename it
    Column("first_name", String, nullable=False),
    Column("gone_at", BigInteger),
    # whether it could be asked when it was last tried; null before
    Column("up", Boolean),
    # maintenance asked for by hand
    Column("paused_until", BigInteger),
    Column("paused_by", String),
    UniqueConstraint("harbor", "registry_id", "url"),
    sqlite_autoincrement=True,
)

policies = Table(
    "policies",
    metadata,
    Column("harbor", String, primary_key=True),
    Column("policy_id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String, nullable=False),
    Column("destination_id", BigInteger),
    Column("trigger", String, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    # Harbor's own time of its last edit, and what else than rules and name may be edited
    Column("updated_at", BigInteger),
    Column("beside", String, nullable=False, default=""),
    Column("gone_at", BigInteger),
)

revisions = Table(
    "revisions",
    metadata,
    Column("harbor", String, primary_key=True),
    Column("policy_id", BigInteger, primary_key=True, autoincrement=False),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    # in force since then, in Harbor's clock
    Column("since", BigInteger, nullable=False),
    Column("destination_id", BigInteger),
    Column("rules", Text, nullable=False),
)

subjects = Table(
    "subjects",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("harbor", String, nullable=False),
    Column("policy_id", BigInteger, nullable=False),
    Column("source_repository", String, nullable=False),
    Column("reference", String, nullable=False),
    Column("destination_id", BigInteger, nullable=False),
    Column("repository", String, nullable=False),
    Column("newest_id", BigInteger),
    # expected_at of the first generation after the last verified one, or when it left verified
    Column("behind_since", BigInteger),
    # the source's tag when we last asked Harbor for it
    Column("source_digest", String),
    Column("source_read_at", BigInteger),
    # set to have the source's tag asked for again
    Column("source_due_at", BigInteger),
    # when the source's reference is said to have been deleted (Harbor's clock)
    Column("deleted_at", BigInteger),
    # somebody asked for a look by hand: no older proof of a blob counts any more
    Column("proofs_since", BigInteger),
    UniqueConstraint(
        "harbor", "policy_id", "source_repository", "reference", "destination_id", "repository"
    ),
    Index("subjects_source", "harbor", "source_repository", "reference"),
    Index("subjects_name", "destination_id", "repository", "reference"),
    partial(
        "subjects_behind",
        "harbor",
        "policy_id",
        "destination_id",
        "behind_since",
        where="behind_since is not null",
    ),
    partial("subjects_source_due", "harbor", "source_due_at", where="source_due_at is not null"),
    sqlite_autoincrement=True,
)

expectations = Table(
    "expectations",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("subject_id", BigInteger, nullable=False),
    Column("harbor", String, nullable=False),
    Column("policy_id", BigInteger, nullable=False),
    Column("destination_id", BigInteger, nullable=False),
    Column("operation", String, nullable=False),
    Column("origin", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=False, default=""),
    Column("message", String, nullable=False, default=""),
    Column("level", String),
    Column("required_level", String, nullable=False),
    Column("overdue", Boolean, nullable=False, default=False),
    Column("settled", String),
    Column("false_success", Boolean, nullable=False, default=False),
    # Harbor's clock; everything below it is ours
    Column("pushed_at", BigInteger, nullable=False),
    Column("expected_at", BigInteger, nullable=False),
    Column("deadline_at", BigInteger, nullable=False),
    Column("notified_at", BigInteger),
    Column("claimed_at", BigInteger),
    Column("verified_at", BigInteger),
    Column("pulled_at", BigInteger),
    Column("observed_at", BigInteger),
    # when a look last proved it
    Column("proved_at", BigInteger),
    # when it was last looked at again without a cause, whatever came of it
    Column("checked_at", BigInteger),
    # when all its bytes were last hashed (the full check)
    Column("hashed_at", BigInteger),
    Column("execution_id", BigInteger),
    Column("task_id", BigInteger),
    Column("revision", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("due_at", BigInteger),
    Column("closed_at", BigInteger),
    # how it became known: webhook, feed or sweep
    Column("known_by", String, nullable=False, default="webhook"),
    # when a webhook that did not come is missed; null where none is due, or it was counted
    Column("recovered_due_at", BigInteger),
    partial(
        "expectations_recovered",
        "harbor",
        "recovered_due_at",
        where="recovered_due_at is not null",
    ),
    Index("expectations_subject", "subject_id", "id"),
    partial("expectations_due", "destination_id", "due_at", where="due_at is not null"),
    partial("expectations_closed", "closed_at", where="closed_at is not null"),
    Index("expectations_state", "state", "id"),
    Index("expectations_pushed", "harbor", "policy_id", "pushed_at"),
    partial("expectations_evidence", "destination_id", "proved_at", where="state = 'verified'"),
    partial(
        "expectations_recheck",
        "destination_id",
        "checked_at",
        where="state = 'verified' and due_at is null",
    ),
    sqlite_autoincrement=True,
)

changes = Table(
    "changes",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("expectation_id", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("what", String, nullable=False),
    Column("detail", String, nullable=False, default=""),
    Index("changes_expectation", "expectation_id", "id"),
    sqlite_autoincrement=True,
)

observations = Table(
    "observations",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("destination_id", BigInteger, nullable=False),
    Column("repository", String, nullable=False),
    Column("reference", String, nullable=False),
    Column("began_at", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("served", String),
    Column("level", String),
    Column("problem", String),
    Column("seen", Text, nullable=False),
    Index("observations_name", "destination_id", "repository", "reference", "id"),
    sqlite_autoincrement=True,
)

proofs = Table(
    "proofs",
    metadata,
    Column("destination_id", BigInteger, primary_key=True, autoincrement=False),
    Column("repository", String, primary_key=True),
    Column("digest", String, primary_key=True),
    # when a look began that read the blob's last byte
    Column("at", BigInteger, nullable=False),
    # a full check found other bytes: the last one proves nothing here
    Column("altered", Boolean, nullable=False, default=False),
    Index("proofs_at", "at"),
)

# Looks at names that somebody asks about, expected there or not: the gate, and explain.
looks = Table(
    "looks",
    metadata,
    Column("destination_id", BigInteger, primary_key=True, autoincrement=False),
    Column("repository", String, primary_key=True),
    Column("reference", String, primary_key=True),
    # JSON list of the digests asked about, and the deepest level that is wanted
    Column("digests", Text, nullable=False),
    Column("level", String, nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    # set until a look is taken
    Column("due_at", BigInteger),
    # when the look began that answers it, and why it saw nothing, if so
    Column("answered_at", BigInteger),
    Column("problem", String),
    Column("detail", String, nullable=False, default=""),
    partial("looks_due", "destination_id", "due_at", where="due_at is not null"),
    Index("looks_asked", "asked_at"),
)

# What the outgoing webhook has to tell, written with the change that it tells of.
notifications = Table(
    "notifications",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    # of the CloudEvent: its type, its subject, its data as JSON
    Column("event", String, nullable=False),
    Column("harbor", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("data", Text, nullable=False),
    # when it happened
    Column("created_at", BigInteger, nullable=False),
    # null once it was taken, or nobody tries any more
    Column("due_at", BigInteger),
    Column("attempts", Integer, nullable=False, default=0),
    # why the last attempt failed
    Column("problem", String, nullable=False, default=""),
    # set where it ended without being delivered
    Column("lost_at", BigInteger),
    Index("notifications_created", "created_at"),
    partial("notifications_due", "due_at", where="due_at is not null"),
    partial("notifications_lost", "lost_at", where="lost_at is not null"),
    sqlite_autoincrement=True,
)

accessories = Table(
    "accessories",
    metadata,
    Column("harbor", String, primary_key=True),
    Column("source_repository", String, primary_key=True),
    # the manifest that it signs or describes
    Column("subject_digest", String, primary_key=True),
    Column("digest", String, primary_key=True),
    # Harbor's word for its kind: signature.cosign, subject.accessory, ...
    Column("type", String, nullable=False, default=""),
    # its tag in cosign's scheme; "" for one that only has a digest
    Column("reference", String, nullable=False, default=""),
    Column("at", BigInteger, nullable=False),
    Index("accessories_at", "at"),
)

executions = Table(
    "executions",
    metadata,
    Column("harbor", String, primary_key=True),
    Column("execution_id", BigInteger, primary_key=True, autoincrement=False),
    Column("policy_id", BigInteger, nullable=False),
    Column("trigger", String, nullable=False),
    Column("status", String, nullable=False),
    Column("status_text", String, nullable=False, default=""),
    Column("total", Integer, nullable=False, default=0),
    # Harbor's clock
    Column("start_at", BigInteger),
    Column("end_at", BigInteger),
    # ours: when anything in it last changed
    Column("changed_at", BigInteger, nullable=False),
    # null once nothing more can come of it
    Column("due_at", BigInteger),
    Column("counted", Boolean, nullable=False, default=False),
    partial("executions_due", "harbor", "due_at", where="due_at is not null"),
    Index("executions_policy", "harbor", "policy_id", "start_at"),
    Index("executions_changed", "changed_at"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("harbor", String, primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("execution_id", BigInteger, nullable=False),
    Column("policy_id", BigInteger),
    Column("operation", String, nullable=False, default=""),
    Column("source_repository", String, nullable=False, default=""),
    Column("repository", String, nullable=False, default=""),
    Column("items", Integer),
    Column("status", String, nullable=False, default=""),
    Column("start_at", BigInteger),
    Column("end_at", BigInteger),
    Column("changed_at", BigInteger, nullable=False),
    # attempts that failed, by Error webhooks and by the API: each may miss some
    Column("errors", Integer, nullable=False, default=0),
    Column("failures", Integer, nullable=False, default=0),
    # JSON list of tags or digests, from the webhook; null where unknown
    Column("refs", Text),
    # set while the planner has to look what it brings
    Column("plan_due_at", BigInteger),
    Index("tasks_execution", "harbor", "execution_id"),
    Index("tasks_source", "harbor", "policy_id", "source_repository"),
    Index("tasks_repository", "harbor", "repository"),
    partial("tasks_plan", "harbor", "plan_due_at", where="plan_due_at is not null"),
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("harbor", String, primary_key=True),
    Column("project", String, primary_key=True),
    # the complete pass that this belongs to, by when it began
    Column("pass_began_at", BigInteger, nullable=False),
    # Harbor's id of the last repository that was compared
    Column("cursor", BigInteger, nullable=False, default=0),
    Column("repositories", Integer, nullable=False, default=0),
    Column("tags", BigInteger, nullable=False, default=0),
    Column("ended_at", BigInteger),
)

orphans = Table(
    "orphans",
    metadata,
    Column("destination_id", BigInteger, primary_key=True, autoincrement=False),
    # the name at the destination, and one source that is copied to it
    Column("repository", String, primary_key=True),
    Column("source_repository", String, primary_key=True),
    # JSON list of what the source had when it was swept
    Column("source_refs", Text, nullable=False),
    Column("swept_at", BigInteger, nullable=False),
    # set until the destination's list was compared with it
    Column("due_at", BigInteger),
    # JSON list of the first tags there that the source does not have, and how many there are
    Column("extra", Text, nullable=False, default="[]"),
    Column("count", Integer, nullable=False, default=0),
    partial("orphans_due", "destination_id", "due_at", where="due_at is not null"),
)

replicas = Table(
    "replicas",
    metadata,
    Column("id", String, primary_key=True),
    # the database's clock
    Column("seen_at", BigInteger, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    # a loop's owner: "harbor main", "destination 3", "store"
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    # the database's clock
    Column("expires_at", BigInteger, nullable=False),
)

claims = Table(
    "claims",
    metadata,
    Column("harbor", String, primary_key=True),
    Column("repository", String, primary_key=True),
    Column("digest", String, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Index("claims_at", "at"),
)

findings = Table(
    "findings",
    metadata,
    Column("harbor", String, primary_key=True),
    # who keeps it up to date; that one replaces all of its own at once
    Column("source", String, primary_key=True),
    Column("finding", String, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("severity", String, nullable=False),
    Column("message", String, nullable=False),
    Column("cure", String, nullable=False),
    Column("since", BigInteger, nullable=False),
)

counts = Table(
    "counts",
    metadata,
    Column("harbor", String, primary_key=True),
    Column("policy_id", BigInteger, primary_key=True, autoincrement=False),
    Column("destination_id", BigInteger, primary_key=True, autoincrement=False),
    Column("state", String, primary_key=True),
    Column("reason", String, primary_key=True),
    Column("overdue", SmallInteger, primary_key=True, autoincrement=False),
    Column("n", BigInteger, nullable=False),
)
