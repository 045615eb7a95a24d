"""The SQL of collections: their definitions, and the tables and indexes that hold their records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from app.collections.declared_search import SearchIndex, SearchSpec
from app.collections.models import LARGEST, TOPIC, Collection, Definition
from app.db.pool.budget import room
from app.db.pool.long import NAME as LONG
from app.db.session import affected
from app.filters.paths import sql_literal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from asyncpg import Connection, Record

    from app.collections.declared_index import Buildable
    from app.db.session import Session

# A collection's name is checked before it gets here; quoting is for words that SQL reserves.
# Indexes, the primary key's too, have names that no collection can have.
_TABLE = """
CREATE TABLE records."{name}" (
    id uuid CONSTRAINT "{name}$id" PRIMARY KEY,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    owner uuid,
    head text NOT NULL GENERATED ALWAYS AS (
        listo.record_head(id, version, created_at, updated_at, owner)
    ) STORED,
    data jsonb NOT NULL
)
"""


class BuiltIndex(NamedTuple):
    """An existing index; `fault` is why it is invalid, if that is known."""

    valid: bool
    unique: bool
    fault: str | None


# The application_name of index builders in pg_stat_activity.
BUILDER = "listo-indexes"

# Cancels index builders that hold the tables' locks; builders can start again. Reports whether a
# holder is PostgreSQL's own vacuum, which PostgreSQL cancels; its process has no user.
_MAKE_WAY = """
SELECT coalesce(bool_or(a.usesysid IS NULL), false) AS vacuum,
       count(pg_cancel_backend(l.pid)) FILTER (
           WHERE a.application_name = $2 AND a.usesysid = current_user::regrole)
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.granted AND l.mode = 'ShareUpdateExclusiveLock' AND l.relation = ANY ($1::regclass[])
"""

# The maximum number of groups of duplicates that a fault names.
_SHOWN_DUPLICATES = 5
# A session between two fetches has no statement that could be cancelled.
_END_EXPORTS = """
SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.granted AND l.relation = $1::regclass AND a.application_name = $2
   AND a.usesysid = current_user::regrole
"""
_AT_A_TIME = 500
_BYTES_AT_A_TIME = 8 << 20
# A table that only gets new rows: with updates, writers of records would wait for each other.
_LARGEST = "(SELECT max(bytes) FROM listo.record_sizes WHERE collection = collections.id)"
# Absent from some tables that an earlier version made, see docs/decisions/0024.
_STORES_HEAD = (
    "EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(format('records.%I', name))"
    " AND attname = 'head' AND NOT attisdropped)"
)
_COLUMNS = (
    f"id, name, version, definition, created_at, updated_at, {_LARGEST} AS largest,"
    f" {_STORES_HEAD} AS stores_head"
)


def table(name: str) -> str:
    return f'records."{name}"'


async def get(session: Session, name: str) -> Collection | None:
    row = await session.fetchrow(f"SELECT {_COLUMNS} FROM listo.collections WHERE name = $1", name)
    return None if row is None else _collection(row)


async def get_all(session: Session) -> list[Collection]:
    rows = await session.fetch(f"SELECT {_COLUMNS} FROM listo.collections ORDER BY name")
    return [_collection(row) for row in rows]


async def first_collection_after(
    session: Session, after: str | None, *, inclusive: bool
) -> Collection | None:
    """The first collection by name whose name is above `after`, or equal to it if `inclusive`."""
    row = await session.fetchrow(
        f"SELECT {_COLUMNS} FROM listo.collections WHERE $1::text IS NULL OR name > $1"
        " OR ($2 AND name = $1) ORDER BY name LIMIT 1",
        after,
        inclusive,
    )
    return None if row is None else _collection(row)


async def try_lock_name(session: Session, name: str) -> bool:
    """Try the lock that changes of a collection take, also before the collection exists."""
    locked: bool = await session.fetchval(
        "SELECT pg_try_advisory_xact_lock(hashtextextended('collection:' || $1, 0))", name
    )
    return locked


async def insert(session: Session, id_: UUID, name: str, definition: Definition) -> Collection:
    await session.execute(_TABLE.format(name=name))
    row = await session.fetchrow(
        "INSERT INTO listo.collections (id, name, definition) VALUES ($1, $2, $3)"
        f" RETURNING {_COLUMNS}",
        id_,
        name,
        definition.dump(),
    )
    assert row is not None
    return _collection(row)


async def update(session: Session, id_: UUID, definition: Definition) -> Collection:
    row = await session.fetchrow(
        "UPDATE listo.collections SET definition = $2, version = version + 1, updated_at = now()"
        f" WHERE id = $1 RETURNING {_COLUMNS}",
        id_,
        definition.dump(),
    )
    assert row is not None
    return _collection(row)


async def announce(session: Session, collection: Collection, size: int) -> None:
    """Tell every process that records may have `size` bytes, before such a record exists."""
    status = await session.execute(
        "INSERT INTO listo.record_sizes (collection, bytes) SELECT $1, $2 WHERE NOT EXISTS"
        " (SELECT FROM listo.record_sizes WHERE collection = $1 AND bytes >= $2)",
        collection.id,
        1 << (size - 1).bit_length(),
    )
    if affected(status):
        await session.notify(TOPIC, collection.name)


async def delete(session: Session, collection: Collection) -> None:
    await session.execute("DELETE FROM listo.collections WHERE id = $1", collection.id)
    await session.execute("DELETE FROM listo.record_sizes WHERE collection = $1", collection.id)
    await session.execute(
        "DELETE FROM listo.search_indexes WHERE starts_with(name, $1)", f"{collection.name}$"
    )
    await session.execute(f"DROP TABLE {table(collection.name)}")


async def block_writes(session: Session, names: Sequence[str]) -> None:
    tables = ", ".join(map(table, names))
    await session.execute(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE")


async def block_reads(session: Session, name: str) -> None:
    await session.execute(f"LOCK TABLE {table(name)}")


async def make_way(session: Session, names: Sequence[str]) -> bool:
    """Cancel index builds on these tables; returns whether PostgreSQL's own vacuum works on any."""
    row = await session.fetchrow(_MAKE_WAY, [table(name) for name in names], BUILDER)
    return row is not None and row["vacuum"]


