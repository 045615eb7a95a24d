"""Limits the bytes in use at the same time; others wait, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_WAIT_SECONDS = 10.0


class Room:
    """`most` gives the maximum number of bytes. A request for more takes the maximum."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def take(self, number: int) -> AsyncIterator[None]:
        """Raises TimeoutError if there is no room within ten seconds."""
        number = min(number, self._most())
        await self._enter(number)
        try:
            yield
        finally:
            self._taken -= number
            self._hand_on()

    async def _enter(self, number: int) -> None:
        if not self._waiting and self._has_room(number):
            self._taken += number
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((number, turn))
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._taken -= number
            elif (number, turn) in self._waiting:
                self._waiting.remove((number, turn))
            self._hand_on()
            raise

    def _hand_on(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][0]):
            number, turn = self._waiting.popleft()
            if not turn.done():
                self._taken += number
                turn.set_result(None)

    def _has_room(self, number: int) -> bool:
        # `most` can shrink, but a request that is alone always has room.
        return self._taken == 0 or self._taken + number <= self._most()
