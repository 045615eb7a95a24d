"""How many changes were told of: who heard of all of them may trust what it remembers."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE listo.changes (
        id boolean PRIMARY KEY DEFAULT true CHECK (id),
        number bigint NOT NULL DEFAULT 0
    )
    """,
    "INSERT INTO listo.changes DEFAULT VALUES",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
