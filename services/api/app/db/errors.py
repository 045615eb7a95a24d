"""Faults of the database that are no fault of the request."""

from __future__ import annotations

import asyncpg

from app.core.errors import DatabaseUnavailable, Overloaded, RequestTimeout
from app.core.metrics import DATABASE_FAULTS

# The server is away, restarting, or refuses connections; all pass by themselves.
UNAVAILABLE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    # Raised where the server took leave of a connection that was idle, and has not hung up yet.
    asyncpg.InternalClientError,
    # A mistake of whoever runs it, and away all the same until it is mended.
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


class _Translated:
    """Turns operational faults into 503 problems, each counted, so that alerts can tell them from
    bugs. A class, since a generator would cost as much as what it guards on the way of a read."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None:
            return
        if isinstance(error, TimeoutError):
            # Nothing below has a time limit of its own but the wait for a free connection.
            DATABASE_FAULTS.labels("pool_timeout").inc()
            raise Overloaded("No database connection became free in time.") from error
        if isinstance(error, asyncpg.QueryCanceledError | asyncpg.LockNotAvailableError):
            DATABASE_FAULTS.labels("statement_timeout").inc()
            raise RequestTimeout("A statement took longer than the database allows.") from error
        if isinstance(error, asyncpg.DeadlockDetectedError | asyncpg.SerializationError):
            DATABASE_FAULTS.labels("serialization").inc()
            raise Overloaded("The request collided with others; try again.") from error
        # ValueError: asyncpg's way to say that an argument does not fit its type, which is a bug.
        if isinstance(error, UNAVAILABLE) and not isinstance(error, ValueError):
            DATABASE_FAULTS.labels("unavailable").inc()
            raise DatabaseUnavailable from error


class _Connecting(_Translated):
    """The same where a connection is opened: who does not answer in time is away."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            DATABASE_FAULTS.labels("unavailable").inc()
            raise DatabaseUnavailable from error
        super().__exit__(kind, error, trace)


translated = _Translated()
connecting = _Connecting()
