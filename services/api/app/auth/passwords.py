"""Passwords: argon2id by OWASP's parameters, off the event loop, a bounded number at once."""

from __future__ import annotations

import asyncio
import math
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from app.core.errors import Overloaded
from app.core.metrics import PASSWORD_QUEUE, PASSWORD_SECONDS, read_from

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

# OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
# How many may wait per hash that is in work; the last of them waits about a second.
_QUEUE_PER_SLOT = 32
# Hashing gets what answering requests leaves: a flood of log-ins must not slow down reads.
_NICENESS = 10
# The weight of the latest hash in the time that one is expected to take.
_SMOOTHING = 0.2


class Passwords:
    """Hashes and verifies. More than its queue holds is refused with Overloaded (503)."""

    def __init__(self, concurrency: int) -> None:
        self._pool = ThreadPoolExecutor(concurrency, "password", initializer=_step_back)
        self._concurrency = concurrency
        self._limit = concurrency * (1 + _QUEUE_PER_SLOT)
        self._pending = 0
        # The time that a hash takes at present, at the niceness that it has.
        self._seconds = 0.0
        # An unknown user's password is verified against this, so that it takes the same time.
        self._dummy = _HASHER.hash("no user has this password")
        read_from(PASSWORD_QUEUE, lambda: self._pending)

    def require_room(self) -> None:
        """Raises Overloaded where the queue is full; by its Retry-After it has become empty."""
        if self._pending >= self._limit:
            empty = self._pending * self._seconds / self._concurrency
            raise Overloaded(
                "Too many passwords are being checked at the moment.",
                retry_after=max(1, math.ceil(empty)),
            )

    async def hash(self, password: str) -> str:
        return await self._run(lambda: _HASHER.hash(password))

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Whether `password` is the one of `hashed`; with None it is not, in the same time."""
        matches = await self._run(lambda: _matches(hashed or self._dummy, password))
        return matches and hashed is not None

    def outdated(self, hashed: str) -> bool:
        """Whether `hashed` was made with other parameters than today's."""
        return _HASHER.check_needs_rehash(hashed)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], Result]) -> Result:
        self.require_room()
        self._pending += 1
        started = time.perf_counter()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._timed, work)
        finally:
            self._pending -= 1
            PASSWORD_SECONDS.observe(time.perf_counter() - started)

    def _timed(self, work: Callable[[], Result]) -> Result:
        started = time.perf_counter()
        result = work()
        took = time.perf_counter() - started
        self._seconds += _SMOOTHING * (took - self._seconds) if self._seconds else took
        return result


def _step_back() -> None:
    """Lower the priority of the thread that this runs in; on Linux a thread has one of its own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _matches(hashed: str, password: str) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False
