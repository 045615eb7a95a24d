"""The database as routes ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from app.db.session import Session
from app.services import services_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.db.session import Transactional

# What a request's scope holds in place of the database, where all of it is one transaction.
DATABASE_KEY = "listo.database"


def database_of(request: Request) -> Transactional:
    """Where a route that writes does so: all of it is one transaction if the request has a key."""
    joint: Transactional | None = request.scope.get(DATABASE_KEY)
    return joint or services_of(request.scope).database


async def get_session(request: Request) -> AsyncIterator[Session]:
    """A transaction that commits before the response starts, see `SessionDep`."""
    async with database_of(request).transaction() as session:
        yield session


# With the scope "function" the commit happens before the response starts, so that a failing one
# becomes an error and not a broken promise.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]
