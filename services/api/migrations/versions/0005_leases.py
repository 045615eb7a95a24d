"""Leases: which process has which duty, until when, and when the duty is due next."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE listo.leases (
        name text PRIMARY KEY,
        -- Host and process, for whoever looks; null where nobody has it.
        holder text,
        -- Grows with every holder, so that what an earlier one still sends can be told.
        token bigint NOT NULL,
        expires_at timestamptz NOT NULL,
        due_at timestamptz NOT NULL DEFAULT now()
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
