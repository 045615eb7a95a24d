"""A project as it is at one moment, read in one transaction."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from app.collections import repository as collections
from app.collections.errors import CollectionBusy
from app.db.pool import copying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from asyncpg import Connection

    from app.collections.models import Collection
    from app.db.database import Database

# The application_name of the session.
NAME = "listo-dump"
_SETTINGS = {
    "application_name": NAME,
    "statement_timeout": "0",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
}
# Others may make and delete collections between a look at their names and the locks on them.
_TRIES = 20

# Records of deleted users are left out where the worker has not deleted them yet.
_RECORDS = """
SELECT {head}, data FROM {table} AS r WHERE NOT EXISTS (
    SELECT FROM listo.removals WHERE user_id = r.owner AND finished_at IS NULL
) ORDER BY id
"""
_HEAD = "listo.record_head(id, version, created_at, updated_at, owner)"
_USERS = """
SELECT json_build_object(
    'id', id, 'email', email, 'name', name, 'roles', roles, 'password_hash', password_hash,
    'disabled_at', listo.rfc3339(disabled_at), 'created_at', listo.rfc3339(created_at),
    'updated_at', listo.rfc3339(updated_at))
  FROM listo.users ORDER BY id
"""
_API_KEYS = """
SELECT json_build_object(
    'id', id, 'user_id', user_id, 'name', name, 'prefix', prefix, 'hash', encode(hash, 'hex'),
    'scopes', scopes, 'collections', collections, 'rate_limit', rate_limit,
    'created_at', listo.rfc3339(created_at), 'expires_at', listo.rfc3339(expires_at),
    'last_used_at', listo.rfc3339(last_used_at))
  FROM listo.api_keys ORDER BY id
"""
_ESTIMATE = """
SELECT coalesce(sum(c.reltuples) FILTER (WHERE c.reltuples > 0), 0)::bigint
  FROM pg_class c WHERE c.oid = ANY ($1::regclass[])
"""


class Snapshot:
    """All collections, with their records, and all users and keys, as of `moment`."""

    def __init__(
        self, connection: Connection[Any], moment: datetime, found: list[Collection]
    ) -> None:
        self._connection = connection
        self.moment = moment
        self.collections = found

    async def estimate(self) -> int:
        """About how many records there are."""
        tables = [collections.table(each.name) for each in self.collections]
        count: int = await self._connection.fetchval(_ESTIMATE, tables)
        return count

    async def records(self, collection: Collection, put: Callable[[bytes], object]) -> None:
        """Put the records in the order of their ids, each as the API gives it, hidden fields
        included, in a line of its own."""

        def join(lines: bytes) -> None:
            # As `records.text.rendered` does, for all lines at once.
            whole = lines.replace(copying.SEPARATOR + b"{}\n", b"}\n")
            put(whole.replace(copying.SEPARATOR + b"{", b","))

        query = _RECORDS.format(
            head="head" if collection.stores_head else _HEAD,
            table=collections.table(collection.name),
        )
        await copying.copy_out(self._connection, query, join)

    async def users(self, put: Callable[[bytes], object]) -> None:
        await copying.copy_out(self._connection, _USERS, put)

    async def api_keys(self, put: Callable[[bytes], object]) -> None:
        await copying.copy_out(self._connection, _API_KEYS, put)


@asynccontextmanager
async def snapshot(database: Database) -> AsyncIterator[Snapshot]:
    """Until the block ends, collections can be changed but not deleted. Raises CollectionBusy."""
    async with database.connection(**_SETTINGS) as connection:
        for _ in range(_TRIES):
            async with AsyncExitStack() as attempt:
                found = await _begin(connection, attempt)
                if found is not None:
                    async with attempt.pop_all():
                        yield found
                    return
    raise CollectionBusy


async def _begin(connection: Connection[Any], attempt: AsyncExitStack) -> Snapshot | None:
    """None if collections were made or deleted meanwhile."""
    names = {row["name"] for row in await connection.fetch("SELECT name FROM listo.collections")}
    await attempt.enter_async_context(
        connection.transaction(isolation="repeatable_read", readonly=True)
    )
    try:
        # The snapshot is taken by the first query, so after the locks: a table that is deleted
        # between the two would be missing, and one that is made anew would be empty.
        if names:
            tables = ", ".join(map(collections.table, sorted(names)))
            await connection.execute(f"LOCK TABLE {tables} IN ACCESS SHARE MODE")
    except asyncpg.UndefinedTableError:
        return None
    found = sorted(await collections.get_all(connection), key=lambda each: each.name)
    if {each.name for each in found} != names:
        return None
    moment = await connection.fetchval("SELECT statement_timestamp()")
    return Snapshot(connection, moment, found)
