"""What a process opens when it starts to serve, and closes in turn when it stops."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from redis.asyncio import Redis
from redis.maint_notifications import MaintNotificationsConfig

from app.auth.sessions.service import Auth
from app.auth.users.bootstrap import ensure_first_admin
from app.caching.memory import MemoryCache
from app.caching.memory_generations import MemoryGenerations
from app.caching.redis import RedisCache
from app.caching.redis_generations import RedisGenerations
from app.collections.checking import pool as checking
from app.core.errors import Problem
from app.db import migrations
from app.db.notifications import NotAlone
from app.observability import metrics
from app.overload import garbage
from app.overload.admission import ADMISSION_KEY
from app.ratelimit.memory import MemoryLimiter
from app.ratelimit.redis import RedisLimiter
from app.redis.outage import ANSWER_SECONDS
from app.throttling.memory import MemoryGuesses
from app.throttling.redis import RedisGuesses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from app.caching.cache import Cache
    from app.caching.generations import Generations
    from app.core.settings import Settings
    from app.overload.admission import Admission
    from app.ratelimit.limiter import Limiter
    from app.throttling.guesses import Guesses

logger = logging.getLogger("listo")

_FLUSH_SECONDS = 30.0


def open_stores(
    settings: Settings, processes: Callable[[], int]
) -> tuple[Limiter, Guesses, Cache, Redis | None]:
    """Limiter, guesses and cache: shared on Redis, whose client is fourth, or of this process.

    `processes` tells how many processes serve.
    """
    if settings.redis_url is None:
        return MemoryLimiter(), MemoryGuesses(), MemoryCache(), None
    # One client each: a slow look-up in the cache must not hold up the limiter.
    client = _redis(settings)
    limiter = RedisLimiter(_redis(settings), processes)
    guesses = RedisGuesses(_redis(settings))
    return limiter, guesses, RedisCache(client), client


def open_generations(client: Redis | None) -> Generations:
    return MemoryGenerations(MemoryCache()) if client is None else RedisGenerations(client)


def _redis(settings: Settings) -> Redis:
    assert settings.redis_url is not None
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        client_name="listo-api",
        # Where redis-py 8.1.0 listens for these, which only Redis Enterprise sends, it takes
        # connections that the server has closed for good ones.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Admission]]:
    """Raises CannotServe where the database is away, or this process is not alone."""
    state = app.state
    try:
        if not state.settings.production:
            # In production that is somebody's decision: `listo migrate`.
            url = state.settings.database_url.get_secret_value()
            await asyncio.to_thread(migrations.upgrade, url)
        await state.database.open()
        await migrations.require_head(state.database)
        await state.database.notifications.start(sole=state.settings.redis_url is None)
        await ensure_first_admin(
            Auth(state.settings, state.database, state.passwords, state.tokens)
        )
    except NotAlone:
        await _close(app)
        _give_up(
            "Another process already serves this database. More than one process needs Redis, so "
            "that limits and caches agree: set REDIS_URL, or start one worker only."
        )
    except (Problem, migrations.WrongMigration, migrations.CannotMigrate) as error:
        await _close(app)
        _give_up(error.in_one_line if isinstance(error, Problem) else str(error))
    tasks = [
        asyncio.create_task(_flush(app), name="flush"),
        asyncio.create_task(_sample(), name="sample"),
        asyncio.create_task(state.concurrency.run(), name="concurrency"),
        asyncio.create_task(state.admission.run(), name="admission"),
    ]
    try:
        with garbage.sparing():
            yield {ADMISSION_KEY: state.admission}
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await _attempt(f"go on with {task.get_name()}", task)
        await _note_use(app)
        await _close(app)


async def _close(app: FastAPI) -> None:
    """Each step is taken whatever became of those before."""
    state = app.state
    await _attempt("end background work", state.background.close())
    await _attempt("stop listening", state.database.notifications.stop())
    await _attempt("close the database", state.database.close())
    await _attempt("close the limiter", state.limiter.close())
    await _attempt("close the guesses", state.guesses.close())
    await _attempt("close the lists", state.lists.close())
    await _attempt("close the cache", state.cache.close())
    await _attempt("end the hashing", asyncio.to_thread(state.passwords.close))
    await _attempt("end the checking", asyncio.to_thread(checking.close))
    if state.tracer_provider is not None:
        # Sends what is not sent yet.
        await _attempt("send the traces", asyncio.to_thread(state.tracer_provider.shutdown))


async def _attempt(what: str, work: Awaitable[object]) -> None:
    """Do `work`; if it fails, that is logged."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - whatever it is must not end what comes after it
        detail = error.in_one_line if isinstance(error, Problem) else _in_one_line(error)
        logger.warning("could not %s: %s", what, detail)


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


async def _flush(app: FastAPI) -> None:
    while True:
        await asyncio.sleep(_FLUSH_SECONDS)
        await _note_use(app)


async def _note_use(app: FastAPI) -> None:
    await _attempt("note the use of API keys", app.state.authenticator.flush())


async def _sample() -> None:
    while True:
        metrics.sample()
        await asyncio.sleep(metrics.SAMPLE_SECONDS)


class CannotServe(Exception):
    """The process cannot begin to serve; why was logged in one line."""


class QuietStartup:
    """Keeps the traceback of CannotServe, which tells nobody anything, out of the server's log."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        async def shortened(message: Message) -> None:
            if CannotServe.__name__ in message.get("message", ""):
                message["message"] = ""
            await send(message)

        await self.app(scope, receive, shortened)


def _give_up(reason: str) -> NoReturn:
    logger.critical(reason)
    raise CannotServe(reason)
