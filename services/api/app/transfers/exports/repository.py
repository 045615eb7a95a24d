"""Reads the records of an export."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import asyncpg

from app.collections.errors import CollectionNotFound
from app.records import sizes
from app.transfers.exports.errors import RecordsTooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from asyncpg import Record

    from app.db.pool.budget import Budget
    from app.db.session import Cursor, ReadSession

# The aims for the rows that are fetched at a time, and the maximum bytes of large ones.
_BYTES = 262_144
_MOST_ROWS = 1000
_MOST_BYTES = 16 << 20
_AT_FIRST = 100


def require_memory(budget: Budget, sql: str, largest: int) -> None:
    """Raises RecordsTooLarge if PostgreSQL's memory does not suffice for the statement."""
    if sizes.memory_to_read(sql, largest) > budget.most:
        raise RecordsTooLarge


async def rows(
    reading: ReadSession,
    sql: str,
    args: Sequence[object],
    largest: int,
    spend: Callable[[float], None],
) -> AsyncGenerator[Sequence[Record], None]:
    """The rows of the statement, some at a time, all as they are when it begins; at least one
    answer, which may be empty. `spend` is told the seconds that PostgreSQL takes.

    Raises CollectionNotFound.
    """
    need, most = sizes.memory_to_read(sql, largest), max(1, _MOST_BYTES // largest)
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
            more = True
            while more:
                fetched = await fetch(cursor, some)
                more = len(fetched) == some
                some = max(1, min(_MOST_ROWS, most, _BYTES * some // max(1, _octets(fetched))))
                for part in _parts(fetched):
                    yield part
    except asyncpg.UndefinedTableError as error:
        raise CollectionNotFound from error


def _octets(rows: Sequence[Record]) -> int:
    # Counts characters: text that is not ASCII has more bytes.
    return sum([len(value) for row in rows for value in row if value is not None])


def _parts(rows: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """The rows in parts of about _BYTES, since each part holds up the event loop."""
    if _octets(rows) <= 2 * _BYTES:
        yield rows
        return
    start, octets = 0, 0
    for number, row in enumerate(rows):
        octets += _octets([row])
        if octets > _BYTES:
            yield rows[start : number + 1]
            start, octets = number + 1, 0
    yield rows[start:]
