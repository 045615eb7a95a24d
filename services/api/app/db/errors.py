"""Errors of the database that no request caused."""

from __future__ import annotations

import asyncpg

from app.core.errors import DatabaseUnavailable, Overloaded, RequestTimeout
from app.observability.metrics import DATABASE_FAULTS


class LockTimeout(RequestTimeout):
    """PostgreSQL waited for a lock up to its time limit."""


# The server is away, restarting, or refuses connections; all pass by themselves.
UNAVAILABLE = (
    # A time-out is an OSError; in the code that this guards, only connecting has a time-out.
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    # Raised if the server has ended an idle connection, but not closed it yet.
    asyncpg.InternalClientError,
    # An operator's mistake: the database is unavailable until it is mended.
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
# The server is a standby, or its disk or memory is full; another try may succeed.
_UNABLE = (asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientResourcesError)


class _Translated:
    """Turns operational faults into 503 problems, each counted, so that alerts can tell them from
    bugs. A class, not @contextmanager: a generator's overhead would equal the cost of the work it
    guards."""

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
        # asyncpg raises a ValueError for an argument of a wrong type, which is a bug, and for a
        # wrong URL, which is an operator's mistake.
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
