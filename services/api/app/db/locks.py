"""Duties that one process at a time may do."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.db.database import Database


@asynccontextmanager
async def duty(database: Database, name: str) -> AsyncIterator[bool]:
    """Whether the duty is ours for the block. PostgreSQL frees it when our connection ends."""
    key = int.from_bytes(
        hashlib.sha256(f"listo duty {name}".encode()).digest()[:8], "big", signed=True
    )
    async with database.connection() as connection:
        mine: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1)", key)
        try:
            yield mine
        finally:
            if mine:
                await connection.execute("SELECT pg_advisory_unlock($1)", key)
