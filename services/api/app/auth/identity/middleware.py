"""Authenticates the caller and counts the request, before routing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.context import context_of
from app.core.errors import Problem
from app.http import problem
from app.ratelimit import counting
from app.route_policy import policy_of
from app.services import services_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.core.context import RequestContext


class AuthMiddleware:
    """Sets the request context's actor, and counts the request under the actor's limit."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = context_of(scope)
        try:
            await self._identify(scope, request)
        except Problem as refusal:
            await problem.response(refusal)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _identify(self, scope: Scope, request: RequestContext) -> None:
        policy = policy_of(scope)
        if policy.probe or policy.public:
            return
        try:
            request.actor = await services_of(scope).authenticator.authenticate(
                request.field(b"authorization")
            )
        except Problem as refusal:
            # A request with wrong credentials is counted as an anonymous request.
            if refusal.status == 401:  # noqa: PLR2004
                await counting.count(scope)
            raise
        length = request.fields.get(b"content-length")
        cost = policy.cost(scope["query_string"], length)
        await counting.count(scope, charged_later=cost - 1)
