"""What routes ask for in their signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request, Response

from app.auth import emails
from app.auth.service import Auth
from app.core import context
from app.core.actor import Actor
from app.core.client_address import rate_key
from app.db.session import Session
from app.idempotency.middleware import database_of
from app.ratelimit.limiter import refusal
from app.ratelimit.policy import Check, Policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def get_session(request: Request) -> AsyncIterator[Session]:
    """A transaction that commits before the response starts, see `SessionDep`."""
    async with database_of(request).transaction() as session:
        yield session


def get_actor(request: Request) -> Actor:
    return context.of(request.scope).actor


def no_store(response: Response) -> None:
    """Have no cache keep what a route answers: credentials (RFC 6749, section 5.1), persons."""
    response.headers["Cache-Control"] = "no-store"


def get_auth(request: Request) -> Auth:
    state = request.app.state
    return Auth(state.settings, database_of(request), state.passwords, state.tokens)


# With the scope "function" the commit happens before the response starts, so that a failing one
# becomes an error and not a broken promise.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]
CurrentActor = Annotated[Actor, Depends(get_actor)]
AuthDep = Annotated[Auth, Depends(get_auth)]


async def throttle_login(request: Request, account: str) -> None:
    """Count a try at a password, per client address and per account. Raises TooManyRequests."""
    state = request.app.state
    rates = state.settings.rates("login")
    if not rates:
        return
    client = rate_key(context.of(request.scope).client)
    decision = await state.limiter.admit(
        (
            Check(Policy("login", rates), client),
            Check(Policy("login-account", rates), emails.known_as(account)),
        )
    )
    if not decision.allowed:
        raise refusal(decision)
