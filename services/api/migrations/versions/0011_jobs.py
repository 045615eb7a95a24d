"""Jobs: long work with its progress, its files, and what undoing it takes."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE listo.jobs (
        id uuid PRIMARY KEY,
        kind text NOT NULL,
        collection text NOT NULL,
        -- The collection's id: another one may take its name.
        collection_id uuid NOT NULL,
        user_id uuid REFERENCES listo.users ON DELETE CASCADE,
        -- The rights of the API key that asked for it, if any.
        api_key_id uuid,
        parameters jsonb NOT NULL,
        state text NOT NULL,
        -- Counts how often a worker took it up, so that a former worker's late write is refused.
        attempt integer NOT NULL DEFAULT 0,
        lost integer NOT NULL DEFAULT 0,
        cancel_requested boolean NOT NULL DEFAULT false,
        progress jsonb NOT NULL DEFAULT '{}',
        result jsonb,
        problem jsonb,
        -- The digests of the idempotency key and of the request that it was sent with.
        key bytea UNIQUE,
        digest bytea,
        created_at timestamptz NOT NULL DEFAULT now(),
        started_at timestamptz,
        finished_at timestamptz
    )
    """,
    "CREATE INDEX jobs_unfinished ON listo.jobs (created_at) WHERE finished_at IS NULL",
    "CREATE INDEX jobs_finished ON listo.jobs (finished_at) WHERE finished_at IS NOT NULL",
    """
    CREATE TABLE listo.job_files (
        job uuid NOT NULL REFERENCES listo.jobs ON DELETE CASCADE,
        name text NOT NULL,
        number integer NOT NULL,
        start bigint NOT NULL,
        bytes bytea NOT NULL,
        PRIMARY KEY (job, name, number)
    )
    """,
    # Most parts are compressed already, and a part of one is read by its place.
    "ALTER TABLE listo.job_files ALTER COLUMN bytes SET STORAGE EXTERNAL",
    """
    CREATE TABLE listo.import_changes (
        job uuid NOT NULL,
        record uuid NOT NULL,
        -- Both tell whether the record is as the import left it.
        version bigint NOT NULL,
        updated_at timestamptz NOT NULL,
        -- The data before, null for a record that was inserted.
        before jsonb
    )
    """,
    "CREATE INDEX import_changes_job ON listo.import_changes (job)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
