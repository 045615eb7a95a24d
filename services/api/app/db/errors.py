"""Faults of the database that are no fault of the request."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from app.core.errors import DatabaseUnavailable, Overloaded, RequestTimeout
from app.core.metrics import DATABASE_FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

# The server is away, restarting, or refuses connections; all pass by themselves.
UNAVAILABLE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Turn operational faults into 503 problems, each counted, so that alerts can tell them from
    bugs."""
    try:
        yield
    except TimeoutError as error:
        # Nothing below has a time limit of its own but the wait for a free connection.
        DATABASE_FAULTS.labels("pool_timeout").inc()
        raise Overloaded("No database connection became free in time.") from error
    except (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError) as error:
        DATABASE_FAULTS.labels("statement_timeout").inc()
        raise RequestTimeout("A statement took longer than the database allows.") from error
    except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
        DATABASE_FAULTS.labels("serialization").inc()
        raise Overloaded("The request collided with others; try again.") from error
    except UNAVAILABLE as error:
        if isinstance(error, ValueError):
            # asyncpg's way to say that an argument does not fit its type: a bug, not an outage.
            raise
        DATABASE_FAULTS.labels("unavailable").inc()
        raise DatabaseUnavailable from error
