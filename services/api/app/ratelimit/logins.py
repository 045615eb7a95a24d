"""How often passwords may be tried, whether or not they are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core import emails
from app.core.context import context_of, rate_key
from app.ratelimit.limiter import refusal
from app.ratelimit.policy import Check, Policy
from app.services import services_of

if TYPE_CHECKING:
    from fastapi import Request


async def throttle_login(request: Request, account: str, *, known: bool = False) -> None:
    """Count a log-in or what is like one, by client address and by account.

    From an address known to the account it counts by both together, so that no stranger can use
    up what the account's owner has. Raises TooManyRequests.
    """
    services = services_of(request.scope)
    rates = services.settings.rates("login")
    if not rates:
        return
    address = rate_key(context_of(request.scope).client)
    account = emails.known_as(account)
    decision = await services.limiter.admit(
        (
            Check(Policy("login", rates), address),
            # Nobody can type the NUL, and so use up what is another's.
            Check(Policy("login-account", rates), f"{account}\0{address}" if known else account),
        )
    )
    if not decision.allowed:
        raise refusal(decision)
