"""Users without a password, sessions that guess passwords, and records of deleted users."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    # A user that an API key made has none until an admin gives it one.
    "ALTER TABLE listo.users ALTER COLUMN password_hash DROP NOT NULL",
    "ALTER TABLE listo.sessions ADD COLUMN wrong_passwords integer NOT NULL DEFAULT 0",
    """
    CREATE TABLE listo.removals (
        -- The user whose records are deleted, who is gone already.
        user_id uuid PRIMARY KEY,
        requested_by uuid,
        requested_at timestamptz NOT NULL DEFAULT now(),
        -- How far the removal is: all collections before `collection` are done, and in that one
        -- all records up to the id in `record`.
        collection text,
        record uuid,
        deleted bigint NOT NULL DEFAULT 0,
        finished_at timestamptz
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
