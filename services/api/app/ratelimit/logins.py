"""How often passwords may be tried, right or wrong."""

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
    """Count a log-in or a similar request, by client address and by account.

    If the account knows the address, the request counts by the pair instead of the account, so that
    strangers cannot use up the tries of the account's owner. Raises TooManyRequests.
    """
    services = services_of(request.scope)
    rates = services.settings.rates("login")
    if not rates:
        return
    address = rate_key(context_of(request.scope).client_address)
    account = emails.lookup_form(account)
    decision = await services.limiter.admit(
        (
            Check(Policy("login", rates), address),
            # Bodies with a NUL are refused, so strangers cannot name this key as an account.
            Check(Policy("login-account", rates), f"{account}\0{address}" if known else account),
        )
    )
    if not decision.allowed:
        raise refusal(decision)
