"""The number of changes that processes were notified of.

A process that received as many notifications has missed none, so what it remembers is current.

The same row holds the epoch, which is part of the names of all cache entries in Redis.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE listo.changes (
        id boolean PRIMARY KEY DEFAULT true CHECK (id),
        number bigint NOT NULL DEFAULT 0,
        epoch bigint NOT NULL DEFAULT 0,
        epoch_began timestamptz NOT NULL DEFAULT '-infinity'
    )
    """,
    "INSERT INTO listo.changes DEFAULT VALUES",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
