"""The authenticator remembers the use of API keys until the database has it."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from app.auth.api_keys import repository as api_key_repository
from app.auth.identity.authenticator import Authenticator
from app.auth.identity.tokens import Tokens
from app.core.clock import utcnow
from app.db.database import Database
from fixtures.server import settings


def test_a_key_s_use_outlives_a_cancelled_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[UUID] = []
    key = UUID(int=1)
    begun = asyncio.Event()

    async def slow(_: object, used: Any) -> None:
        begun.set()
        await asyncio.sleep(10)
        noted.extend(used)

    async def quick(_: object, used: Any) -> None:
        noted.extend(used)

    async def run() -> None:
        url = "postgresql://nowhere/"
        authenticator = Authenticator(Database(url), Tokens(settings(url)))
        authenticator._used[key] = utcnow()
        monkeypatch.setattr(api_key_repository, "touch", slow)
        flush = asyncio.create_task(authenticator.flush())
        await begun.wait()
        flush.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flush
        monkeypatch.setattr(api_key_repository, "touch", quick)
        await authenticator.flush()

    asyncio.run(run())
    assert noted == [key]
