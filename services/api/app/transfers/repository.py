"""Reads the records of an export."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import asyncpg

from app.collections.errors import CollectionNotFound
from app.core.errors import ServiceUnavailable
from app.records import sizes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from asyncpg import Record

    from app.db.session import Cursor, ReadSession

# The aims for the rows that are fetched at a time, and the maximum bytes of large ones.
_BYTES = 262_144
_MOST_ROWS = 1000
_MOST_BYTES = 16 << 20
_AT_FIRST = 100


class RecordsTooLarge(ServiceUnavailable):
    """The collection has records so large that the server's memory is too small to export them."""

    code = "records_too_large"


async def rows(
    reading: ReadSession,
    sql: str,
    args: Sequence[object],
    largest: int,
    spend: Callable[[float], None],
) -> AsyncGenerator[Sequence[Record], None]:
    """The rows of the statement, some at a time, all as they are when it begins; at least one
    answer, which may be empty. `spend` is told the seconds that PostgreSQL takes.

    Raises RecordsTooLarge, and CollectionNotFound.
    """
    need, most = sizes.memory_to_read(sql, largest), max(1, _MOST_BYTES // largest)
    if need > reading.budget.most:
        raise RecordsTooLarge
    some = min(_AT_FIRST, most)

    async def fetch(cursor: Cursor, number: int) -> Sequence[Record]:
        # Memory is held while PostgreSQL works, not while the client reads.
        async with reading.budget.take(need):
            began = time.monotonic()
            try:
                return await cursor.fetch(number)
            finally:
                spend(time.monotonic() - began)

    try:
        async with reading.open_cursor(sql, *args, lock=None) as cursor:
            fetched = await fetch(cursor, some)
            yield fetched
            while len(fetched) == some:
                octets = sum([len(value) for row in fetched for value in row if value is not None])
                some = max(1, min(_MOST_ROWS, most, _BYTES * some // max(1, octets)))
                fetched = await fetch(cursor, some)
                yield fetched
    except asyncpg.UndefinedTableError as error:
        raise CollectionNotFound from error
