"""How often a caller may call, and the cost of a request."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from app.core.context import context_of, rate_key
from app.core.rates import parse_rates
from app.ratelimit.limiter import refusal
from app.ratelimit.policy import Check, Decision, Policy
from app.route_policy import policy_of as route_policy_of
from app.services import services_of

if TYPE_CHECKING:
    from starlette.types import Scope

    from app.core.actor import Actor
    from app.core.context import RequestContext
    from app.core.settings import Settings

Kind = Literal["anonymous", "user", "api_key"]
KINDS: tuple[Kind, ...] = ("anonymous", "user", "api_key")


def policies(settings: Settings) -> dict[Kind, Policy]:
    """The policies of callers without their own limit, by the kind of actor."""
    return {kind: Policy(kind, settings.rates(kind)) for kind in KINDS}


async def count(
    scope: Scope, cost: int = 1, *, counted_before: int = 0, charged_later: int = 0
) -> None:
    """Count a request under its caller's limit, see `Check`. Raises TooManyRequests."""
    request = context_of(scope)
    policy = policy_of(scope, request.actor)
    caller = caller_of(request)
    if route_policy_of(scope).per_session and request.actor.session_id is not None:
        caller = str(request.actor.session_id)
    decision = await admit(
        scope, request, Check(policy, caller, cost, counted_before, charged_later)
    )
    if decision is not None and not decision.allowed:
        raise refusal(decision)


async def admit(scope: Scope, request: RequestContext, check: Check) -> Decision | None:
    """The decision; the answer gets its fields. None if the policy has no rates."""
    if not check.policy.rates:
        return None
    decision = await services_of(scope).limiter.admit((check,))
    if check.counted_before:
        # The new fields replace those of the earlier count.
        name = check.policy.quoted
        request.headers = [field for field in request.headers if not field[1].startswith(name)]
    request.headers += decision.fields()
    return decision


def policy_of(scope: Scope, actor: Actor) -> Policy:
    if actor.rate_limit is None:
        return services_of(scope).policies[actor.kind]
    return _policy_of_key(actor.rate_limit)


def caller_of(request: RequestContext) -> str:
    """The id to count a caller by: the API key's, the user's, or the client's address."""
    actor = request.actor
    return str(actor.api_key_id or actor.id or rate_key(request.client_address))


@lru_cache(maxsize=1000)
def _policy_of_key(rates: str) -> Policy:
    """The policy of an API key's own rates."""
    return Policy("api_key", parse_rates(rates))
