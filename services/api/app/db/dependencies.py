"""The database as routes ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from app.db.session import Session
from app.services import services_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.db.session import TransactionFactory

# The key of the request transaction in a request's scope; it takes the place of the database.
DATABASE_KEY = "listo.database"


def database_of(request: Request) -> TransactionFactory:
    """The database for a route that writes; with an idempotency key, the request transaction."""
    request_transaction: TransactionFactory | None = request.scope.get(DATABASE_KEY)
    return request_transaction or services_of(request.scope).database


async def get_session(request: Request) -> AsyncIterator[Session]:
    """A transaction that commits before the response starts, see `SessionDep`."""
    async with database_of(request).transaction() as session:
        yield session


# With the scope "function" the commit happens before the response starts, so that a failed commit
# becomes an error response.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]
