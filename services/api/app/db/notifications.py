"""Change notifications between processes: PostgreSQL's LISTEN and NOTIFY, counted.

A message may get lost, so each has the number of its change, counted in the transaction that makes
the change. Every second each process compares the number in the database with that of the last
message it received; if a message is missing, the process forgets everything. So its memory is at
most as old as the last time that the numbers agreed; TRUST_SECONDS later it is no longer trusted.

The same row holds the epoch, which is part of the names of all entries outside of processes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg

from app.observability.metrics import LISTENER_CONNECTED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from app.db.session import Session

logger = logging.getLogger("listo.notifications")

CHANNEL = "listo"
RECONNECT_SECONDS = 0.5
CHECK_SECONDS = 1.0
# How long a message may take to arrive after its change is visible.
HEARING_SECONDS = 0.5
TRUST_SECONDS = 2.0
# For this long after a new epoch no entry is kept outside of processes, so that the process that
# began the epoch may write without beginning another.
QUIET_SECONDS = 15.0
# For this long after an epoch began all other processes are quiet; 5 s are left for commits.
COVERED_SECONDS = QUIET_SECONDS - 5.0
# A process that is being replaced may need this long to end.
CLAIM_SECONDS = 10.0
LOOK_SECONDS = 0.1

# The name of the listening connections in pg_stat_activity: each serving process has one.
LISTENER = "listo-api-listener"
# A restarted server may be a replacement that lacks the last changes of the former server.
_CHECK = f"""
SELECT number, epoch || '.' || extract(epoch FROM pg_postmaster_start_time()) AS epoch,
       epoch_began > clock_timestamp() - interval '{QUIET_SECONDS} seconds' AS quiet,
       (SELECT count(*) FROM pg_stat_activity
         WHERE application_name = '{LISTENER}' AND datname = current_database()) AS listeners
  FROM listo.changes
"""
# The row stays locked until the commit, so messages arrive in the order of their numbers. The
# number follows a dot in the part that processes of an older version take for the sender's name.
_SEND = """
WITH counted AS (
    UPDATE listo.changes SET number = number + cardinality($3::text[]) RETURNING number
)
SELECT pg_notify($1, $2::text || '.' || number - cardinality($3) + place || ':' || message)
  FROM counted, unnest($3) WITH ORDINALITY AS told (message, place)
"""
_NEW_EPOCH = "UPDATE listo.changes SET epoch = epoch + 1, epoch_began = clock_timestamp()"

_EPOCH_AGE = """
SELECT greatest(0, extract(epoch FROM least(
           clock_timestamp() - nullif(epoch_began, '-infinity'), interval '1 hour')))::float8
  FROM listo.changes
