"""The limits that routes set: `charge`, and `limit`, a subclass of fastapi-limiter's RateLimiter.

Only the class `RateLimiter`, used in `Depends(RateLimiter(…))`, comes from that package. Listo's
limiter decides on caller, count and answer, unless the route has an identifier or a callback of its
own; docs/decisions/0012.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from fastapi import Request, Response
from fastapi_limiter.callback import default_callback
from fastapi_limiter.depends import RateLimiter
from fastapi_limiter.identifier import default_identifier

from app.core.context import context_of
from app.core.rates import Rate, parse_rates
from app.http.middleware.request import route_of
from app.ratelimit import costs
from app.ratelimit.counting import admit, caller_of, count, policy_of
from app.ratelimit.limiter import refusal
from app.ratelimit.policy import Check, Policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pyrate_limiter import Limiter

    from app.ratelimit.policy import Decision

# Characters that must not stand between the quotes of a policy's name.
_UNQUOTABLE = re.compile(r"[^ !#-\[\]-~]")

_cache: WeakKeyDictionary[Limiter, tuple[Rate, ...]] = WeakKeyDictionary()


async def charge(request: Request, cost: int) -> None:
    """Count the request as `cost` requests in total; one was counted on arrival.

    Raises TooManyRequests.
    """
    if cost > 1:
        await count(request.scope, cost, counted_before=1)


@asynccontextmanager
async def charge_query_time(request: Request, counted: int) -> AsyncIterator[None]:
    """Charge the time PostgreSQL spent on list queries in the `with` block, failed ones included.

    Charge only what exceeds `counted`. This request is never refused for it; later ones are.
    """
    context = context_of(request.scope)
    try:
        yield
    finally:
        cost = costs.of_seconds(context.query_seconds)
        if cost > counted:
            policy = policy_of(request.scope, context.actor)
            check = Check(policy, caller_of(context), cost, counted, charge_always=True)
            await admit(request.scope, context, check)


class limit(RateLimiter):  # noqa: N801 - used like the function that it looks like
    """A dependency that limits each caller of a route, besides the limit on the caller's requests.

        @router.get("/reports", dependencies=[Depends(limit("10/minute", name="reports"))])

    Routes with the same name and rates are counted together. The name becomes a label of a metric.
    Raises ValueError if `rates` are invalid.
    """

    def __init__(self, rates: str, *, name: str, cost: int = 1) -> None:
        self.policy = Policy(name, parse_rates(rates))
        self.cost = cost
        self.identifier, self.callback = default_identifier, default_callback
        self.blocking = False

    async def __call__(self, request: Request, response: Response) -> None:
        await _limit(self, self.policy, request, response, self.cost)


def patch_rate_limiter() -> None:
    """Have every `Depends(RateLimiter(…))` counted by Listo's limiter.

    The class itself is changed, since routes may name it anywhere: in a router, in a dependency.
    """
    RateLimiter.__call__ = _call  # type: ignore[method-assign]


async def _call(self: RateLimiter, request: Request, response: Response) -> None:
    if getattr(request.scope["endpoint"], "_skip_limiter", False):
        return
    # As in the package, each route is counted separately.
    name = _UNQUOTABLE.sub("_", f"{request.method} {route_of(request.scope)}")
    await _limit(self, _policy(name, _rates(self.limiter)), request, response)


async def _limit(
    limiter: RateLimiter, policy: Policy, request: Request, response: Response, cost: int = 1
) -> None:
    context = context_of(request.scope)
    if limiter.identifier is default_identifier:
        # The package's default believes whatever a client writes into X-Forwarded-For.
        caller = caller_of(context)
    else:
        caller = str(await limiter.identifier(request))
    headers_before = list(context.headers)
    while decision := await admit(request.scope, context, Check(policy, caller, cost)):
        if decision.allowed or not limiter.blocking:
            break
        context.headers = list(headers_before)
        # REQUEST_TIMEOUT bounds the wait.
        await asyncio.sleep(decision.retry_after)
    if decision is not None and not decision.allowed:
        await _refuse(limiter, decision, request, response)


async def _refuse(
    limiter: RateLimiter, decision: Decision, request: Request, response: Response
) -> None:
    problem = refusal(decision)
    if limiter.callback is default_callback:
        raise problem
    context_of(request.scope).headers += [
        (name.lower().encode(), value.encode()) for name, value in problem.headers.items()
    ]
    await limiter.callback(request, response)


@lru_cache(maxsize=1000)
def _policy(name: str, rates: tuple[Rate, ...]) -> Policy:
    return Policy(name, rates)


def _rates(limiter: Limiter) -> tuple[Rate, ...]:
    """The rates of the limiter's bucket, in whole seconds, rounded up. Raises TypeError where they
    cannot be known beforehand."""
    rates = _cache.get(limiter)
    if rates is None:
        bucket: Any = getattr(limiter.bucket_factory, "bucket", None)
        if bucket is None:
            raise TypeError("A RateLimiter takes a Limiter of rates or of one bucket.")
        rates = tuple(Rate(rate.limit, -(-rate.interval // 1000)) for rate in bucket.rates)
        _cache[limiter] = rates
    return rates
