"""A cache that is never older than the last acknowledged change, on any process.

docs/decisions/0014 has the argument. In short: before its commit a writer marks the groups that it
changes; between commit and acknowledgement it replaces their generations. A writer that cannot
reach Redis begins an epoch instead, of which other processes learn from PostgreSQL, and
acknowledges once each of them knows of the epoch or trusts no memory.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Literal, TypeVar
from uuid import uuid4
from zlib import crc32

from app.caching.generations import MAKING_SECONDS
from app.core.errors import Problem
from app.db.notifications import COVERED_SECONDS, QUIET_SECONDS, TRUST_SECONDS
from app.redis.circuit_breaker import RETRY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from app.caching.generations import Generations, Look
    from app.core.background import Background
    from app.db.database import Database
    from app.db.session import Session

Value = TypeVar("Value")

MAX_BYTES = 256 * 1024
# Seconds after an epoch's commit until every other process knows of it or trusts no memory.
KNOWN_SECONDS = TRUST_SECONDS + 0.5
# While Redis is away, writers begin an epoch this often: processes stay quiet, so no writer waits.
REPEAT_SECONDS = 5.0

# Maximum number of writers whose marks are ended later; marks also expire.
_MAX_LEFT = 1000
_FIRST_POLL, _LONGEST_POLL = 0.005, 0.1
_HEARTBEAT_SECONDS = MAKING_SECONDS / 6
# Heartbeats stop after this time: no reader waits for longer than a request may take.
_LONGEST_MAKING = 20.0
# Stored in place of a value that is too large or expired while it was made; readers make their own.
_NOT_KEPT = b""

Outcome = Literal["hit", "stale", "miss", "collapsed", "bypass"]


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """Seconds that an entry is fresh, and then seconds that it is served during its renewal."""

    fresh: float
    stale: float

    def fresh_for(self, name: str) -> float:
        """Seconds that the entry `name` is fresh: `fresh`, varied by up to a tenth."""
        return self.fresh * (0.9 + 0.2 * crc32(name.encode()) / 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Served(Generic[Value]):
    """A value, its outcome, and in seconds its age and how long it stays fresh. A value that must
    not be kept has no time left."""

    value: Value
    outcome: Outcome
    age: float = 0.0
    left: float = 0.0
    stored: bool = False


class CoherentCache:
    """`fetch` reads; the database reports changes through `Database.invalidating`."""

    def __init__(
        self, generations: Generations, database: Database, background: Background
    ) -> None:
        self._generations = generations
        self._database = database
        self._background = background
        self._flights: dict[str, asyncio.Future[Served[bytes]]] = {}
        self._beginning = asyncio.Lock()
        # By writer: the groups of finished writers whose marks could not be ended.
        self._left: dict[str, Collection[str]] = {}
        # When this process last began an epoch, and the time at which every process knows of it.
        self._began = self._known = float("-inf")
        database.invalidating = self.invalidate

    async def fetch(
        self, group: str, key: str, policy: CachePolicy, make: Callable[[], Awaitable[bytes]]
    ) -> Served[bytes]:
        """A value of `make`, made now or since the last change of the group."""

        async def ask() -> Look | None:
            notifications = self._database.notifications
            if not notifications.trusted or notifications.quiet:
                return None
            name = f"{notifications.epoch}:{key}"
            return await self._generations.look(group, name, stale=policy.stale)

        look = await ask()
        if look is not None and look.value and look.is_maker:
            self._background.start(self._renew(look.name, policy, make))
        if served := _found(look, policy):
            return served
        if look is None or look.value is not None:
            return Served(await make(), "bypass")
        flight = self._flights.get(look.name)
        # A maker makes the entry, even if others in this process wait for a dead maker.
        if flight is not None and not look.is_maker:
            return replace(await asyncio.shield(flight), outcome="collapsed")
        # A separate task: others wait for it, even if the request that began it is cancelled.
        flight = asyncio.ensure_future(self._obtain(look, ask, policy, make))
        self._flights[look.name] = flight
        flight.add_done_callback(lambda done: self._landed(look.name, done))
        return await asyncio.shield(flight)

    async def _obtain(
        self,
        look: Look,
        ask: Callable[[], Awaitable[Look | None]],
        policy: CachePolicy,
        make: Callable[[], Awaitable[bytes]],
    ) -> Served[bytes]:
        """Make the entry, or wait for the process that makes it."""
        pause = _FIRST_POLL
        while not look.is_maker:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL)
            again = await ask()
            if served := _found(again, policy):
                return replace(served, outcome="collapsed")
            if again is None or again.value is not None:
                return Served(await make(), "bypass")
            look = again
        return await self._make(look.name, policy, make)

    async def _make(
        self, name: str, policy: CachePolicy, make: Callable[[], Awaitable[bytes]]
    ) -> Served[bytes]:
        began = time.monotonic()
        heartbeat = asyncio.create_task(self._send_heartbeats(name))
        try:
            value = await make()
        except Exception:
            await self._generations.release(name)
            raise
        finally:
            heartbeat.cancel()
        age = time.monotonic() - began
        left = policy.fresh_for(name) - age
        ttl = left + policy.stale
        if len(value) > MAX_BYTES or ttl <= 0:
            await self._generations.store(name, _NOT_KEPT, ttl=policy.fresh_for(name))
            return Served(value, "miss")
        stored = await self._generations.store(name, value, ttl=ttl)
        return Served(value, "miss", age=age, left=left, stored=stored)

    async def _send_heartbeats(self, name: str) -> None:
        for _ in range(int(_LONGEST_MAKING / _HEARTBEAT_SECONDS)):
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            # An untrusted process is cut off from PostgreSQL, and probably `make` is, too.
            if self._database.notifications.trusted:
                await self._generations.still_making(name)

    async def _renew(
        self, name: str, policy: CachePolicy, make: Callable[[], Awaitable[bytes]]
    ) -> None:
        # Requests that come once the entry has expired get the problem themselves.
        with suppress(Problem):
            await self._make(name, policy, make)

    def _landed(self, name: str, flight: asyncio.Future[Served[bytes]]) -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]
        if not flight.cancelled():
            # Reading the exception keeps asyncio from logging it if no request waited.
            flight.exception()

    async def invalidate(
        self, session: Session, groups: Mapping[str, bool]
    ) -> Callable[[], Awaitable[None]]:
        """Called at the end of the transaction that changes the groups. Returns a function to call
        between the commit and the answer; this function may take KNOWN_SECONDS.

        A group whose caching ends stays marked: writers that know of the end no longer mark the
        group, and this mark keeps other processes from reading it.
        """
        lasting = [group for group, ended in groups.items() if not ended]
        writer, asked = uuid4().hex, time.monotonic()
        marked = await self._generations.mark(groups, writer)
        if not marked and len(lasting) < len(groups):
            # After the commit, others write without a mark: by then all processes must be quiet.
            await self._until_known()
        begins = not marked and asked > self._began + REPEAT_SECONDS
        if begins:
            await self._database.notifications.begin_epoch(session)

        async def acknowledge() -> None:
            if begins:
                self._has_begun(asked)
            if lasting and not await self._generations.unmark(lasting, writer):
                self._end_marks_later(lasting, writer)
                await self._until_known()

        return acknowledge

    async def close(self) -> None:
        await self._generations.close()

    def _end_marks_later(self, groups: Collection[str], writer: str) -> None:
        """End the writer's marks later; some may exist although marking seemed to fail."""
        if len(self._left) < _MAX_LEFT:
            self._left[writer] = groups
        if len(self._left) == 1:
            self._background.start(self._tidy())

    async def _tidy(self) -> None:
        while self._left:
            await asyncio.sleep(RETRY_SECONDS)
            for writer, groups in list(self._left.items()):
                if not await self._generations.unmark(groups, writer):
                    break
                self._left.pop(writer, None)

    async def _until_known(self) -> None:
        """Wait until no process reads entries that were cached before this call."""
        async with self._beginning:
            asked = time.monotonic()
            if asked > self._began + COVERED_SECONDS:
                # A connection apart, since the caller may have one of the pool.
                async with self._database.connection() as apart:
                    await self._database.notifications.begin_epoch(apart)
                self._has_begun(asked)
        await asyncio.sleep(self._known - time.monotonic())

    def _has_begun(self, asked: float) -> None:
        known = time.monotonic() + KNOWN_SECONDS
        if known > self._began + QUIET_SECONDS:
            # Otherwise the last epoch keeps all processes quiet until they know of the new epoch.
            self._known = known
        self._began = max(self._began, asked)


def _found(look: Look | None, policy: CachePolicy) -> Served[bytes] | None:
    if look is None or not look.value:
        return None
    left = look.left - policy.stale
    age = max(0.0, policy.fresh_for(look.name) - left)
    return Served(look.value, "hit" if left > 0 else "stale", age=age, left=left)
