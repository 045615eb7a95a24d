"""The database as routes ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from app.db.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.db.session import Transactional

# What a request's scope holds in place of the database, where all of it is one transaction.
DATABASE_KEY = "listo.database"


def database_of(request: Request) -> Transactional:
    """Where a route that writes does so: all of it is one transaction if the request has a key."""
    return cast("Transactional", request.scope.get(DATABASE_KEY) or request.app.state.database)


async def get_session(request: Request) -> AsyncIterator[Session]:
    """A transaction that commits before the response starts, see `SessionDep`."""
    async with database_of(request).transaction() as session:
        yield session


# With the scope "function" the commit happens before the response starts, so that a failing one
# becomes an error and not a broken promise.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]
