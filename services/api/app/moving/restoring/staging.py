"""Tables that hold a dump's lines within the transaction that restores them.

They are tables of the schema of records, under names that no collection has: the role of the API
makes tables nowhere else. Nobody else sees them, and the transaction drops them.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from app.moving.lines import RECORD_COLUMNS

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from app.db.database import Transaction

_SCHEMA = "records"
_RECORDS = (
    "id uuid, version bigint, created_at timestamptz, updated_at timestamptz, owner uuid,"
    " data jsonb"
)
# `present` is the user or key that is the same one here.
_LINES = "id uuid, line jsonb, present uuid"
_LINE_COLUMNS = ("id", "line")


@asynccontextmanager
async def records(session: Transaction, rows: AsyncIterable[bytes]) -> AsyncIterator[str]:
    """The name of a table of the records, quoted, which lasts as long as the block."""
    async with _table(session, _RECORDS, RECORD_COLUMNS, rows) as name:
        yield name


@asynccontextmanager
async def lines(session: Transaction, rows: AsyncIterable[bytes]) -> AsyncIterator[str]:
    """The name of a table of users or keys, each with its whole line, as `records`."""
    async with _table(session, _LINES, _LINE_COLUMNS, rows) as name:
        yield name


@asynccontextmanager
async def _table(
    session: Transaction, columns: str, copied: tuple[str, ...], rows: AsyncIterable[bytes]
) -> AsyncIterator[str]:
    name = f"${uuid4().hex}"
    table = f'{_SCHEMA}."{name}"'
    await session.execute(f"CREATE UNLOGGED TABLE {table} ({columns})")
    await session.copy_in(_SCHEMA, name, copied, rows)
    await session.execute(f"ANALYZE {table}")
    yield table
    # After an error the transaction is rolled back, and the table with it.
    await session.execute(f"DROP TABLE {table}")
