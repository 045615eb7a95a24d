"""Errors that mean that the database is away."""

from __future__ import annotations

import asyncpg
import pytest

from app.core.errors import DatabaseUnavailable
from app.db.errors import translated


@pytest.mark.parametrize(
    "fault",
    [
        # A restart has ended an idle connection, and asyncpg reports that to its next user.
        asyncpg.InternalClientError(
            "cannot switch to state 12; another operation (2) is in progress"
        ),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        ConnectionRefusedError(111, "Connection refused"),
        TimeoutError(),
        # The server is a standby, or its disk or memory is full.
        asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
        asyncpg.DiskFullError("could not extend file: No space left on device"),
        asyncpg.OutOfMemoryError("out of memory"),
    ],
)
def test_a_database_fault_is_database_unavailable(fault: Exception) -> None:
    with pytest.raises(DatabaseUnavailable), translated:
        raise fault


def test_a_wrong_argument_is_a_fault_of_ours() -> None:
    with pytest.raises(asyncpg.DataError), translated:
        raise asyncpg.DataError("invalid input for query argument $1")
