"""Routes that bypass FastAPI: without dependencies and models, and not in the OpenAPI document. An
endpoint takes the parameters of its path and the request, and returns a response."""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.routing import Match, Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    Function = Callable[..., Awaitable[Response]]


class PlainRouter:
    """A table of plain routes, in the order of their decorators."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.routes: list[Route] = []

    def route(self, method: str, path: str) -> Callable[[Function], Function]:
        def add(function: Function) -> Function:
            self.routes.append(_PlainRoute(self.prefix + path, method, function))
            return function

        return add


class _PlainRoute(Route):
    def __init__(self, path: str, method: str, function: Function) -> None:
        super().__init__(path, _Endpoint(function), methods=[method])
        # Without the HEAD that Starlette adds: `RequestMiddleware` turns HEAD into GET.
        self.methods = {method}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        if match is not Match.NONE:
            # Metrics and log lines name the request by it; FastAPI sets it for its own routes.
            found["route"] = self
        return match, found


class _Endpoint:
    """Starlette calls an object that is no function as an ASGI application."""

    def __init__(self, function: Function) -> None:
        # Copies the policy of the route, too, which is an attribute of the function.
        update_wrapper(self, function)
        self._function = function

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parameters: dict[str, Any] = scope["path_params"]
        response = await self._function(**parameters, request=Request(scope, receive))
        await response(scope, receive, send)
