"""${message}

A migration runs while the previous version of the code still serves: expand, never break. It must
not hold a strong lock for long: lock_timeout ends it if it would wait, indexes on tables that may
be large are built CONCURRENTLY in an autocommit block, and back-filling is done in slices.
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
    """)