"""
# Allows for the time between an epoch's statement and its commit.
_COMMIT_SECONDS = 1.0

# Held by the one process that may serve without Redis.
SOLE_PROCESS_LOCK = 0x6C69737470


class NotAlone(Exception):
    """Another process serves this database, and the two have no Redis to agree in."""


class Notifications:
    """One listening connection, and the callbacks by topic."""

    def __init__(self, connect: Callable[..., Awaitable[asyncpg.Connection[Any]]]) -> None:
        self._connect = connect
        self._callbacks: dict[str, list[Callable[[str], None]]] = {}
        self._lost: list[Callable[[], None]] = []
        self._connection: asyncpg.Connection[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._sole = False
        self._origin = uuid4().hex
        # The number of the last change that was received, or read from the database.
        self._heard = 0
        self._arrived = asyncio.Event()
        self._trusted_until = 0.0
        self._quiet_until = 0.0
        self.epoch = ""
        # How many processes serve this database, as of the last check.
        self.listeners = 1

    @property
    def trusted(self) -> bool:
        """Whether memory was up to date within the last TRUST_SECONDS; otherwise it is not used."""
        return time.monotonic() < self._trusted_until

    @property
    def quiet(self) -> bool:
        """Whether an epoch has just begun, so that nothing may be kept outside of processes."""
        return time.monotonic() < self._quiet_until

    def subscribe(
        self, topic: str, callback: Callable[[str], None], lost: Callable[[], None]
    ) -> None:
        """Call `callback` with each payload of `topic`, and `lost` when messages may be missing."""
        self._callbacks.setdefault(topic, []).append(callback)
        self._lost.append(lost)

    async def send(self, session: Session, told: Sequence[tuple[str, str]]) -> None:
        """Tell the other processes of (topic, payload) pairs, once the session's transaction has
        committed. Call this last in the transaction, since other senders wait for the commit."""
        messages = [f"{topic}:{payload}" for topic, payload in told]
        await session.execute(_SEND, CHANNEL, self._origin, messages)

    @staticmethod
    async def begin_epoch(session: Session) -> None:
        """After the commit, keep all processes from reading earlier entries outside of processes.

        Every process knows of the epoch at most TRUST_SECONDS later. Call this late, like `send`.
        """
        await session.execute(_NEW_EPOCH)

    @staticmethod
    async def epoch_is_known(session: Session) -> None:
        """Return when every process knows of the last epoch, or trusts no memory."""
        age: float = await session.fetchval(_EPOCH_AGE)
        await asyncio.sleep(TRUST_SECONDS + _COMMIT_SECONDS - age)

    def dispatch(self, topic: str, payload: str) -> None:
        for callback in self._callbacks.get(topic, ()):
            callback(payload)

    async def start(self, *, sole: bool) -> None:
        """Listen from now on. With `sole`, raises NotAlone if another process has done so."""
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
        # An answer that takes longer than trust lasts is of no use.
        connection = await self._connect(statement_timeout=f"{TRUST_SECONDS:g}s")
        try:
            if self._sole:
                await self._claim(connection, wait_seconds)
            self._heard = 0
            await connection.add_listener(CHANNEL, self._received)
            await connection.execute(f"SET application_name = '{LISTENER}'")
            await self._check(connection)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        LISTENER_CONNECTED.set(1)

    @staticmethod
    async def _claim(connection: asyncpg.Connection[Any], wait_seconds: float) -> None:
        # Polled: a wait in PostgreSQL would outlive this process, and keep others from building
        # indexes meanwhile.
        deadline = time.monotonic() + wait_seconds
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", SOLE_PROCESS_LOCK):
            if time.monotonic() > deadline:
                raise NotAlone
            await asyncio.sleep(LOOK_SECONDS)

    async def _keep_listening(self) -> None:
        while True:
            try:
                if self._connection is None:
                    await self._listen(wait_seconds=60.0)
                    logger.info("listening for changes again")
                await self._keep_checking()
            # Any error: a process that stopped listening would trust no memory as long as it lives.
            except Exception as error:  # noqa: BLE001
                if self._connection is not None:
                    logger.warning(
                        "lost the connection that change notifications come by: %s",
                        str(error) or type(error).__name__,
                    )
                await self._drop()
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _keep_checking(self) -> None:
        assert self._connection is not None
        terminated = asyncio.Event()
        self._connection.add_termination_listener(lambda _: terminated.set())
        while not terminated.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await terminated.wait()
            if not terminated.is_set():
                await self._check(self._connection)
        raise asyncpg.InterfaceError("the listening connection was closed")

    async def _check(self, connection: asyncpg.Connection[Any]) -> None:
        """Compare numbers over the listening connection: the pool may be exhausted for longer than
        trust lasts, and an answer shows that this connection is alive."""
        began = time.monotonic()
        row = await connection.fetchrow(_CHECK, timeout=TRUST_SECONDS)
        assert row is not None
        self.listeners = row["listeners"]
        if row["epoch"] != self.epoch:
            # The first epoch that a process sees may be old.
            if self.epoch or row["quiet"]:
                self._quiet_until = time.monotonic() + QUIET_SECONDS
            self.epoch = row["epoch"]
        # Messages from before this connection listened are never heard.
        if self._connection is not None and not await self._hears(row["number"]):
            logger.warning("a change notification got lost; everything remembered is forgotten")
        if self._heard < row["number"]:
            self._forget()
            self._heard = row["number"]
        self._trusted_until = began + TRUST_SECONDS

    async def _hears(self, number: int) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARING_SECONDS):
                while self._heard < number:
                    self._arrived.clear()
                    await self._arrived.wait()
        return self._heard >= number

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._trusted_until = 0.0
        LISTENER_CONNECTED.set(0)
        self._forget()
        if connection is not None and not connection.is_closed():
            connection.terminate()

    def _forget(self) -> None:
        for lost in self._lost:
            lost()

    def _received(self, _: object, __: int, ___: str, message: object) -> None:
        sender, topic, payload = str(message).split(":", 2)
        origin, _, number = sender.partition(".")
        # Older versions send no number.
        if number:
            if int(number) > self._heard + 1:
                self._forget()
            self._heard = max(self._heard, int(number))
            self._arrived.set()
        # This process has already acted on its own messages, see `Database.transaction`.
        if origin != self._origin:
            self.dispatch(topic, payload)
