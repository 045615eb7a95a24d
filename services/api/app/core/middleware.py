"""What happens to every request before and after the application: plain ASGI, outermost first."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

from app.core import context, problem
from app.core.client_address import ClientAddress
from app.core.context import RequestContext
from app.core.errors import ContentTooLarge, Overloaded, Problem, RequestTimeout
from app.core.log import ACCESS
from app.core.metrics import REQUESTS_IN_PROGRESS, REQUESTS_SHED, observe_request

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from app.core.settings import Settings

logger = logging.getLogger("listo.http")

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{8,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_NO_TRACE = "0" * 32

_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"accelerometer=(), camera=(), geolocation=(), microphone=()"),
]
_API_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

MAX_HEADER_BYTES = 32_768
MAX_HEADERS = 100
MAX_TARGET_BYTES = 16_384


class RequestMiddleware:
    """Ids, security headers, the access line, metrics, and an answer to every exception."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.address = ClientAddress(settings.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        request = RequestContext(
            request_id=_request_id(headers.get("x-request-id")),
            trace_id=_trace_id(headers.get("traceparent")),
            client=self.address.of(scope, headers),
        )
        context.enter(scope, request)
        status, size = 0, 0

        async def respond(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                fields = message["headers"] = list(message.get("headers", ()))
                fields.append((b"x-request-id", request.request_id.encode()))
                fields.extend(_SECURITY_HEADERS)
                if not any(name == b"content-security-policy" for name, _ in fields):
                    fields.append(_API_POLICY)
                fields.extend(request.headers)
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, respond)
        except Exception:
            logger.exception("unhandled exception")
            if status:
                # Half a response is out; closing the connection is all that tells the client.
                raise
            await problem.response(Problem())(scope, receive, respond)
        finally:
            self._record(scope, request, status, size, time.perf_counter() - started)

    def _record(
        self, scope: Scope, request: RequestContext, status: int, size: int, seconds: float
    ) -> None:
        route = route_of(scope)
        # A client may send any method; only routed ones become a label.
        observe_request(
            scope["method"] if route else "none", route or "none", status or 499, seconds
        )
        if ACCESS.isEnabledFor(logging.INFO):
            ACCESS.info(
                "request",
                extra={
                    "method": scope["method"],
                    "route": route,
                    "path": scope["path"],
                    "status": status or 499,
                    "ms": round(seconds * 1000, 2),
                    "bytes": size,
                    "user_id": str(request.actor.id) if request.actor.id else None,
                    "client": request.client,
                },
            )


class ProtectionMiddleware:
    """Limits on headers, body, time and concurrency, each answered before it hurts."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.max_body = settings.max_body_bytes
        self.timeout = settings.request_timeout
        self.capacity = settings.max_concurrent_requests
        self.busy = 0
        REQUESTS_IN_PROGRESS.set_function(lambda: self.busy)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(("/health", "/metrics")):
            await self.app(scope, receive, send)
            return
        if refusal := self._refusal(scope):
            await refusal(scope, receive, send)
            return
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        self.busy += 1
        try:
            async with asyncio.timeout(self.timeout) as limit:
                await self.app(scope, self._counted(receive), note_start)
        except TimeoutError:
            if not limit.expired() or started:
                raise
            REQUESTS_SHED.labels("timeout").inc()
            await problem.response(RequestTimeout())(scope, receive, send)
        finally:
            self.busy -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        if self.busy >= self.capacity:
            REQUESTS_SHED.labels("concurrency").inc()
            return problem.response(Overloaded())
        size, headers = 0, scope["headers"]
        for name, value in headers:
            size += len(name) + len(value)
            if name == b"content-length" and value.isdigit() and int(value) > self.max_body:
                REQUESTS_SHED.labels("body").inc()
                refused = problem.response(ContentTooLarge(self._body_detail()))
                # The client is still sending what will not be read.
                refused.headers["Connection"] = "close"
                return refused
        if size > MAX_HEADER_BYTES or len(headers) > MAX_HEADERS:
            REQUESTS_SHED.labels("headers").inc()
            return problem.response(_HeadersTooLarge())
        if len(scope["query_string"]) + len(scope["raw_path"] or b"") > MAX_TARGET_BYTES:
            REQUESTS_SHED.labels("target").inc()
            return problem.response(_TargetTooLong())
        return None

    def _counted(self, receive: Receive) -> Receive:
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self.max_body:
                REQUESTS_SHED.labels("body").inc()
                raise ContentTooLarge(self._body_detail())
            return message

        return counted

    def _body_detail(self) -> str:
        return f"The body is larger than the {self.max_body} bytes that this server accepts."


class _HeadersTooLarge(Problem):
    """The header fields are too large or too many."""

    status, code, title = 431, "headers_too_large", "Request header fields too large"


class _TargetTooLong(Problem):
    """The URL is too long."""

    status, code, title = 414, "uri_too_long", "URI too long"


def route_of(scope: Scope) -> str | None:
    """The template of the route that served this request, e.g. `/users/{user_id}`."""
    route: Any = scope.get("route")
    return getattr(route, "path", None)


def _request_id(given: str | None) -> str:
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return os.urandom(16).hex()


def _trace_id(traceparent: str | None) -> str:
    """The trace to go on with (W3C Trace Context), or a new one."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is not None and match[1] != _NO_TRACE and not match[0].startswith("ff"):
        return match[1]
    return os.urandom(16).hex()
