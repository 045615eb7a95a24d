"""What a process opens when it starts to serve, and closes in turn when it stops."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from app.auth.bootstrap import ensure_first_admin
from app.auth.service import Auth
from app.caching.memory import MemoryCache
from app.core.errors import Problem
from app.db import migrations
from app.db.notifications import NotAlone
from app.ratelimit.memory import MemoryLimiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from app.caching.cache import Cache
    from app.core.settings import Settings
    from app.ratelimit.limiter import Limiter

logger = logging.getLogger("listo")

_FLUSH_SECONDS = 30.0


def open_stores(settings: Settings) -> tuple[Limiter, Cache]:
    """The limiter and the cache of this process."""
    return MemoryLimiter(), MemoryCache()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Raises SystemExit with one line where the database is away, or this process is not alone."""
    state = app.state
    try:
        await state.database.open()
        await state.database.notifications.start(sole=state.settings.redis_url is None)
        await _check_migrations(app)
        await ensure_first_admin(
            Auth(state.settings, state.database, state.passwords, state.tokens)
        )
    except NotAlone:
        _give_up(
            "Another process already serves this database. More than one process needs Redis, so "
            "that limits and caches agree: set REDIS_URL, or start one worker only."
        )
    except Problem as problem:
        _give_up(problem.detail)
    flusher = asyncio.create_task(_flush(app), name="flush")
    try:
        yield
    finally:
        flusher.cancel()
        with suppress(asyncio.CancelledError):
            await flusher
        with suppress(Problem):
            await state.authenticator.flush()
        await state.database.notifications.stop()
        await state.database.close()
        await state.limiter.close()
        await state.cache.close()
        state.passwords.close()


async def _check_migrations(app: FastAPI) -> None:
    current = await migrations.current(app.state.database)
    if current == migrations.head():
        return
    if current is None or current < migrations.head():
        _give_up(f"The database is at migration {current}, not {migrations.head()}: listo migrate")
    _give_up(f"The database is at migration {current}, newer than this code.")


async def _flush(app: FastAPI) -> None:
    while True:
        await asyncio.sleep(_FLUSH_SECONDS)
        try:
            await app.state.authenticator.flush()
        except Problem as problem:
            logger.warning("could not note the use of API keys: %s", problem.detail)


def _give_up(reason: str) -> NoReturn:
    logger.critical(reason)
    raise SystemExit(3)
