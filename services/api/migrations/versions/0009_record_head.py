"""The head of each record's JSON as a stored column, so that reads do not build it anew.

The column comes to small tables alone: their rewrite holds a strong lock for a moment. Statements
on other tables go on building heads.
"""

from alembic import op
from asyncpg import LockNotAvailableError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Rewritten in well below a second.
_SMALL = "16 MB"

# `to_char` is stable, since some patterns depend on the locale; this pattern does not. PostgreSQL
# runs functions in PL/pgSQL faster than those in SQL that cannot be inlined.
_FUNCTION = """
    CREATE OR REPLACE FUNCTION listo.record_head(
        id uuid, version bigint, created_at timestamptz, updated_at timestamptz, owner uuid
    ) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    DECLARE
        pattern CONSTANT text := 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"';
    BEGIN
        RETURN '{"id":"' || id || '","version":' || version
            || ',"created_at":"' || to_char(created_at AT TIME ZONE 'UTC', pattern)
            || '","updated_at":"' || to_char(updated_at AT TIME ZONE 'UTC', pattern)
            || '","owner":' || coalesce('"' || owner || '"', 'null');
    END
    $$
"""
_TABLES = """
    SELECT format('records.%I', name) FROM listo.collections
    WHERE pg_total_relation_size(to_regclass(format('records.%I', name))) <= pg_size_bytes(:small)
      AND NOT EXISTS (
          SELECT FROM pg_attribute
          WHERE attrelid = to_regclass(format('records.%I', name)) AND attname = 'head'
      )
"""
_COLUMN = """
    ALTER TABLE IF EXISTS {table} ADD COLUMN IF NOT EXISTS head text NOT NULL GENERATED ALWAYS AS (
        listo.record_head(id, version, created_at, updated_at, owner)
    ) STORED
"""


def upgrade() -> None:
    op.execute(_FUNCTION)
    # One table at a time, so that a wait for one holds no lock of another.
    with op.get_context().autocommit_block():
        tables = op.get_bind().execute(text(_TABLES), {"small": _SMALL}).scalars().all()
        for table in tables:
            try:
                op.execute(_COLUMN.format(table=table))
            except DBAPIError as error:
                # A table that others hold stays as it is, like a large one.
                if not isinstance(getattr(error.orig, "__cause__", None), LockNotAvailableError):
                    raise
