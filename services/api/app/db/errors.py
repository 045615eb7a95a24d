"""Faults of the database that are no fault of the request."""

from __future__ import annotations

import asyncpg

from app.core.errors import DatabaseUnavailable, Overloaded, RequestTimeout
from app.observability.metrics import DATABASE_FAULTS


class LockTimeout(RequestTimeout):
    """A lock was not free for as long as PostgreSQL was to wait for it."""


# The server is away, restarting, or refuses connections; all pass by themselves.
UNAVAILABLE = (
    # A time-out is one too: nothing below has a limit of its own but connecting.
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
# Whoever asks again may be luckier: it is a standby, or its disk or memory is full.
_UNABLE = (asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientResourcesError)


class _Translated:
    """Turns operational faults into 503 problems, each counted, so that alerts can tell them from
    bugs. A class, since a generator would cost as much as what it guards on the way of a read."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None:
            return
        if isinstance(error, asyncpg.LockNotAvailableError):
            raise LockTimeout from error
        if isinstance(error, asyncpg.QueryCanceledError):
            DATABASE_FAULTS.labels("statement_timeout").inc()
            raise RequestTimeout("A statement took longer than the database allows.") from error
        if isinstance(error, asyncpg.DeadlockDetectedError | asyncpg.SerializationError):
            DATABASE_FAULTS.labels("serialization").inc()
            raise Overloaded("The request collided with others; try again.") from error
        # ValueError: asyncpg's way to say that an argument does not fit its type, which is a bug;
        # and that it takes no such URL, which is none.
        if isinstance(error, UNAVAILABLE) and (
            not isinstance(error, ValueError) or isinstance(error, asyncpg.ClientConfigurationError)
        ):
            DATABASE_FAULTS.labels("unavailable").inc()
            raise DatabaseUnavailable from error
        if isinstance(error, _UNABLE):
            DATABASE_FAULTS.labels("unavailable").inc()
            raise DatabaseUnavailable(
                "The database cannot do this at the moment; try again shortly."
            ) from error


translated = _Translated()
