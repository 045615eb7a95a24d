"""Leases: one process at a time does a duty; late transactions of a former holder are rolled back.

A lease is for one run: taken when the duty is due, renewed while the run lasts, and released with
the time when the next run is due. Once the lease of a dead or hanging process has expired by
PostgreSQL's clock, another process takes over. The former holder need not notice: each of its
transactions ends with a check of the lease.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from app.core.errors import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.db.database import Database
    from app.db.session import Session

# The duty waits this long for a dead holder, plus the pause between two tries to take the lease.
SECONDS = 6.0
RENEW_SECONDS = 2.0

_HOLDER = f"{socket.gethostname()}:{os.getpid()}"

# Checks before it inserts: ON CONFLICT would lock the row even if the lease cannot be taken.
_TAKE = """
INSERT INTO listo.leases AS lease (name, holder, token, expires_at)
SELECT $1, $2, 1, now() + $3::interval WHERE NOT EXISTS (
    SELECT FROM listo.leases WHERE name = $1 AND greatest(expires_at, due_at) > now())
ON CONFLICT (name) DO UPDATE
   SET holder = $2, token = lease.token + 1, expires_at = now() + $3::interval
 WHERE greatest(lease.expires_at, lease.due_at) <= now()
RETURNING token
"""
_RENEW = """
UPDATE listo.leases SET expires_at = now() + $3::interval WHERE name = $1 AND token = $2
RETURNING true
"""
_RELEASE = """
UPDATE listo.leases
   SET holder = NULL, expires_at = now(), due_at = coalesce(now() + $3::interval, due_at)
 WHERE name = $1 AND token = $2
"""
# FOR SHARE: a process that takes over waits until a transaction that passed this check has ended.
_FENCE = "SELECT true FROM listo.leases WHERE name = $1 AND token = $2 FOR SHARE"


class LeaseLost(Exception):
    """Another process has the duty by now, or may have it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One run of a duty, identified by its token."""

    database: Database
    name: str
    token: int

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Committed only if no other process has taken the duty meanwhile. Raises LeaseLost."""
        async with self.database.transaction() as session:
            yield session
            # Last, so that a long transaction does not hold up renewing or taking over.
            if not await session.fetchval(_FENCE, self.name, self.token):
                raise LeaseLost

    async def renew(self, run_timeout: asyncio.Timeout) -> None:
        """Postpone the run's time-out repeatedly; once the lease is lost, cancel the run
        immediately."""
        clock = asyncio.get_running_loop().time
        while not run_timeout.expired():
            await asyncio.sleep(RENEW_SECONDS)
            # Count from before the statement, so that this process stops before PostgreSQL lets the
            # lease expire.
            asked = clock()
            with suppress(Problem):
                kept = await self.database.fetchval(
                    _RENEW, self.name, self.token, timedelta(seconds=SECONDS)
                )
                if not run_timeout.expired():
                    run_timeout.reschedule(asked + SECONDS if kept else asked)

    async def release(self, due_in: timedelta | None) -> None:
        await self.database.execute(_RELEASE, self.name, self.token, due_in)


@asynccontextmanager
async def take(database: Database, name: str, every: float) -> AsyncIterator[Lease | None]:
    """The lease for one run. None if the duty is not due or another process has the lease.

    After a run that raised, the duty stays due. Raises LeaseLost, inside the block, once the lease
    was lost or could not be renewed in time.
    """
    asked = asyncio.get_running_loop().time()
    token = await database.fetchval(_TAKE, name, _HOLDER, timedelta(seconds=SECONDS))
    if token is None:
        yield None
        return
    lease = Lease(database, name, token)
    due_in = None
    try:
        async with asyncio.timeout_at(asked + SECONDS) as timeout:
            renewing = asyncio.create_task(lease.renew(timeout))
            try:
                yield lease
            finally:
                renewing.cancel()
                await asyncio.wait({renewing})
        due_in = timedelta(seconds=every)
    except TimeoutError:
        if timeout.expired():
            raise LeaseLost from None
        raise
    finally:
        with suppress(Problem):
            await lease.release(due_in)
