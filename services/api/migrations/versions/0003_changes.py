"""The number of changes told of: a process that heard of all of them may trust its memory.

And the epoch, by which entries that are remembered outside of the processes are named.
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
