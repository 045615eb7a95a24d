"""Runs the SQL of records, and tells the faults that are the data's or the table's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
import orjson

from app.collections.errors import CollectionNotFound
from app.core.actor import SYSTEM
from app.core.metrics import EVENTS_PUBLISHED
from app.records import statements
from app.records.errors import IndexedValueTooLong

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from app.collections.models import Collection
    from app.core.actor import Actor
    from app.db.session import Reading, Session
    from app.records.statements import Statement

# (version, the record as JSON text)
Row = tuple[int, str]


class _Faults:
    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, asyncpg.ProgramLimitExceededError):
            raise IndexedValueTooLong from error
        if isinstance(error, asyncpg.UndefinedTableError):
            raise CollectionNotFound from error


_faults = _Faults()


async def read(session: Session, actor: Actor, collection: Collection, id_: UUID) -> Row | None:
    statement = statements.of(collection).get("read", actor)
    with _faults:
        return await session.fetchrow(statement.sql, *statement.args(actor, id_))


async def _write(
    session: Session,
    collection: Collection,
    statement: Statement,
    args: Sequence[object],
    event: str,
) -> Sequence[Any]:
    """The rows of a statement that changes records, which wrote an event for each of them.

    If there are any, lists are out of date.
    """
    with _faults:
        if collection.life is None:
            rows = await session.fetch(statement.sql, *args)
        else:
            async with session.atomic() as transaction:
                rows = await transaction.fetch(statement.sql, *args)
                if rows:
                    transaction.outdate(str(collection.id))
    session.after_commit(lambda: EVENTS_PUBLISHED.labels(event).inc(len(rows)))
    return rows


async def create(
    session: Session, actor: Actor, collection: Collection, id_: UUID, data: str
) -> Row | None:
    statement = statements.of(collection).get("create", actor)
    args = statement.args(actor, id_, data, actor.id, collection.version)
    rows = await _write(session, collection, statement, args, "record.created")
    return rows[0] if rows else None


async def create_many(
    session: Session, actor: Actor, collection: Collection, ids: Sequence[UUID], data: Sequence[str]
) -> set[UUID]:
    """The ids that were created; those that are missing were refused."""
    statement = statements.of(collection).get("create_many", actor)
    args = statement.args(actor, ids, data, actor.id, collection.version)
    rows = await _write(session, collection, statement, args, "record.created")
    return {row["id"] for row in rows}


async def replace(
    session: Session,
    actor: Actor,
    collection: Collection,
    id_: UUID,
    data: str,
    version: int | None,
) -> Row | None:
    statement = statements.of(collection).get("replace", actor)
    args = statement.args(actor, id_, data, version, collection.version, actor.id)
    rows = await _write(session, collection, statement, args, "record.updated")
    return rows[0] if rows else None


async def merge(
    session: Session, actor: Actor, collection: Collection, id_: UUID, patch: str
) -> Row | None:
    """The version of the record, and its data as text with `patch` merged in; nothing is kept."""
    statement = statements.of(collection).get("merge", actor)
    with _faults:
        return await session.fetchrow(statement.sql, *statement.args(actor, id_, patch))


async def delete(
    session: Session, actor: Actor, collection: Collection, id_: UUID, version: int | None
) -> bool:
    statement = statements.of(collection).get("delete", actor)
    args = statement.args(actor, id_, version, actor.id, collection.version)
    return bool(await _write(session, collection, statement, args, "record.deleted"))


class Part(NamedTuple):
    """Of a walk over records: how many were looked at and deleted, and the last one's id."""

    seen: int
    deleted: int
    last: UUID | None


async def delete_owned(
    session: Session,
    actor: Actor,
    collection: Collection,
    owner: UUID,
    *,
    after: UUID | None,
    size: int,
) -> Part | None:
    """Delete what is the owner's of the `size` records after that id, whatever the rules say.

    None where the definition has changed, and nothing was done.
    """
    statement = statements.of(collection).get("delete_owned", SYSTEM)
    with _faults:
        async with session.atomic() as transaction:
            row = await transaction.fetchrow(
                statement.sql, owner, after, size, collection.version, actor.id
            )
            assert row is not None
            part = Part(row["seen"], row["deleted"], row["last"])
            if part.deleted and collection.life is not None:
                transaction.outdate(str(collection.id))
    session.after_commit(lambda: EVENTS_PUBLISHED.labels("record.deleted").inc(part.deleted))
    return part if row["current"] else None


async def visible_version(
    session: Session, actor: Actor, collection: Collection, id_: UUID
) -> int | None:
    """The version of a record that the caller may read, else None."""
    statement = statements.of(collection).get("look", actor)
    with _faults:
        version: int | None = await session.fetchval(statement.sql, *statement.args(actor, id_))
    return version


async def definition_version(session: Session, collection: Collection) -> int | None:
    version: int | None = await session.fetchval(
        "SELECT version FROM listo.collections WHERE id = $1", collection.id
    )
    return version


async def page(session: Reading, sql: str, args: Sequence[object]) -> Sequence[Any]:
    with _faults:
        return await session.fetch(sql, *args)


async def estimate(session: Reading, sql: str, args: Sequence[object]) -> int:
    """How many rows the planner expects of `sql`."""
    with _faults:
        plan = await session.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *args)
    return int(orjson.loads(plan)[0]["Plan"]["Plan Rows"])
