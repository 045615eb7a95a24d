"""Answers of unknown length, sent while they are made."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from app.core.context import context_of
from app.core.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.types import Send

    Write = Callable[[bytes], Awaitable[None]]

logger = logging.getLogger("listo.http")

# Bytes a second. A client that takes less keeps a connection to PostgreSQL and a snapshot from all.
LEAST_RATE = 16_384
# The server takes as much without waiting for the client.
_STEP_BYTES = 65_536


class StreamedAnswer:
    """`make` writes the body; a problem that it raises before the first byte is the answer.

    A problem after that closes the connection: the client sees an incomplete body. `make` is
    cancelled as soon as the client leaves, or has kept it waiting for `patience` seconds more than
    LEAST_RATE bytes a second would.
    """

    def __init__(
        self,
        request: Request,
        make: Callable[[Write], Awaitable[None]],
        *,
        fields: Mapping[str, str],
        patience: float,
    ) -> None:
        self._request = request
        self._make = make
        self._fields = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in fields.items()
        ]
        # The seconds that the client may still keep us waiting.
        self._patience = patience
        self._most_patience = patience
        self._gone = False

    async def send(self, send: Send) -> None:
        """Raises ClientDisconnect."""
        task = asyncio.current_task()
        assert task is not None
        watching = asyncio.create_task(self._watch(task))
        try:
            await self._send(send)
        except asyncio.CancelledError:
            if self._gone and task.uncancel() == 0:
                raise ClientDisconnect from None
            raise
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _send(self, send: Send) -> None:
        request = context_of(self._request.scope)

        async def start() -> None:
            if not request.started:
                await send({"type": "http.response.start", "status": 200, "headers": self._fields})

        async def write(part: bytes) -> None:
            await start()
            for at in range(0, len(part), _STEP_BYTES):
                await self._put(send, part[at : at + _STEP_BYTES])

        try:
            await self._make(write)
        except Problem as problem:
            if not request.started:
                raise
            # The server closes the connection after an incomplete answer.
            logger.warning("an answer was broken off: %s", problem.in_one_line)
        else:
            await start()
            await send({"type": "http.response.body", "body": b""})

    async def _put(self, send: Send, piece: bytes) -> None:
        self._patience += len(piece) / LEAST_RATE
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._patience):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError:
            logger.warning("given up: the client takes too little")
            raise ClientDisconnect from None
        # A quick client saves up no time.
        waited = time.monotonic() - began
        self._patience = min(self._patience - waited, self._most_patience)

    async def _watch(self, task: asyncio.Task[object]) -> None:
        # A body that is refused for its size is as good a reason to end.
        with suppress(Problem):
            while (await self._request.receive())["type"] != "http.disconnect":
                pass
        self._gone = True
        task.cancel()
