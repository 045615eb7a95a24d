"""Change notifications between processes: PostgreSQL's LISTEN and NOTIFY.

A message may get lost when the connection does, so each subscriber also gives a `lost` callback:
from then until the next message it must not trust what it remembers.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg

from app.core.errors import Problem
from app.core.metrics import LISTENER_CONNECTED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.db.session import Session

logger = logging.getLogger("listo.notifications")

CHANNEL = "listo"
RECONNECT_SECONDS = 0.5
PROBE_SECONDS = 5.0
# A process that is being replaced may need so long to go.
CLAIM_SECONDS = 10.0

# Held by the one process that may serve without Redis.
SOLE_PROCESS_LOCK = 0x6C69737470


class NotAlone(Exception):
    """Another process serves this database, and there is no Redis for the two to agree in."""


class Notifications:
    """One listening connection, and the callbacks by topic."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection[Any]]]) -> None:
        self._connect = connect
        self._callbacks: dict[str, list[Callable[[str], None]]] = {}
        self._lost: list[Callable[[], None]] = []
        self._connection: asyncpg.Connection[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._sole = False
        self._origin = uuid4().hex

    @property
    def connected(self) -> bool:
        """Whether messages arrive; while they do not, nothing may be remembered."""
        return self._connection is not None

    def subscribe(
        self, topic: str, callback: Callable[[str], None], lost: Callable[[], None]
    ) -> None:
        """Call `callback` with each payload of `topic`, and `lost` when messages may be missing."""
        self._callbacks.setdefault(topic, []).append(callback)
        self._lost.append(lost)

    async def send(self, session: Session, topic: str, payload: str) -> None:
        """Tell the other processes, once the session's transaction has committed."""
        message = f"{self._origin}:{topic}:{payload}"
        await session.execute("SELECT pg_notify($1, $2)", CHANNEL, message)

    def dispatch(self, topic: str, payload: str) -> None:
        for callback in self._callbacks.get(topic, ()):
            callback(payload)

    async def start(self, *, sole: bool) -> None:
        """Listen from now on. With `sole`, raises NotAlone if another process does so too."""
        self._sole = sole
        await self._listen(wait_seconds=CLAIM_SECONDS)
        self._task = asyncio.create_task(self._keep_listening(), name="notifications")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._drop()

    async def _listen(self, wait_seconds: float) -> None:
        connection = await self._connect()
        try:
            if self._sole:
                await self._claim(connection, wait_seconds)
            await connection.add_listener(CHANNEL, self._received)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        LISTENER_CONNECTED.set(1)

    @staticmethod
    async def _claim(connection: asyncpg.Connection[Any], wait_seconds: float) -> None:
        try:
            async with asyncio.timeout(wait_seconds):
                # What a statement may take is said for requests.
                await connection.execute("SET statement_timeout = 0")
                await connection.execute("SELECT pg_advisory_lock($1)", SOLE_PROCESS_LOCK)
        except TimeoutError:
            raise NotAlone from None

    async def _keep_listening(self) -> None:
        while True:
            try:
                if self._connection is None:
                    await self._listen(wait_seconds=60.0)
                    logger.info("listening for changes again")
                    # What was said in between is not known.
                    self._forget()
                await self._probe()
            except (Problem, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, NotAlone):
                if self._connection is not None:
                    logger.warning("lost the connection that change notifications come by")
                await self._drop()
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _probe(self) -> None:
        assert self._connection is not None
        terminated = asyncio.Event()
        self._connection.add_termination_listener(lambda _: terminated.set())
        while not terminated.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PROBE_SECONDS):
                    await terminated.wait()
            if not terminated.is_set():
                await self._connection.execute("SELECT 1", timeout=PROBE_SECONDS)
        raise asyncpg.InterfaceError("the listening connection was closed")

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        LISTENER_CONNECTED.set(0)
        self._forget()
        if connection is not None and not connection.is_closed():
            connection.terminate()

    def _forget(self) -> None:
        for lost in self._lost:
            lost()

    def _received(self, _: object, __: int, ___: str, message: object) -> None:
        origin, topic, payload = str(message).split(":", 2)
        # What this process says it has already acted on, see `Database.transaction`.
        if origin != self._origin:
            self.dispatch(topic, payload)
