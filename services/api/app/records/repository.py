"""Runs the SQL of records, and raises problems for errors in the data or the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import asyncpg

from app.collections import repository as collections
from app.collections.errors import CollectionNotFound
from app.collections.models import CACHE_KINDS
from app.core.actor import SYSTEM
from app.db.pool.budget import room
from app.observability.metrics import EVENTS_PUBLISHED
from app.records import sizes
from app.records.errors import DefinitionChanged, IndexedValueTooLong, not_unique
from app.records.sql.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.collections.declared_index import Index
    from app.collections.models import Collection
    from app.db.session import Session
    from app.records.access import Access
    from app.records.sizes import Size
    from app.records.sql.statement import JointStatement, Statement

# (version, the record's head, its own fields), see `text.rendered`
Row = tuple[int, str, str]


class Faults:
    """Turns errors of a statement into problems; only writes name the collection."""

    __slots__ = ("_written",)

    def __init__(self, written: Collection | None = None) -> None:
        self._written = written

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, asyncpg.ProgramLimitExceededError):
            raise IndexedValueTooLong from error
        if isinstance(error, asyncpg.UndefinedTableError):
            raise CollectionNotFound from error
        if isinstance(error, asyncpg.UniqueViolationError) and self._written is not None:
            indexes = self._written.unique_indexes
            # None, if the index is of another definition.
            raise not_unique(
                index for index in indexes if index.name == error.constraint_name
            ) from error


faults = Faults()


async def read(access: Access, id_: UUID) -> Row | None:
    session, collection, statement = access.session, access.collection, access.statements.read
    args = statement.args(access.actor, id_)
    if sizes.memory_to_read(statement.sql, collection.largest) > session.budget.share:
        # A small record does not wait, even if the collection has large records.
        small = access.statements.read_small
        least = session.budget.share // 8
        with faults:
            row = await session.fetchrow(small.sql, *small.args(access.actor, id_, least))
        if row is None or row[2] is not None:
            return None if row is None else (row[0], row[1], row[2])
        need = sizes.memory_to_read(statement.sql, min(row[3], collection.largest))
        large: Row | None = await _fetchrow(session, statement.sql, args, need)
        return large
    with faults:
        return await session.fetchrow(statement.sql, *args)


async def read_together(asked: Sequence[tuple[Access, UUID]]) -> list[Row | None]:
    """As `read` for each question; all are about small records of the same definition."""
    return await _records(asked[0][0].statements.read_together, asked)


async def before_together(asked: Sequence[tuple[Access, UUID]]) -> list[Row | None]:
    """As `before` for each question; all are about small records of the same definition."""
    return await _records(asked[0][0].statements.before_together, asked)


async def _records(
    statement: JointStatement, asked: Sequence[tuple[Access, UUID]]
) -> list[Row | None]:
    args = statement.args([each.actor for each, _ in asked], [id_ for _, id_ in asked])
    with faults:
        return _by_number(await asked[0][0].session.fetch(statement.sql, *args), len(asked))


def _by_number(rows: Sequence[Any], asked: int) -> list[Row | None]:
    found = {number: (version, head, data) for number, version, head, data in rows}
    return [found.get(number) for number in range(1, asked + 1)]


async def _fetchrow(session: Session, sql: str, args: Sequence[object], need: int) -> Any:
    with faults:
        async with room(session, need) as within:
            return await within.fetchrow(sql, *args)


async def _write(
    access: Access,
    statement: Statement | JointStatement,
    args: Sequence[object],
    event: str,
    given: Sequence[Size] = (),
    *,
    ids: Sequence[UUID] = (),
) -> Sequence[Any]:
    """The rows of a statement that changes records and writes an event for each of them.

    If there are rows, what is cached of them is invalidated. `given` are the records' new data,
    `ids` those under which a process may know a record.
    """
    session, collection = access.session, access.collection
    cached = []
    if collection.list_cache is not None:
        cached.append(collection.cache_group("list"))
    if collection.record_cache is not None:
        cached += [collection.record_groups(id_)[1] for id_ in ids]
    await announce(access, max((size.weight for size in given), default=0))
    need = sum(size.memory_to_write for size in given)
    need += statement.unpackings * collection.largest * max(1, len(given))
    if sizes.WITHOUT in statement.sql:
        need += sum(size.memory_to_write for size in given)
    with Faults(collection):
        async with room(session, need) as within:
            if not cached:
                rows = await within.fetch(statement.sql, *args)
            else:
                async with within.atomic() as transaction:
                    rows = await transaction.fetch(statement.sql, *args)
                    for group in cached if rows else ():
                        transaction.invalidate(group)
    session.after_commit(lambda: EVENTS_PUBLISHED.labels(event).inc(len(rows)))
    return rows


async def announce(access: Access, weight: int) -> None:
    """Before a record of that weight is written: have all processes know of it."""
    if weight > access.collection.largest:
        await collections.announce(access.session, access.collection, weight)


async def create(access: Access, id_: UUID, data: Size, *, ids: Sequence[UUID] = ()) -> Row | None:
    """The new record; `ids` has the id if the client has chosen it: a process may know the record
    that had the id before."""
    statement, actor = access.statements.create, access.actor
    args = statement.args(actor, id_, data.text, actor.id, access.collection.version)
    rows = await _write(access, statement, args, "record.created", [data], ids=ids)
    return rows[0] if rows else None


async def taken(access: Access, id_: UUID, data: Size) -> list[Index] | None:
    """The unique indexes that have another record with the values of a new record that was not
    created; None if the caller may not create it, or its id is taken."""
    statement, actor = access.statements.taken, access.actor
    args = statement.args(actor, id_, data.text, actor.id)
    need = data.memory_to_write + sizes.memory_to_read(statement.sql, access.collection.largest)
    row = await _fetchrow(access.session, statement.sql, args, need)
    assert row is not None
    free, *found = row
    indexes = access.collection.unique_indexes
    if not free:
        return None
    return [index for index, is_taken in zip(indexes, found, strict=True) if is_taken]


async def find(access: Access, index: Index, data: Size, *, lock: bool) -> UUID | None:
    """The id of the record with the values of the unique index that a new record with this data
    would have. With `lock`, others cannot write the record until the transaction ends. Raises
    NotUnique if the caller may not read the record."""
    statement, actor = access.statements.find[index.name], access.actor
    sql = f"{statement.sql} FOR UPDATE" if lock else statement.sql
    need = data.memory_to_write + sizes.memory_to_read(sql, access.collection.largest)
    args = statement.args(actor, None, data.text, actor.id)
    row = await _fetchrow(access.session, sql, args, need)
    if row is None:
        return None
    id_, is_readable = row
    if not is_readable:
        raise not_unique([index])
    # The driver has a class of its own, which not everything takes for a UUID.
    return UUID(int=id_.int)


async def create_together(asked: Sequence[tuple[Access, UUID, Size]]) -> list[Row | None]:
    """As `create` for each question; all are about new ids and the same definition."""
    access = asked[0][0]
    statement = access.statements.create_together
    actors = [each.actor for each, _, _ in asked]
    args = statement.args(
        actors,
        [id_ for _, id_, _ in asked],
        [data.text for _, _, data in asked],
        [actor.id for actor in actors],
        rest=[access.collection.version],
    )
    sizes_ = [data for _, _, data in asked]
    rows = await _write(access, statement, args, "record.created", sizes_)
    return _by_number(rows, len(asked))


async def create_many(
    access: Access, ids: Sequence[UUID], data: Sequence[Size], *, chosen: Sequence[UUID]
) -> set[UUID]:
    """The ids that were created; those that are missing were refused. `chosen` are those of `ids`
    that the client has chosen, see `create`."""
    statement, actor = access.statements.create_many, access.actor
    texts = [each.text for each in data]
    args = statement.args(actor, ids, texts, actor.id, access.collection.version)
    rows = await _write(access, statement, args, "record.created", data, ids=chosen)
    return {row["id"] for row in rows}


async def replace(access: Access, id_: UUID, data: Size, version: int | None) -> Row | None:
    """The record with that data; a record that has the data already stays as it was."""
    row = await replace_locked(access, id_, data, version)
    return row or await unchanged(access, id_, data, version)


async def replace_locked(access: Access, id_: UUID, data: Size, version: int | None) -> Row | None:
    """The record with that data, once other transactions have ended. None if that changes nothing,
    or the caller may not."""
    return await _replace(access, access.statements.replace, id_, data, version)


async def replace_free(access: Access, id_: UUID, data: Size, version: int | None) -> Row | None:
    """The record with that data. None where `replace_locked` may still succeed: this waits for
    no other transaction."""
    return await _replace(access, access.statements.replace_free, id_, data, version)


async def _replace(
    access: Access, statement: Statement, id_: UUID, data: Size, version: int | None
) -> Row | None:
    actor = access.actor
    args = statement.args(actor, id_, data.text, version, access.collection.version, actor.id)
    rows = await _write(access, statement, args, "record.updated", [data], ids=[id_])
    return rows[0] if rows else None


async def replace_together(
    asked: Sequence[tuple[Access, UUID, Size, int | None]],
) -> list[Row | None]:
    """As `replace_free` for each question; all are about the same definition."""
    access = asked[0][0]
    statement = access.statements.replace_together
    actors = [each.actor for each, *_ in asked]
    data = [size for _, _, size, _ in asked]
    args = statement.args(
        actors,
        [id_ for _, id_, _, _ in asked],
        [size.text for size in data],
        [version for *_, version in asked],
        [actor.id for actor in actors],
        rest=[access.collection.version],
    )
    rows = await _write(access, statement, args, "record.updated", data)
    return _by_number(rows, len(asked))


async def unchanged(access: Access, id_: UUID, data: Size, version: int | None) -> Row | None:
    """The record, if it has that data already and the caller may replace it.

    None where records have hidden fields, whose values the answer would confirm.
    """
    if access.collection.annotations.write_only:
        return None
    statement = access.statements.unchanged
    need = sizes.memory_to_read(statement.sql, access.collection.largest) + data.memory_to_write
    args = statement.args(access.actor, id_, data.text, version)
    row: Row | None = await _fetchrow(access.session, statement.sql, args, need)
    if row is not None:
        await access.settle()
    return row


async def before(access: Access, id_: UUID) -> Row | None:
    """The record, if the caller may change it."""
    statement = access.statements.before
    need = sizes.memory_to_read(statement.sql, access.collection.largest)
    args = statement.args(access.actor, id_)
    row: Row | None = await _fetchrow(access.session, statement.sql, args, need)
    return row


async def lock(access: Access, *, updated: Sequence[UUID], deleted: Sequence[UUID]) -> None:
    """Lock these records against other writers until the transaction ends, in the order of ids."""
    statement = access.statements.lock
    with faults:
        await access.session.execute(statement.sql, *statement.args(access.actor, updated, deleted))


async def lock_creation(access: Access, *, alone: bool) -> None:
    """Keep other batches from creating records under given ids while they and this batch could
    wait for each other's ids."""
    how = "" if alone else "_shared"
    await access.session.execute(
        f"SELECT pg_advisory_xact_lock{how}(hashtextextended('creation:' || $1, 0))",
        str(access.collection.id),
    )


