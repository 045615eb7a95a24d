"""API keys with a rate limit of their own."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE listo.api_keys ADD COLUMN rate_limit text")
