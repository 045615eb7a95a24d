"""Idempotency keys: the answers to requests that carried one, for a day."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Neither the key nor anything of the answer can be read from a row: `id` and `fingerprint` are
    # digests, `answer` is sealed with a key that only the client's Idempotency-Key leads to.
    """
    CREATE TABLE listo.idempotency_keys (
        id bytea PRIMARY KEY,
        fingerprint bytea NOT NULL,
        status smallint NOT NULL,
        -- What is encrypted cannot be compressed.
        answer bytea STORAGE EXTERNAL NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX idempotency_keys_created_at ON listo.idempotency_keys (created_at)",
    # One round trip, and no error where the key is taken. Each query in here sees the rows that
    # were committed before it began: so the second finds the row for which the lock was held.
    """
    CREATE FUNCTION listo.claim_idempotency_key(key bytea, lock bigint, kept interval)
    RETURNS TABLE (claimed boolean, fingerprint bytea, status smallint, answer bytea)
    LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
        FOR attempt IN 1..2 LOOP
            RETURN QUERY SELECT false, k.fingerprint, k.status, k.answer
              FROM listo.idempotency_keys k WHERE k.id = key AND k.created_at > now() - kept;
            IF FOUND THEN
                RETURN;
            END IF;
            EXIT WHEN attempt = 2;
            IF NOT pg_try_advisory_xact_lock(lock) THEN
                RETURN QUERY SELECT false, NULL::bytea, NULL::smallint, NULL::bytea;
                RETURN;
            END IF;
        END LOOP;
        RETURN QUERY SELECT true, NULL::bytea, NULL::smallint, NULL::bytea;
    END
    $$
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
