"""How many changes were told of: who heard of all of them may trust what it remembers.

And the epoch, after which is named what is remembered outside of the processes.
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
