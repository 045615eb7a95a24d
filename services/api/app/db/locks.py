"""Locks that other transactions queue behind: requested in short tries, for a limited time.

A transaction that waits for a lock makes later transactions wait too, if their locks conflict with
that lock. So a try is short, and later transactions pass in the pauses.

A try is a savepoint: its end releases the snapshot, and its failure releases the locks. Otherwise
PostgreSQL would keep the snapshot until the transaction's next statement, and a statement that
builds an index concurrently would wait for the snapshot.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from app.db.errors import LockTimeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.db.session import Session

Result = TypeVar("Result")

TRY_SECONDS = 0.2
PATIENCE_SECONDS = 10.0
_FIRST_PAUSE = 0.1

# PostgreSQL's own vacuum gives way to a transaction that has waited for a lock this long.
_FOR_A_VACUUM = "extract(epoch FROM current_setting('deadlock_timeout')::interval) + 0.5"
_LIMIT = f"""
SELECT set_config('lock_timeout', ceil(1000 * seconds) || 'ms', true)
  FROM (SELECT CASE WHEN $2 THEN {_FOR_A_VACUUM} ELSE $1::float8 END) AS try (seconds)
"""


class Patience:
    """Growing pauses between tries, for `seconds` in total."""

    def __init__(self, seconds: float, longest: float = 1.0) -> None:
        self._end = time.monotonic() + seconds
        self._pause = _FIRST_PAUSE
        self._longest = longest

    async def pause(self) -> bool:
        """Wait for the next try; false immediately if time is up."""
        if time.monotonic() + self._pause > self._end:
            return False
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, self._longest)
        return True


async def poll(session: Session, attempt: Callable[[Session], Awaitable[bool]]) -> None:
    """Repeat `attempt`, which does not wait, until it has its lock. Raises LockTimeout after
    PATIENCE_SECONDS."""
    patience = Patience(PATIENCE_SECONDS, longest=_FIRST_PAUSE)
    while not await _apart(session, attempt):
        if not await patience.pause():
            raise LockTimeout


async def acquire(
    session: Session,
    lock: Callable[[Session], Awaitable[object]],
    make_way: Callable[[Session], Awaitable[bool]],
) -> None:
    """Repeat `lock`, which waits without a snapshot, until it succeeds; each try delays others for
    TRY_SECONDS, longer only for a vacuum.

    After a failed try, `make_way` cancels the statements that it may cancel, and returns whether
    PostgreSQL's own vacuum is in the way. Raises LockTimeout after PATIENCE_SECONDS.
    """
    patience, vacuum = Patience(PATIENCE_SECONDS), False

    async def attempt(within: Session) -> None:
        await within.execute(_LIMIT, TRY_SECONDS, vacuum)
        await lock(within)
        await within.execute("SET LOCAL lock_timeout TO DEFAULT")

    while True:
        try:
            await _apart(session, attempt)
        except LockTimeout:
            vacuum = await _apart(session, make_way)
            if not await patience.pause():
                raise
        else:
            return


async def _apart(session: Session, work: Callable[[Session], Awaitable[Result]]) -> Result:
    async with session.atomic() as transaction, transaction.nested() as within:
        return await work(within)
