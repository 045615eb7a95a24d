"""Passwords: argon2id with OWASP's parameters, hashed in a bounded number of processes. Hashes of
bcrypt are verified as well, and are always OUTDATED."""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from queue import PriorityQueue
from typing import TYPE_CHECKING, Any, TypeVar

from app.auth.passwords.process import HashingProcess
from app.auth.passwords.program import HASHER, needs_rehash
from app.core import passwords
from app.core.errors import Overloaded
from app.observability.metrics import PASSWORD_QUEUE, PASSWORD_SECONDS, read_from

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

# The number of passwords that may wait per password being hashed. While cores are idle, the last of
# them waits about a second.
_QUEUE_PER_SLOT = 32
# The weight of the latest hash in the expected time of a hash.
_SMOOTHING = 0.2


class Match(IntEnum):
    """Whether a password fits a hash, and whether that hash is up to date."""

    WRONG = 0
    RIGHT = 1
    OUTDATED = 2


class Passwords:
    """Hashes and verifies. A full queue refuses passwords with Overloaded (503)."""

    def __init__(self, concurrency: int) -> None:
        # Its threads only wait for the processes.
        self._pool = ThreadPoolExecutor(concurrency, "password")
        self._processes = [HashingProcess(spare=number > 0) for number in range(concurrency)]
        # The lowest idle number is taken, so that only the needed processes are started.
        self._idle: PriorityQueue[int] = PriorityQueue()
        for number in range(concurrency):
            self._idle.put(number)
        self._concurrency = concurrency
        self._limit = concurrency * (1 + _QUEUE_PER_SLOT)
        self._pending = 0
        # Moving average of the seconds per hash, at the processes' present priority.
        self._seconds = 0.0
        # An unknown user's password is verified against this, so that it takes the same time.
        self._dummy = HASHER.hash("no user has this password")
        read_from(PASSWORD_QUEUE, lambda: self._pending)

    def require_room(self, admitted: int = 0) -> None:
        """Raises Overloaded if the queue is full, or `admitted` passwords would fill it.

        `admitted` is the number of admitted requests that will each have a password checked.
        Retry-After is the time until the queue is empty.
        """
        waiting = max(self._pending, admitted)
        if waiting >= self._limit:
            seconds_to_drain = waiting * self._seconds / self._concurrency
            raise Overloaded(
                "Too many passwords are being checked at the moment.",
                retry_after=max(1, math.ceil(seconds_to_drain)),
            )

    async def hash(self, password: str) -> str:
        composed = passwords.normal(password)
        hashed: str = await self._run(lambda: self._ask(composed, None))
        return hashed

    async def verify(self, password: str, hashed: str | None) -> Match:
        """Whether `password` fits `hashed`; if that is None, WRONG after the same time."""
        composed, against = passwords.normal(password), hashed or self._dummy
        right = await self._matches(composed, against)
        # Hashes from before passwords were composed are of the password as typed.
        matches_as_typed = (
            not right and composed != password and await self._matches(password, against)
        )
        if hashed is None or not (right or matches_as_typed):
            return Match.WRONG
        outdated = matches_as_typed or needs_rehash(hashed)
        return Match.OUTDATED if outdated else Match.RIGHT

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        for process in self._processes:
            process.close()

    async def _matches(self, password: str, hashed: str) -> bool:
        matches: bool = await self._run(lambda: self._ask(password, hashed))
        return matches

    async def _run(self, work: Callable[[], Result]) -> Result:
        self.require_room()
        self._pending += 1
        started = time.perf_counter()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._timed, work)
        finally:
            self._pending -= 1
            PASSWORD_SECONDS.observe(time.perf_counter() - started)

    def _ask(self, password: str, hashed: str | None) -> Any:
        number = self._idle.get()
        try:
            return self._processes[number].ask(password, hashed)
        finally:
            self._idle.put(number)

    def _timed(self, work: Callable[[], Result]) -> Result:
        started = time.perf_counter()
        result = work()
        took = time.perf_counter() - started
        self._seconds += _SMOOTHING * (took - self._seconds) if self._seconds else took
        return result