async def delete(access: Access, id_: UUID, version: int | None) -> bool:
    statement, actor = access.statements.delete, access.actor
    args = statement.args(actor, id_, version, actor.id, access.collection.version)
    return bool(await _write(access, statement, args, "record.deleted", ids=[id_]))


class Part(NamedTuple):
    """A part of a removal: the numbers of records seen and deleted, and the last record's id."""

    seen: int
    deleted: int
    last: UUID | None


async def delete_owned(
    access: Access, owner: UUID, *, after: UUID | None, size: int
) -> Part | None:
    """Delete the owner's records among the `size` records after that id, whatever the rules say.

    None if the definition has changed; then all records stay.
    """
    session, collection = access.session, access.collection
    statement = statements_of(collection, SYSTEM).delete_owned
    with faults:
        async with session.atomic() as transaction:
            row = await transaction.fetchrow(
                statement.sql, owner, after, size, collection.version, access.actor.id
            )
            assert row is not None
            part = Part(row["seen"], row["deleted"], row["last"])
            for kind in CACHE_KINDS if part.deleted else ():
                if collection.definition.caches(kind):
                    transaction.invalidate(collection.cache_group(kind))
    session.after_commit(lambda: EVENTS_PUBLISHED.labels("record.deleted").inc(part.deleted))
    return part if row["current"] else None


async def visible_version(access: Access, id_: UUID) -> int | None:
    """The version of a record that the caller may read, else None."""
    statement = access.statements.visible_version
    with faults:
        version: int | None = await access.session.fetchval(
            statement.sql, *statement.args(access.actor, id_)
        )
    return version


async def lock_definition(access: Access) -> None:
    """Keep the definition as it is until the transaction ends. Raises DefinitionChanged (409)."""
    version = await access.session.fetchval(
        "SELECT version FROM listo.collections WHERE id = $1 FOR SHARE", access.collection.id
    )
    if version != access.collection.version:
        raise DefinitionChanged


async def definition_version(access: Access) -> int | None:
    version: int | None = await access.session.fetchval(
        "SELECT version FROM listo.collections WHERE id = $1", access.collection.id
    )
    return version
