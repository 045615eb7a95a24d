"""Who is calling, and whether they may call this often: before any route is looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core import context, problem
from app.core.client_address import rate_key
from app.core.errors import Problem
from app.core.middleware import PROBES
from app.ratelimit.limiter import refusal
from app.ratelimit.policy import Check, Policy

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.core.actor import Actor
    from app.core.context import RequestContext
    from app.core.settings import Settings

# The document shows what the caller may see; the page that shows it is the same for everybody.
_DOCUMENT = "/openapi.json"
_ANONYMOUS = PROBES | {"/docs"}
_ASSETS = "/docs/"


class AuthMiddleware:
    """Sets the context's actor, and counts the request under the policy that goes with it."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.policies = {
            "anonymous": Policy("anonymous", settings.rates("anonymous")),
            "user": Policy("user", settings.rates("user")),
            "api_key": Policy("api_key", settings.rates("api_key")),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = context.of(scope)
        try:
            await self._admit(scope, request)
        except Problem as refused:
            await problem.response(refused)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _admit(self, scope: Scope, request: RequestContext) -> None:
        state = scope["app"].state
        path = scope["path"]
        if path in _ANONYMOUS or path.startswith(_ASSETS):
            return
        uncounted = path == _DOCUMENT
        given = request.fields.get(b"authorization")
        try:
            request.actor = await state.authenticator.authenticate(
                None if given is None else given.decode("latin-1")
            )
        except Problem as refused:
            # Guessing credentials is counted like any other anonymous request.
            if refused.status == 401 and not uncounted:  # noqa: PLR2004
                await self._count(state, request)
            raise
        if not uncounted:
            await self._count(state, request)

    async def _count(self, state: object, request: RequestContext) -> None:
        policy = self.policies[request.actor.kind]
        if not policy.rates:
            return
        check = Check(policy, _key(request.actor, request.client))
        decision = await state.limiter.admit((check,))  # type: ignore[attr-defined]
        request.headers += decision.fields()
        if not decision.allowed:
            raise refusal(decision)


def _key(actor: Actor, client: str) -> str:
    return str(actor.api_key_id or actor.id or rate_key(client))
