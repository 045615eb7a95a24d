"""What routes ask for in their signatures."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request, Response

from app.auth.errors import InvalidCredentials, TooManyGuesses
from app.auth.service import Auth
from app.core import context, emails
from app.core.actor import Actor
from app.core.client_address import rate_key
from app.core.errors import Problem
from app.core.metrics import RATE_LIMITED
from app.db.session import Session
from app.guesses.guesses import digests
from app.idempotency.middleware import database_of
from app.idempotency.service import Answered
from app.ratelimit.limiter import refusal
from app.ratelimit.policy import Check, Policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

logger = logging.getLogger("listo.auth")


async def get_session(request: Request) -> AsyncIterator[Session]:
    """A transaction that commits before the response starts, see `SessionDep`."""
    async with database_of(request).transaction() as session:
        yield session


async def get_actor(request: Request) -> Actor:
    return context.of(request.scope).actor


async def no_store(response: Response) -> None:
    """Have no cache keep what a route answers: credentials (RFC 6749, section 5.1), persons."""
    response.headers["Cache-Control"] = "no-store"


async def get_auth(request: Request) -> Auth:
    state = request.app.state
    return Auth(state.settings, database_of(request), state.passwords, state.tokens)


# With the scope "function" the commit happens before the response starts, so that a failing one
# becomes an error and not a broken promise.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]
CurrentActor = Annotated[Actor, Depends(get_actor)]
AuthDep = Annotated[Auth, Depends(get_auth)]


@asynccontextmanager
async def password_try(request: Request, account: str) -> AsyncIterator[None]:
    """Have the block check a password of `account`; until it has, it counts as a wrong one.

    Otherwise so many could be tried as fit in the time that it takes to find the first one wrong.
    Raises Overloaded, TooManyGuesses, TooManyRequests.
    """
    state = request.app.state
    state.passwords.require_room()
    account = emails.known_as(account)
    address = rate_key(context.of(request.scope).client)
    secret = state.settings.jwt_secret.get_secret_value()
    guess = await state.guesses.begin(*digests(secret, account, address))
    if guess.wait_ms:
        RATE_LIMITED.labels("login-delay").inc()
        raise TooManyGuesses(headers={"Retry-After": str(guess.retry_after)})
    try:
        await throttle_login(request, account, known=guess.known)
        yield
    except InvalidCredentials:
        if guess.begins_waiting:
            logger.warning("wrong passwords make the next one wait: account %s", guess.account[:12])
        raise
    except (Problem, Answered):
        await state.guesses.withdraw(guess)
        raise
    await state.guesses.succeed(guess)


async def throttle_login(request: Request, account: str, *, known: bool = False) -> None:
    """Count a log-in or what is like one, by client address and by account.

    From an address known to the account it counts by both together, so that no stranger can use
    up what the account's owner has. Raises TooManyRequests.
    """
    state = request.app.state
    rates = state.settings.rates("login")
    if not rates:
        return
    address = rate_key(context.of(request.scope).client)
    account = emails.known_as(account)
    decision = await state.limiter.admit(
        (
            Check(Policy("login", rates), address),
            # Nobody can type the NUL, and so use up what is another's.
            Check(Policy("login-account", rates), f"{account}\0{address}" if known else account),
        )
    )
    if not decision.allowed:
        raise refusal(decision)
