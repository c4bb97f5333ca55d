"""What evidence down to the bytes needs: proofs of blobs, accessories, re-checks, deletions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _columns() -> None:
    op.add_column("subjects", sa.Column("deleted_at", sa.BigInteger(), nullable=True))
    op.add_column("subjects", sa.Column("proofs_since", sa.BigInteger(), nullable=True))
    op.add_column("expectations", sa.Column("checked_at", sa.BigInteger(), nullable=True))
    op.add_column("expectations", sa.Column("hashed_at", sa.BigInteger(), nullable=True))
    op.create_index(
        "expectations_recheck",
        "expectations",
        ["destination_id", "checked_at"],
        unique=False,
        sqlite_where=sa.text("state = 'verified' and due_at is null"),
        postgresql_where=sa.text("state = 'verified' and due_at is null"),
    )


def _proofs() -> None:
    op.create_table(
        "proofs",
        sa.Column("destination_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repository", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("altered", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("destination_id", "repository", "digest"),
    )
    op.create_index("proofs_at", "proofs", ["at"], unique=False)


def _accessories() -> None:
    op.create_table(
        "accessories",
        sa.Column("harbor", sa.String(), nullable=False),
        sa.Column("source_repository", sa.String(), nullable=False),
        sa.Column("subject_digest", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("harbor", "source_repository", "subject_digest", "digest"),
    )
    op.create_index("accessories_at", "accessories", ["at"], unique=False)


def upgrade() -> None:
    _columns()
    _proofs()
    _accessories()