async def end_exports(session: Session, name: str) -> None:
    """End the sessions of long work that read the table."""
    await session.execute(_END_EXPORTS, table(name), LONG)


async def oldest_in_progress(session: Session) -> str:
    """The oldest transaction in progress: its changes and later changes may still be invisible."""
    oldest: str = await session.fetchval(
        "SELECT pg_snapshot_xmin(pg_current_snapshot())::xid::text"
    )
    return oldest


async def records(
    session: Session, collection: Collection, since: str | None
) -> AsyncIterator[Sequence[Record]]:
    """All records of a collection as (id, data as text), in batches, ordered by id. With `since`,
    at least the records that this transaction or later transactions wrote."""
    after = None
    some = max(1, min(_AT_A_TIME, _BYTES_AT_A_TIME // collection.largest))
    while True:
        async with room(session, 4 * collection.largest) as within:
            # A frozen record can seem to have any age, and is then read once more.
            rows = await within.fetch(
                f"SELECT id, data FROM {table(collection.name)}"
                " WHERE ($1::uuid IS NULL OR id > $1)"
                " AND ($3::text IS NULL OR age(xmin) <= age($3::text::xid)) ORDER BY id LIMIT $2",
                after,
                some,
                since,
            )
        if not rows:
            return
        yield rows
        after = rows[-1]["id"]


async def indexes(session: Session, name: str | None = None) -> dict[str, BuiltIndex]:
    """The declared indexes that exist, of one collection or of all."""
    rows = await session.fetch(
        "SELECT c.relname, i.indisvalid, i.indisunique, obj_description(c.oid, 'pg_class') AS fault"
        " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE c.relnamespace = 'records'::regnamespace AND NOT i.indisprimary"
        " AND ($1::text IS NULL OR i.indrelid = to_regclass($1))",
        None if name is None else table(name),
    )
    return {
        row["relname"]: BuiltIndex(row["indisvalid"], row["indisunique"], row["fault"])
        for row in rows
    }


async def indexes_in_progress(session: Session) -> dict[str, float | None]:
    """The indexes that are being built, with the share of the table that was read, 0 to 1."""
    rows = await session.fetch(
        "SELECT c.relname, p.blocks_done::float8 / nullif(p.blocks_total, 0) AS share"
        " FROM pg_stat_progress_create_index p JOIN pg_class c ON c.oid = p.index_relid"
    )
    return {row["relname"]: row["share"] for row in rows}


async def keep_search(session: Session, index: SearchIndex) -> None:
    """Remember the settings of a search, by which its index serves until the next is built."""
    await session.execute(
        "INSERT INTO listo.search_indexes (name, settings) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        index.name,
        index.settings(),
    )


async def complete_indexes(session: Session, name: str) -> dict[str, SearchIndex | None]:
    """The collection's indexes that are complete, with the searches that they are known to be of,
    former ones as well. The settings of an earlier version may now mean another index."""
    rows = await session.fetch(
        "SELECT c.relname, s.settings FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " LEFT JOIN listo.search_indexes s ON s.name = c.relname"
        " WHERE i.indisvalid AND i.indrelid = to_regclass($1)",
        table(name),
    )
    complete: dict[str, SearchIndex | None] = {}
    for row in rows:
        index = None
        if row["settings"] is not None:
            index = SearchIndex(name, SearchSpec.from_json(json.loads(row["settings"])))
        is_of = index is not None and index.name == row["relname"]
        complete[row["relname"]] = index if is_of else None
    return complete


async def is_search(session: Session, name: str) -> bool:
    """Whether the index of that name is or was that of a search."""
    found: bool = await session.fetchval(
        "SELECT EXISTS (SELECT FROM listo.search_indexes WHERE name = $1)", name
    )
    return found


async def forget_search(session: Session, name: str) -> None:
    await session.execute("DELETE FROM listo.search_indexes WHERE name = $1", name)


async def try_lock_indexes(connection: Connection[Any], id_: UUID) -> bool:
    locked: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1)", _lock_key(id_))
    return locked


async def create_index(session: Session, collection: str, index: Buildable) -> None:
    """Build the index of a table that other transactions do not see yet."""
    await session.execute(index.create(table(collection), concurrently=False))


async def build_index(connection: Connection[Any], collection: str, index: Buildable) -> str | None:
    """Build while records are read and written. If another try would fail as well, returns the
    fault, which is also kept on the invalid index. Raises UniqueViolationError if another try may
    succeed."""
    # Drop the remains of a cancelled try.
    await drop_index(connection, index.name)
    try:
        await connection.execute(index.create(table(collection), concurrently=True))
    except asyncpg.ProgramLimitExceededError as error:
        fault = str(error.args[0])
    except asyncpg.UniqueViolationError:
        fault = await _duplicates(connection, collection, index)
        # From the second half of its build on, the index would refuse writes all the same. The next
        # try finds the duplicates in its first half.
        if not fault or await _is_maintained(connection, index.name):
            await drop_index(connection, index.name)
            raise
    else:
        return None
    await comment_on_index(connection, index.name, fault)
    return fault


async def comment_on_index(session: Session, name: str, fault: str | None) -> None:
    text = "NULL" if fault is None else sql_literal(fault)
    await session.execute(f'COMMENT ON INDEX records."{name}" IS {text}')


async def _duplicates(connection: Connection[Any], collection: str, index: Buildable) -> str:
    """The first records that have the same unique values; empty if there are none any more."""
    assert index.key is not None
    rows = await connection.fetch(
        "SELECT count(*) AS records, min(id::text) AS one, max(id::text) AS other"
        f" FROM {table(collection)} WHERE {index.key.condition}"
        f" GROUP BY {', '.join(index.key.values)} HAVING count(*) > 1 ORDER BY one LIMIT $1",
        _SHOWN_DUPLICATES,
    )
    same = " and ".join(index.fields)
    return "; ".join(
        f"{row['records']} records have the same {same}, such as {row['one']} and {row['other']}"
        for row in rows
    )


async def _is_maintained(connection: Connection[Any], name: str) -> bool:
    """Whether writes of records go into the index, valid or not."""
    maintained: bool | None = await connection.fetchval(
        "SELECT indisready FROM pg_index WHERE indexrelid = to_regclass($1)", f'records."{name}"'
    )
    return bool(maintained)


async def drop_index(connection: Connection[Any], name: str) -> None:
    await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS records."{name}"')


async def analyze(connection: Connection[Any], name: str) -> None:
    await connection.execute(f"ANALYZE {table(name)}")


def _lock_key(id_: UUID) -> int:
    return int.from_bytes(id_.bytes[-8:], "big", signed=True)


def _collection(row: Record) -> Collection:
    return Collection(
        id=row["id"],
        name=row["name"],
        version=row["version"],
        definition=Definition.from_json(row["definition"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        largest=max(row["largest"] or 0, LARGEST),
        stores_head=row["stores_head"],
    )
