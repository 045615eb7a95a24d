"""The pool and its transactions, where the network fails at the worst moment."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import asyncpg
import pytest
from asyncpg.transaction import Transaction

from app.core.errors import DatabaseUnavailable
from app.db import database
from app.db.database import Database


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
    monkeypatch.setattr(database, "CONNECT_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = Database(f"postgresql://listo@127.0.0.1:{silent.getsockname()[1]}/listo")
        for connect in (mute.open, mute.connect):
            with pytest.raises(DatabaseUnavailable):
                asyncio.run(connect())
