"""The SQL that restores collections and their records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from app.collections import indexes
from app.collections import repository as collections
from app.collections.models import TOPIC
from app.core.ids import uuid7
from app.moving.errors import CannotMove
from app.moving.restoring.conflicts import SHOWN, Rule, refuse
from app.moving.restoring.people import Counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.collections.declared_index import Index
    from app.collections.models import Collection, Definition
    from app.db.database import Transaction
    from app.db.session import Session
    from app.moving.manifest import DumpedCollection

_MORE = SHOWN + 1
_FACTS = "UPDATE listo.collections SET version = $2, created_at = $3, updated_at = $4 WHERE id = $1"
_PRESENT = "SELECT s.id FROM {staged} s JOIN {table} t USING (id) ORDER BY s.id LIMIT {more}"
_INSERT = """
INSERT INTO {table} AS t (id, version, created_at, updated_at, owner, data)
SELECT s.id, s.version, s.created_at, s.updated_at, {owner}, s.data
  FROM {staged} s {users} ORDER BY s.id
"""
_OF_THE_USER_HERE = "LEFT JOIN {users} u ON u.id = s.owner"
# A version above both: a client that knows the version it had here must see the change, and a
# version that it will have stands for no other content.
_REPLACED = """
ON CONFLICT (id) DO UPDATE
   SET version = greatest(t.version + 1, excluded.version), created_at = excluded.created_at,
       updated_at = now(), owner = excluded.owner, data = excluded.data
 WHERE (t.created_at, t.owner) IS DISTINCT FROM (excluded.created_at, excluded.owner)
    OR NOT record_image_eq(ROW(t.data), ROW(excluded.data))
"""
_AFTERWARDS = {
    Rule.FAIL: "",
    Rule.SKIP: "ON CONFLICT (id) DO NOTHING",
    Rule.REPLACE: _REPLACED,
}
_COUNTED = """
WITH written AS ({insert} RETURNING t.xmax = 0 AS is_new)
SELECT count(*) FILTER (WHERE is_new) AS new, count(*) FILTER (WHERE NOT is_new) AS replaced,
       (SELECT count(*) FROM {staged}) AS whole
  FROM written
"""
_DUPLICATES = """
SELECT count(*) AS records, min(id::text) AS one, max(id::text) AS other FROM (
    SELECT id, version, created_at, updated_at, owner, data FROM {staged}
    UNION ALL
    SELECT id, version, created_at, updated_at, owner, data FROM {table} t
     WHERE NOT EXISTS (SELECT FROM {staged} s WHERE s.id = t.id)
) AS records WHERE {condition} GROUP BY {values} HAVING count(*) > 1 ORDER BY one LIMIT {more}
"""


async def make(session: Session, dumped: DumpedCollection, definition: Definition) -> Collection:
    """A new collection of the dump's name, version and times, without its indexes so far."""
    made = await collections.insert(session, uuid7(), dumped.name, definition)
    await session.execute(_FACTS, made.id, dumped.version, dumped.created_at, dumped.updated_at)
    await session.notify(TOPIC, dumped.name)
    found = await collections.get(session, dumped.name)
    assert found is not None
    return found


async def put(
    session: Transaction, collection: Collection, staged: str, users: str | None, rule: Rule
) -> Counts:
    """Put the records of the table `staged` into the collection. With `users`, a table of users,
    owners become the users that they are here. Raises CannotMove."""
    table = collections.table(collection.name)
    if rule is Rule.FAIL:
        sql = _PRESENT.format(staged=staged, table=table, more=_MORE)
        found = [row["id"] for row in await session.fetch(sql)]
        refuse(f"records of {collection.name} are here already", found)
    insert = _INSERT.format(
        table=table,
        staged=staged,
        owner="s.owner" if users is None else "coalesce(u.present, s.owner)",
        users="" if users is None else _OF_THE_USER_HERE.format(users=users),
    )
    counted = _COUNTED.format(insert=insert + _AFTERWARDS[rule], staged=staged)
    try:
        async with session.nested() as attempt:
            row = await attempt.fetchrow(counted)
    except asyncpg.UniqueViolationError as error:
        raise await _not_unique(session, collection, staged, str(error.constraint_name)) from None
    except asyncpg.ProgramLimitExceededError:
        raise CannotMove(
            f"Nothing was done: a value is too long for an index of {collection.name}."
        ) from None
    assert row is not None
    return Counts(row["new"], row["replaced"], row["whole"] - row["new"] - row["replaced"])


async def make_indexes(session: Transaction, collection: Collection, staged: str) -> None:
    """Build the indexes of a new collection that has its records. Raises CannotMove."""
    for index in collection.indexes:
        try:
            async with session.nested() as attempt:
                await collections.create_index(attempt, collection.name, index)
        except asyncpg.UniqueViolationError:
            raise await _not_unique(session, collection, staged, index.name) from None
        except asyncpg.ProgramLimitExceededError:
            raise CannotMove(
                f"Nothing was done: a value is too long for an index of {collection.name}."
            ) from None


async def require_unique_indexes(session: Session, collection: Collection) -> None:
    """Raises IndexNotReady unless all unique indexes of a present collection are complete."""
    for index in collection.unique_indexes:
        await indexes.require_ready(session, collection, index)


async def _not_unique(
    session: Transaction, collection: Collection, staged: str, name: str
) -> CannotMove:
    for index in collection.unique_indexes:
        if index.name == name:
            found = await _duplicates(session, collection, staged, index)
            same = " and ".join(index.spec.fields)
            return CannotMove(
                f"Nothing was done: {collection.name} has records with the same {same}: {found}."
            )
    return CannotMove(f"Nothing was done: others wrote to {collection.name} meanwhile; try again.")


async def _duplicates(
    session: Transaction, collection: Collection, staged: str, index: Index
) -> str:
    assert index.key is not None
    sql = _DUPLICATES.format(
        staged=staged,
        table=collections.table(collection.name),
        condition=index.key.condition,
        values=", ".join(index.key.values),
        more=_MORE,
    )
    rows: Sequence[asyncpg.Record] = await session.fetch(sql)
    return "; ".join(f"{row['one']} and {row['other']}" for row in rows[:SHOWN])
