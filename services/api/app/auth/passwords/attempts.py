"""Password tries: each wrong password makes the next try wait."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.auth.errors import InvalidCredentials, TooManyGuesses
from app.core import emails
from app.core.context import context_of, rate_key
from app.observability.metrics import RATE_LIMITED
from app.ratelimit.logins import throttle_login
from app.services import services_of
from app.throttling.throttle import digests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import Request

logger = logging.getLogger("listo.auth")


@asynccontextmanager
async def password_try(request: Request, account: str) -> AsyncIterator[None]:
    """The block checks a password of `account`; until the block ends, the try counts as wrong.

    Otherwise a client could make many tries while the first is checked. Raises
    Overloaded, TooManyGuesses, TooManyRequests.
    """
    services = services_of(request.scope)
    services.passwords.require_room()
    account = emails.lookup_form(account)
    address = rate_key(context_of(request.scope).client_address)
    secret = services.settings.jwt_secret.get_secret_value()
    guess = await services.login_throttle.begin(*digests(secret, account, address))
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
    except Exception:
        await services.login_throttle.withdraw(guess)
        raise
    await services.login_throttle.succeed(guess)
