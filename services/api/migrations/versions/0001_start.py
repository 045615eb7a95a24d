"""Users, sessions, API keys, collections, events, and the functions that records use."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    "CREATE SCHEMA IF NOT EXISTS records",
    """
    CREATE TABLE listo.users (
        id uuid PRIMARY KEY,
        email text NOT NULL CHECK (email = lower(email)),
        name text,
        password_hash text NOT NULL,
        roles text[] NOT NULL DEFAULT '{member}',
        disabled_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT users_email_key UNIQUE (email)
    )
    """,
    """
    CREATE TABLE listo.sessions (
        id uuid PRIMARY KEY,
        user_id uuid NOT NULL REFERENCES listo.users ON DELETE CASCADE,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        revoked_at timestamptz
    )
    """,
    "CREATE INDEX sessions_user_id ON listo.sessions (user_id)",
    "CREATE INDEX sessions_expires_at ON listo.sessions (expires_at)",
    """
    CREATE TABLE listo.refresh_tokens (
        hash bytea PRIMARY KEY,
        session_id uuid NOT NULL REFERENCES listo.sessions ON DELETE CASCADE,
        created_at timestamptz NOT NULL DEFAULT now(),
        used_at timestamptz
    )
    """,
    "CREATE INDEX refresh_tokens_session_id ON listo.refresh_tokens (session_id)",
    """
    CREATE INDEX refresh_tokens_used_at ON listo.refresh_tokens (used_at)
        WHERE used_at IS NOT NULL
    """,
    """
    CREATE TABLE listo.api_keys (
        id uuid PRIMARY KEY,
        user_id uuid NOT NULL REFERENCES listo.users ON DELETE CASCADE,
        name text NOT NULL,
        prefix text NOT NULL,
        hash bytea NOT NULL,
        scopes text[] NOT NULL,
        collections text[],
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz,
        last_used_at timestamptz,
        CONSTRAINT api_keys_hash_key UNIQUE (hash)
    )
    """,
    "CREATE INDEX api_keys_user_id ON listo.api_keys (user_id)",
    """
    CREATE TABLE listo.collections (
        id uuid PRIMARY KEY,
        name text NOT NULL,
        version bigint NOT NULL DEFAULT 1,
        -- json, not jsonb: the order of a schema's properties is kept for its readers.
        definition json NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT collections_name_key UNIQUE (name)
    )
    """,
    """
    CREATE TABLE listo.events (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        type text NOT NULL,
        collection text,
        subject uuid,
        version bigint,
        actor uuid,
        occurred_at timestamptz NOT NULL DEFAULT now(),
        data jsonb
    )
    """,
    # Events come in the order of time, so a BRIN index of a few pages serves the purge.
    "CREATE INDEX events_occurred_at ON listo.events USING brin (occurred_at)",
    """
    CREATE FUNCTION listo.rfc3339(t timestamptz) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    """,
    # JSON Merge Patch (RFC 7396, section 2), on jsonb so that numbers stay exact.
    """
    CREATE FUNCTION listo.merge_patch(target jsonb, patch jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    BEGIN
        IF jsonb_typeof(patch) <> 'object' THEN
            RETURN patch;
        END IF;
        -- Aggregates all members at once: adding each by itself would copy the object each time.
        RETURN coalesce((
            SELECT jsonb_object_agg(key, CASE
                WHEN p.value IS NULL THEN t.value
                WHEN jsonb_typeof(p.value) = 'object' THEN listo.merge_patch(t.value, p.value)
                ELSE p.value
            END)
            FROM jsonb_each(
                CASE WHEN jsonb_typeof(target) = 'object' THEN target ELSE '{}' END
            ) AS t FULL JOIN jsonb_each(patch) AS p USING (key)
            WHERE p.value IS DISTINCT FROM 'null'
        ), '{}');
    END
    $$
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
