"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _changes() -> None:
    op.create_table(
        "changes",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("expectation_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("changes_expectation", "changes", ["expectation_id", "id"], unique=False)


def _claims() -> None:
    op.create_table(
        "claims",
        sa.Column("harbor", sa.String(), nullable=False),
        sa.Column("repository", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("harbor", "repository", "digest"),
    )
    op.create_index("claims_at", "claims", ["at"], unique=False)


def _counts() -> None:
    op.create_table(
        "counts",
        sa.Column("harbor", sa.String(), nullable=False),
        sa.Column("policy_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("destination_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("overdue", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "harbor", "policy_id", "destination_id", "state", "reason", "overdue"
        ),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("harbor", sa.String(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("sameness", sa.String(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "deliveries_due",
        "deliveries",
        ["harbor", "due_at"],
        unique=False,
        sqlite_where=sa.text("due_at is not null"),
        postgresql_where=sa.text("due_at is not null"),
    )
    op.create_index("deliveries_received", "deliveries", ["received_at"], unique=False)
    op.create_index("deliveries_sameness", "deliveries", ["sameness"], unique=False)


def _destinations() -> None:
    op.create_table(
        "destinations",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("harbor", sa.String(), nullable=False),
        sa.Column("registry_id", sa.BigInteger(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("first_name", sa.String(), nullable=False),
        sa.Column("gone_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("harbor", "registry_id", "url"),
        sqlite_autoincrement=True,
    )


def _executions() -> None:
    op.create_table(
        "executions",
        sa.Column("harbor", sa.String(), nullable=False),
        sa.Column("execution_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("policy_id", sa.BigInteger(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("status_text", sa.String(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("start_at", sa.BigInteger(), nullable=True),
        sa.Column("end_at", sa.BigInteger(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("harbor", "execution_id"),
    )
    op.create_index("executions_changed", "executions", ["changed_at"], unique=False)
    op.create_index(
        "executions_due",
        "executions",
        ["harbor", "due_at"],
        unique=False,
        sqlite_where=sa.text("due_at is not null"),
        postgresql_where=sa.text("due_at is not null"),
    )
    op.create_index(
        "executions_policy", "executions", ["harbor", "policy_id", "start_at"], unique=False
    )


def _expectations() -> None:
    op.create_table(
        "expectations",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("harbor", sa.String(), nullable=False),
        sa.Column("policy_id", sa.BigInteger(), nullable=False),
        sa.Column("destination_id", sa.BigInteger(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("level", sa.String(), nullable=True),
        sa.Column("required_level", sa.String(), nullable=False),
        sa.Column("overdue", sa.Boolean(), nullable=False),
        sa.Column("settled", sa.String(), nullable=True),
        sa.Column("false_success", sa.Boolean(), nullable=False),
        sa.Column("pushed_at", sa.BigInteger(), nullable=False),
        sa.Column("expected_at", sa.BigInteger(), nullable=False),
        sa.Column("deadline_at", sa.BigInteger(), nullable=False),
        sa.Column("notified_at", sa.BigInteger(), nullable=True),
        sa.Column("claimed_at", sa.BigInteger(), nullable=True),
        sa.Column("verified_at", sa.BigInteger(), nullable=True),
        sa.Column("pulled_at", sa.BigInteger(), nullable=True),
        sa.Column("observed_at", sa.BigInteger(), nullable=True),
        sa.Column("proved_at", sa.BigInteger(), nullable=True),
        sa.Column("execution_id", sa.BigInteger(), nullable=True),
        sa.Column("task_id", sa.BigInteger(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "expectations_closed",
        "expectations",
        ["closed_at"],
        unique=False,
        sqlite_where=sa.text("closed_at is not null"),
        postgresql_where=sa.text("closed_at is not null"),
    )
    op.create_index(
        "expectations_due",
        "expectations",
        ["destination_id", "due_at"],
        unique=False,
        sqlite_where=sa.text("due_at is not null"),
        postgresql_where=sa.text("due_at is not null"),
    )
    op.create_index(
        "expectations_evidence",
        "expectations",
        ["destination_id", "proved_at"],
        unique=False,
        sqlite_where=sa.text("state = 'verified'"),
        postgresql_where=sa.text("state = 'verified'"),
    )
    op.create_index(
        "expectations_pushed", "expectations", ["harbor", "policy_id", "pushed_at"], unique=False
    )
    op.create_index("expectations_state", "expectations", ["state", "id"], unique=False)
    op.create_index("expectations_subject", "expectations", ["subject_id", "id"], unique=False)


def _findings() -> None:
    op.create_table(
        "findings",
        sa.Column("harbor", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("finding", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("cure", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("harbor", "source", "finding", "subject"),
    )


def _harbors() -> None:
    op.create_table(
        "harbors",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("watching_since", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("up", sa.Boolean(), nullable=False),
        sa.Column("skew", sa.BigInteger(), nullable=False),
        sa.Column("last_webhook_at", sa.BigInteger(), nullable=True),
        sa.Column("last_look_at", sa.BigInteger(), nullable=True),
        sa.Column("feed_cursor", sa.BigInteger(), nullable=False),
        sa.Column("feed_read_at", sa.BigInteger(), nullable=True),
        sa.Column("feed_ok", sa.Boolean(), nullable=False),
        sa.Column("feed_since", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )


def _observations() -> None:
    op.create_table(
        "observations",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("destination_id", sa.BigInteger(), nullable=False),
        sa.Column("repository", sa.String(), nullable=False),
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("served", sa.String(), nullable=True),
        sa.Column("level", sa.String(), nullable=True),
        sa.Column("problem", sa.String(), nullable=True),
        sa.Column("seen", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "observations_name",
        "observations",
        ["destination_id", "repository", "reference", "id"],
        unique=False,
    )


def _policies() -> None:
    op.create_table(
        "policies",
        sa.Column("harbor", sa.String(), nullable=False),
        sa.Column("policy_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("destination_id", sa.BigInteger(), nullable=True),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("gone_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("harbor", "policy_id"),
    )


def _revisions() -> None:
    op.create_table(
        "revisions",
        sa.Column("harbor", sa.String(), nullable=False),
        sa.Column("policy_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("destination_id", sa.BigInteger(), nullable=True),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("harbor", "policy_id", "revision"),
    )


def _subjects() -> None:
    op.create_table(
        "subjects",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("harbor", sa.String(), nullable=False),
        sa.Column("policy_id", sa.BigInteger(), nullable=False),
        sa.Column("source_repository", sa.String(), nullable=False),
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("destination_id", sa.BigInteger(), nullable=False),
        sa.Column("repository", sa.String(), nullable=False),
        sa.Column("newest_id", sa.BigInteger(), nullable=True),
        sa.Column("behind_since", sa.BigInteger(), nullable=True),
        sa.Column("source_digest", sa.String(), nullable=True),
        sa.Column("source_read_at", sa.BigInteger(), nullable=True),
        sa.Column("source_due_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "harbor", "policy_id", "source_repository", "reference", "destination_id", "repository"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "subjects_behind",
        "subjects",
        ["harbor", "policy_id", "destination_id", "behind_since"],
        unique=False,
        sqlite_where=sa.text("behind_since is not null"),
        postgresql_where=sa.text("behind_since is not null"),
    )
    op.create_index(
        "subjects_name", "subjects", ["destination_id", "repository", "reference"], unique=False
    )
    op.create_index(
        "subjects_source", "subjects", ["harbor", "source_repository", "reference"], unique=False
    )
    op.create_index(
        "subjects_source_due",
        "subjects",
        ["harbor", "source_due_at"],
        unique=False,
        sqlite_where=sa.text("source_due_at is not null"),
        postgresql_where=sa.text("source_due_at is not null"),
    )


def _tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("harbor", sa.String(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("execution_id", sa.BigInteger(), nullable=False),
        sa.Column("policy_id", sa.BigInteger(), nullable=True),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("source_repository", sa.String(), nullable=False),
        sa.Column("repository", sa.String(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("start_at", sa.BigInteger(), nullable=True),
        sa.Column("end_at", sa.BigInteger(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("refs", sa.Text(), nullable=True),
        sa.Column("plan_due_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("harbor", "task_id"),
    )
    op.create_index("tasks_execution", "tasks", ["harbor", "execution_id"], unique=False)
    op.create_index(
        "tasks_plan",
        "tasks",
        ["harbor", "plan_due_at"],
        unique=False,
        sqlite_where=sa.text("plan_due_at is not null"),
        postgresql_where=sa.text("plan_due_at is not null"),
    )
    op.create_index("tasks_repository", "tasks", ["harbor", "repository"], unique=False)
    op.create_index(
        "tasks_source", "tasks", ["harbor", "policy_id", "source_repository"], unique=False
    )


def upgrade() -> None:
    _changes()
    _claims()
    _counts()
    _deliveries()
    _destinations()
    _executions()
    _expectations()
    _findings()
    _harbors()
    _observations()
    _policies()
    _revisions()
    _subjects()
    _tasks()
