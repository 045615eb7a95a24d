"""Leases: which process has which duty, until when, and under which fencing token."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE listo.leases (
        name text PRIMARY KEY,
        holder text NOT NULL,
        -- Grows with every holder, so that what an earlier one still sends can be told.
        token bigint NOT NULL,
        expires_at timestamptz NOT NULL
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
