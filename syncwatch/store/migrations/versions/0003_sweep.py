"""The sweep and what it finds, maintenance by hand, and leases that divide the work of replicas."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _columns() -> None:
    for name in ("last_sweep_at", "swept_until", "pass_began_at", "pass_ended_at"):
        op.add_column("harbors", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("policies", sa.Column("updated_at", sa.BigInteger(), nullable=True))
    op.add_column("policies", sa.Column("beside", sa.String(), nullable=False, server_default=""))
    op.add_column("destinations", sa.Column("up", sa.Boolean(), nullable=True))
    op.add_column("destinations", sa.Column("paused_until", sa.BigInteger(), nullable=True))
    op.add_column("destinations", sa.Column("paused_by", sa.String(), nullable=True))
    op.add_column(
        "expectations",
        sa.Column("known_by", sa.String(), nullable=False, server_default="webhook"),
    )
    op.add_column("expectations", sa.Column("recovered_due_at", sa.BigInteger(), nullable=True))
    op.create_index(
        "expectations_recovered",
        "expectations",
        ["harbor", "recovered_due_at"],
        unique=False,
        sqlite_where=sa.text("recovered_due_at is not null"),
        postgresql_where=sa.text("recovered_due_at is not null"),
    )


def _sweeps() -> None:
    op.create_table(
        "sweeps",
        sa.Column("harbor", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("pass_began_at", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("repositories", sa.Integer(), nullable=False),
        sa.Column("tags", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("harbor", "project"),
    )


def _orphans() -> None:
    op.create_table(
        "orphans",
        sa.Column("destination_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repository", sa.String(), nullable=False),
        sa.Column("source_repository", sa.String(), nullable=False),
        sa.Column("source_refs", sa.Text(), nullable=False),
        sa.Column("swept_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("extra", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("destination_id", "repository", "source_repository"),
    )
    op.create_index(
        "orphans_due",
        "orphans",
        ["destination_id", "due_at"],
        unique=False,
        sqlite_where=sa.text("due_at is not null"),
        postgresql_where=sa.text("due_at is not null"),
    )


def _replicas() -> None:
    op.create_table(
        "replicas",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def upgrade() -> None:
    _columns()
    _sweeps()
    _orphans()
    _replicas()
