"""How often a caller may call, and what routes say about it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from fastapi import Request

from app.core import context
from app.core.client_address import rate_key
from app.core.rates import parse_rates
from app.ratelimit import costs
from app.ratelimit.limiter import refusal
from app.ratelimit.policy import Check, Policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.types import Scope

    from app.core.actor import Actor
    from app.core.context import RequestContext
    from app.core.settings import Settings

Kind = Literal["anonymous", "user", "api_key"]
# By which a user gets rid of a thief, who could use up the user's limit with a stolen token.
_OF_A_SESSION = frozenset({"/auth/password", "/auth/logout"})
KINDS: tuple[Kind, ...] = ("anonymous", "user", "api_key")


def policies(settings: Settings) -> dict[Kind, Policy]:
    """The limits of those who have none of their own, by the kind of actor."""
    return {kind: Policy(kind, settings.rates(kind)) for kind in KINDS}


async def count(scope: Scope, cost: int = 1, *, counted: int = 0, ahead: int = 0) -> None:
    """Count a request under its caller's limit, see `Check`. Raises TooManyRequests."""
    request = context.of(scope)
    policy = _policy(scope, request.actor)
    caller = _caller(request)
    if scope["path"] in _OF_A_SESSION and request.actor.session_id is not None:
        caller = str(request.actor.session_id)
    await _admit(scope, request, Check(policy, caller, cost, counted, ahead))


async def charge(request: Request, cost: int) -> None:
    """Count the request for `cost` in all; for one it was when it came. Raises TooManyRequests."""
    if cost > 1:
        await count(request.scope, cost, counted=1)


@asynccontextmanager
async def taken(request: Request, counted: int) -> AsyncIterator[None]:
    """Charge the caller for what the lists of the block took of PostgreSQL, however they ended.

    As far as it is more than was `counted`: the request itself is through, the next ones wait.
    """
    known = context.of(request.scope)
    try:
        yield
    finally:
        cost = costs.of_seconds(known.query_seconds)
        if cost > counted:
            policy = _policy(request.scope, known.actor)
            check = Check(policy, _caller(known), cost, counted, spent=True)
            await _admit(request.scope, known, check)


def limit(rates: str, *, name: str, cost: int = 1) -> Callable[[Request], Awaitable[None]]:
    """A dependency that limits each caller of a route, beside the limit that they have anyway.

        @router.get("/reports", dependencies=[Depends(limit("10/minute", name="reports"))])

    Routes with the same name and rates are counted together. The name becomes a label of a metric.
    Raises ValueError where `rates` are none.
    """
    policy = Policy(name, parse_rates(rates))

    async def limited(request: Request) -> None:
        known = context.of(request.scope)
        await _admit(request.scope, known, Check(policy, _caller(known), cost))

    return limited


async def _admit(scope: Scope, request: RequestContext, check: Check) -> None:
    if not check.policy.rates:
        return
    decision = await scope["app"].state.limiter.admit((check,))
    if check.counted:
        # Said again, with what is left now.
        said = check.policy.quoted
        request.headers = [field for field in request.headers if not field[1].startswith(said)]
    request.headers += decision.fields()
    if not decision.allowed:
        raise refusal(decision)


def _policy(scope: Scope, actor: Actor) -> Policy:
    if actor.rate_limit is None:
        policy: Policy = scope["app"].state.policies[actor.kind]
        return policy
    return _own(actor.rate_limit)


def _caller(request: RequestContext) -> str:
    actor = request.actor
    return str(actor.api_key_id or actor.id or rate_key(request.client))


@lru_cache(maxsize=1000)
def _own(rates: str) -> Policy:
    """The limit that a key was given."""
    return Policy("api_key", parse_rates(rates))
