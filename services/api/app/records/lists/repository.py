"""Reads pages of records, bounded in bytes as well as in records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import orjson

from app.core.errors import InvalidParameter
from app.db.pool.budget import ALONE_LOCK
from app.records import sizes
from app.records.repository import faults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.db.session import Cursor, ReadSession

# The limit of a page's text, which the last record may exceed.
PAGE_BYTES = 4 << 20
# The maximum number of bytes of large records that are fetched at a time.
_BYTES_AT_A_TIME = 16 << 20


async def page(
    session: ReadSession, sql: str, args: Sequence[object], *, limit: int, largest: int
) -> tuple[Sequence[Any], bool]:
    """The rows of a page of records that weigh `largest` at most, and whether the page ended early
    because its text reached PAGE_BYTES."""
    need = sizes.memory_to_read(sql, largest)
    with faults:
        if need <= session.budget.share and limit * largest <= PAGE_BYTES:
            return await session.fetch(sql, *args), False
        async with (
            session.budget.take(need) as alone,
            session.open_cursor(sql, *args, lock=ALONE_LOCK if alone else None) as cursor,
        ):
            return await _filled(cursor, largest)


async def groups(
    session: ReadSession, sql: str, args: Sequence[object], *, limit: int, largest: int
) -> tuple[Sequence[Any], bool]:
    """As `page`, for the groups of an aggregate. Raises InvalidParameter for a time zone that
    PostgreSQL does not know."""
    try:
        return await page(session, sql, args, limit=limit, largest=largest)
    except asyncpg.InvalidParameterValueError as error:
        raise InvalidParameter(f"PostgreSQL refuses a parameter: {error}.") from error


async def _filled(cursor: Cursor, largest: int) -> tuple[Sequence[Any], bool]:
    rows: list[Any] = []
    octets, some = 0, max(1, _BYTES_AT_A_TIME // largest)
    while octets < PAGE_BYTES:
        wanted = min(some, 1 + (PAGE_BYTES - octets) * len(rows) // octets if octets else some)
        fetched = await cursor.fetch(wanted)
        for number, row in enumerate(fetched, 1):
            rows.append(row)
            # Counts characters: text that is not ASCII has more bytes.
            octets += sum(len(value) for value in row if isinstance(value, str))
            if octets >= PAGE_BYTES:
                return rows, number < len(fetched) or bool(await cursor.fetch(1))
        if len(fetched) < wanted:
            break
    return rows, False


async def estimate(session: ReadSession, sql: str, args: Sequence[object]) -> int:
    """How many rows the planner expects of `sql`."""
    with faults:
        plan = await session.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *args)
    return int(orjson.loads(plan)[0]["Plan"]["Plan Rows"])
