"""Looks at names that somebody asks about, and what the outgoing webhook has to tell."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _due(name: str, table: str, columns: list[str]) -> None:
    where = sa.text("due_at is not null")
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def _looks() -> None:
    op.create_table(
        "looks",
        sa.Column("destination_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repository", sa.String(), nullable=False),
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("digests", sa.Text(), nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column("problem", sa.String(), nullable=True),
        sa.Column("detail", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("destination_id", "repository", "reference"),
    )
    _due("looks_due", "looks", ["destination_id", "due_at"])
    op.create_index("looks_asked", "looks", ["asked_at"])


def _notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("harbor", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(), nullable=False),
        sa.Column("lost_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("notifications_created", "notifications", ["created_at"])
    _due("notifications_due", "notifications", ["due_at"])
    where = sa.text("lost_at is not null")
    op.create_index(
        "notifications_lost",
        "notifications",
        ["lost_at"],
        sqlite_where=where,
        postgresql_where=where,
    )


def upgrade() -> None:
    _looks()
    _notifications()


def downgrade() -> None:
    op.drop_table("notifications")
    op.drop_table("looks")
