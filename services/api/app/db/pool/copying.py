"""COPY of lines that need no escapes: a column is JSON, or a word without control characters.

A text of JSON holds no control character, so two of these can end columns and quote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpg import Connection

SEPARATOR = b"\x02"
FORM = {"format": "csv", "delimiter": SEPARATOR.decode(), "quote": "\x01"}


async def copy_out(connection: Connection[Any], query: str, put: Callable[[bytes], object]) -> None:
    """Put the rows of the query, some whole lines at a time, in flat memory."""
    rest = b""

    async def take(part: bytes) -> None:
        nonlocal rest
        lines, end, rest = (rest + part).rpartition(b"\n")
        if end:
            put(lines + end)

    await connection.copy_from_query(query, output=take, **FORM)
