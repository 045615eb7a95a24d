"""A process opens its services when it starts to serve, and closes them in turn at its end."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from app.assembly import attempt, closing
from app.auth.sessions.service import Auth
from app.auth.users.bootstrap import ensure_first_admin
from app.core.errors import Problem
from app.db import migrations
from app.db.notifications import NotAlone
from app.observability import metrics
from app.overload import garbage
from app.overload.admission import ADMISSION_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from app.overload.admission import Admission
    from app.services import Services

logger = logging.getLogger("listo")

_FLUSH_SECONDS = 30.0


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Admission]]:
    """Raises CannotServe if the database is away, or if this process must be alone and is not."""
    services: Services = app.state.services
    async with closing(services):
        await _open(services)
        tasks = [
            asyncio.create_task(_flush(services), name="flush"),
            asyncio.create_task(_sample(), name="sample"),
            asyncio.create_task(services.concurrency.run(), name="concurrency"),
            asyncio.create_task(services.admission.run(), name="admission"),
        ]
        try:
            with garbage.sparing():
                yield {ADMISSION_KEY: services.admission}
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await attempt(f"go on with {task.get_name()}", partial(_end, task))
            await _note_use(services)


async def _open(services: Services) -> None:
    settings, database = services.settings, services.database
    try:
        if not settings.production:
            # In production the operator decides on migrations: `listo migrate`.
            url = settings.database_url.get_secret_value()
            await asyncio.to_thread(migrations.upgrade, url)
        await database.open()
        await migrations.require_head(database)
        await database.notifications.start(sole=settings.redis_url is None)
        await ensure_first_admin(Auth(settings, database, services.passwords, services.tokens))
    except NotAlone:
        _give_up(
            "Another process already serves this database. More than one process needs Redis, so "
            "that limits and caches agree: set REDIS_URL, or start one worker only."
        )
    except (Problem, migrations.WrongMigration, migrations.CannotMigrate) as error:
        _give_up(error.in_one_line if isinstance(error, Problem) else str(error))


async def _end(task: asyncio.Task[None]) -> None:
    await task


async def _flush(services: Services) -> None:
    while True:
        await asyncio.sleep(_FLUSH_SECONDS)
        await _note_use(services)


async def _note_use(services: Services) -> None:
    await attempt("note the use of API keys", services.authenticator.flush)


async def _sample() -> None:
    while True:
        metrics.sample()
        await asyncio.sleep(metrics.SAMPLE_SECONDS)


class CannotServe(Exception):
    """The process cannot begin to serve; the reason was logged in one line."""


class QuietStartup:
    """Keeps the useless traceback of CannotServe out of the server's log."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_quietly(message: Message) -> None:
            if CannotServe.__name__ in message.get("message", ""):
                message["message"] = ""
            await send(message)

        await self.app(scope, receive, send_quietly)


def _give_up(reason: str) -> NoReturn:
    logger.critical(reason)
    raise CannotServe(reason)
