"""The rights of the role of the API and the worker, where another role owns the schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

# Runs in one transaction after every migration, so later tables are included. The REVOKE takes back
# a part of what "ALL TABLES" granted.
_GRANTS = """
GRANT USAGE ON SCHEMA listo TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA listo TO {role};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA listo TO {role};
REVOKE INSERT, UPDATE, DELETE ON listo.migrations FROM {role};
GRANT USAGE, CREATE ON SCHEMA records TO {role};
"""

# Imports stage files in temporary tables, which every role may make unless somebody forbade it.
_MAY_STAGE = "SELECT has_database_privilege($1, current_database(), 'TEMPORARY')"
_LET_STAGE = "SELECT format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), $1::text)"

# Tables that another role owns, because that role served the database or ran a migration.
_NOT_ITS_OWN = """
SELECT format('ALTER TABLE %s OWNER TO %I', c.oid::regclass, $1::text)
  FROM pg_class c
 WHERE c.relnamespace = 'records'::regnamespace AND c.relkind IN ('r', 'p')
   AND c.relowner <> $1::text::regrole
"""


class NoSuchRole(Exception):
    """The role that is to get rights does not exist."""


async def grant(connection: asyncpg.Connection[Any], role: str) -> None:
    """Let `role` read and write the static tables, and own the tables of collections.

    Idempotent. Nothing happens if `role` is the connected role. Raises NoSuchRole.
    """
    quoted = await connection.fetchval(
        "SELECT quote_ident(rolname) FROM pg_roles WHERE rolname = $1", role
    )
    if quoted is None:
        raise NoSuchRole(f"DATABASE_APP_ROLE={role}: the database has no such role.")
    if role == await connection.fetchval("SELECT current_user"):
        return
    async with connection.transaction():
        await connection.execute(_GRANTS.format(role=quoted))
        if not await connection.fetchval(_MAY_STAGE, role):
            await connection.execute(await connection.fetchval(_LET_STAGE, role))
    # Each statement commits by itself, so that a wait for one table holds no lock of another.
    for row in await connection.fetch(_NOT_ITS_OWN, role):
        await connection.execute(row[0])
