"""The pool and its transactions when the network fails at the worst moment."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import asyncpg
import pytest
from asyncpg.transaction import Transaction

from app.core.errors import DatabaseUnavailable, Overloaded
from app.db import database
from app.db.database import Database
from app.db.pool import gate as waiting
from app.db.pool import pooled


def test_a_notification_is_heard_although_the_answer_to_the_commit_was_lost(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    commit = Transaction.commit

    async def lost(self: Any) -> None:
        await commit(self)
        raise asyncpg.ConnectionDoesNotExistError("connection was closed")

    async def run() -> None:
        opened = Database(database_url)
        opened.notifications.subscribe("topic", heard.append, lambda: None)
        await opened.open()
        try:
            async with opened.transaction() as session:
                await session.notify("topic", "changed")
                assert heard == []
        finally:
            await opened.close()

    monkeypatch.setattr(Transaction, "commit", lost)
    with pytest.raises(DatabaseUnavailable):
        asyncio.run(run())
    assert heard == ["changed"]


def test_a_server_that_does_not_answer_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (database, pooled):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = Database(f"postgresql://listo@127.0.0.1:{silent.getsockname()[1]}/listo")
        for connect in (mute.open, mute.connect):
            with pytest.raises(DatabaseUnavailable):
                asyncio.run(connect())


def test_statements_of_strangers_fill_no_connection(database_url: str) -> None:
    """PostgreSQL keeps some 60 times the length of a prepared statement."""

    async def run() -> tuple[int, int]:
        opened = Database(database_url, pool_size=1)
        await opened.open()
        try:
            for length in (1500, 4000):
                for number in range(300):
                    await opened.fetchval(f"SELECT {number:0{length}}")
            ordinary = f"SELECT {1:01500}"
            await opened.fetchval(ordinary)
            row = await opened.fetchrow(
                "SELECT sum(length(statement)), count(*) FILTER (WHERE statement = $1)"
                " FROM pg_prepared_statements",
                ordinary,
            )
        finally:
            await opened.close()
        assert row is not None
        return row[0], row[1]

    length, ordinary = asyncio.run(run())
    assert length < 200_000
    assert ordinary == 1


def test_a_server_that_answers_no_further_connection_is_away(database_url: str) -> None:
    async def run(address: str) -> None:
        opened = Database(database_url, pool_size=2)
        await opened.open()
        opened.pool.set_connect_args(address, timeout=0.2)
        async with opened.transaction():
            # The pool has to open another connection.
            with pytest.raises(DatabaseUnavailable):
                await opened.fetchval("SELECT 1")
        assert await opened.fetchval("SELECT 1") == 1
        await opened.close()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(run(f"postgresql://listo@127.0.0.1:{silent.getsockname()[1]}/listo"))


def test_a_request_that_waits_too_long_for_a_connection_is_told_of_the_load(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "ACQUIRE_TIMEOUT", 0.05)

    async def run() -> None:
        opened = Database(database_url, pool_size=1)
        await opened.open()
        async with opened.transaction():
            with pytest.raises(Overloaded, match="No database connection became free in time"):
                await opened.fetchval("SELECT 1")
            with pytest.raises(Overloaded):
                async with opened.transaction():
                    pass
        await opened.close()

    asyncio.run(run())
