"""Routes that bypass FastAPI: without dependencies and models, and not in the OpenAPI document. An
endpoint takes the parameters of its path and the request, and returns an answer to send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import trace
from starlette.requests import Request
from starlette.routing import Match, Route

from app.core.context import context_of
from app.core.errors import Problem
from app.http.problem import handle_problem
from app.route_policy import inherit_policy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

    Endpoint = Callable[..., Awaitable["Sendable"]]

JSON = "application/json"


class Sendable(Protocol):
    """An answer: an `Answer`, or one that is made while it is sent."""

    async def send(self, send: Send) -> None: ...


class Answer:
    """A response with a JSON body, or none. Starlette's own response takes several times as long to
    make, most of it for its header fields."""

    __slots__ = ("_body", "_fields", "_status")

    def __init__(
        self, text: str | bytes = b"", status: int = 200, fields: Mapping[str, str] | None = None
    ) -> None:
        self._status = status
        self._body = text if isinstance(text, bytes) else text.encode()
        self._fields = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in (fields or {}).items()
        ]
        if self._body:
            length = str(len(self._body)).encode()
            self._fields += ((b"content-length", length), (b"content-type", JSON.encode()))

    async def send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": self._status, "headers": self._fields}
        await send(start)
        await send({"type": "http.response.body", "body": self._body})


class PlainRouter:
    """A table of plain routes: one for each path, in the order in which paths are first named."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._by_path: dict[str, _PlainRoute] = {}

    @property
    def routes(self) -> list[Route]:
        return list(self._by_path.values())

    def route(self, method: str, path: str) -> Callable[[Endpoint], Endpoint]:
        def add(endpoint: Endpoint) -> Endpoint:
            route = self._by_path.get(path)
            if route is None:
                route = self._by_path[path] = _PlainRoute(self.prefix + path)
            route.add(method, endpoint)
            return endpoint

        return add


class PlainRoutes:
    """The innermost middleware: answers requests for plain routes, and leaves all others, also
    those with another method, to the application."""

    def __init__(self, app: ASGIApp, routes: Sequence[Route], *, tracing: bool) -> None:
        self.app = app
        self.routes = routes
        self.tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for route in self.routes:
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope.update(found)
                    if self.tracing:
                        # As FastAPI does for its own routes.
                        span = trace.get_current_span()
                        span.update_name(f"{scope['method']} {route.path}")
                        span.set_attribute("http.route", route.path)
                    await _answer(route, scope, receive, send)
                    return
        await self.app(scope, receive, send)


async def _answer(route: Route, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await route.endpoint(scope, receive, send)
    except Problem as refusal:
        if context_of(scope).started:
            raise
        response = await handle_problem(Request(scope), refusal)
        await response(scope, receive, send)


class _PlainRoute(Route):
    """Has one endpoint for each method of a path, so that a path is matched once."""

    def __init__(self, path: str) -> None:
        self._endpoints = _Endpoints()
        super().__init__(path, self._endpoints)
        # Without the HEAD that Starlette adds: `RequestMiddleware` turns HEAD into GET.
        self.methods = set()

    def add(self, method: str, endpoint: Endpoint) -> None:
        self.methods = {*(self.methods or ()), method}
        self._endpoints.add(method, endpoint)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        if match is not Match.NONE:
            # Metrics and log lines name the request by it; FastAPI sets it for its own routes.
            found["route"] = self
        return match, found


class _Endpoints:
    """Starlette calls an object that is no function as an ASGI application."""

    def __init__(self) -> None:
        self._by_method: dict[str, Endpoint] = {}

    def add(self, method: str, endpoint: Endpoint) -> None:
        self._by_method[method] = endpoint
        inherit_policy(self, endpoint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parameters: dict[str, Any] = scope["path_params"]
        endpoint = self._by_method[scope["method"]]
        answer = await endpoint(**parameters, request=Request(scope, receive))
        await answer.send(send)
