"""Every request gets ids, security headers, the access line, metrics, and an answer."""

from __future__ import annotations

import logging
import os
import re
import time
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from starlette.requests import ClientDisconnect

from app.core import context
from app.core.context import RequestContext
from app.core.errors import (
    Problem,
)
from app.http import problem
from app.http.access_log import AccessLog
from app.http.client_address import ClientAddress
from app.http.fields import join_fields
from app.http.routes import METHODS, is_routed
from app.observability.log import in_json
from app.observability.metrics import observe_request
from app.overload.admission import SINCE_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from app.core.settings import Settings
    from app.http.fields import FieldDoubled

logger = logging.getLogger("listo.http")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.:-]{8,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_NO_TRACE = b"0" * 32

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
# The scope's key for the security headers of a route that serves a page.
SECURITY_HEADERS_KEY = "listo.security_headers"

# The scope's key that tells a route that its body will not be sent.
HEAD_KEY = "listo.head"

PART_BYTES = 262_144


class RequestMiddleware:
    """Ids, security headers, the access line, metrics, and an answer to every exception."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.address = ClientAddress(settings.trusted_proxies)
        self.access_log = AccessLog(as_json=in_json(settings))
        self.tracing = settings.otel_exporter_otlp_endpoint is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = scope.get(SINCE_KEY) or time.perf_counter()
        scope, doubled = _with_single_fields(scope)
        request = self._context(scope)
        method = scope["method"]
        if method == "HEAD" and not is_routed(scope):
            scope = _as_get(scope)
        context.enter(scope, request)
        app = self.app if doubled is None else problem.response(doubled)
        status, size = 0, 0

        async def respond(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                request.started = True
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    *scope.get(SECURITY_HEADERS_KEY, SECURITY_HEADERS),
                    (b"x-request-id", request.request_id.encode()),
                    *request.headers,
                ]
            elif method == "HEAD":
                message["body"] = b""
            for part in _parts(message):
                size += len(part.get("body", b""))
                await send(part)

        try:
            await app(scope, receive, respond)
        except ClientDisconnect:
            # The request is incomplete, and no client waits for an answer.
            logger.debug("the client has gone")
        except Exception:
            logger.exception("unhandled exception")
            if request.started:
                # A part of the answer is sent; only a closed connection can report the error.
                raise
            await problem.response(Problem())(scope, receive, respond)
        finally:
            # A client may leave before the answer, which nginx logs as 499.
            seconds = time.perf_counter() - began
            self._record(scope, method, request, status or 499, size, seconds)

    def _context(self, scope: Scope) -> RequestContext:
        fields = dict(scope["headers"])
        return RequestContext(
            request_id=request_id(fields.get(b"x-request-id")),
            trace_id=self._span_trace_id() or _trace_id(fields.get(b"traceparent")),
            client_address=self.address.address_of(scope),
            fields=fields,
        )

    def _record(
        self,
        scope: Scope,
        method: str,
        request: RequestContext,
        status: int,
        size: int,
        seconds: float,
    ) -> None:
        route = route_of(scope)
        # A client may send any method, also to a route; labels take only known methods.
        label = method if route and method in METHODS else "none"
        observe_request(label, route or "none", status, seconds)
        self.access_log.write(
            request,
            method=method,
            route=route,
            path=scope["path"],
            status=status,
            seconds=seconds,
            size=size,
        )

    def _span_trace_id(self) -> str | None:
        """The trace id of FastAPI's span for this request; None without tracing."""
        if not self.tracing:
            return None
        return format(trace.get_current_span().get_span_context().trace_id, "032x")


def _with_single_fields(scope: Scope) -> tuple[Scope, FieldDoubled | None]:
    headers = scope["headers"]
    if len({name for name, _ in headers}) == len(headers):
        return scope, None
    together, doubled = join_fields(headers)
    return {**scope, "headers": together}, doubled


def _as_get(scope: Scope) -> Scope:
    """Every route that answers GET answers HEAD (RFC 9110, section 9.1)."""
    # The server's own scope stays unchanged: its method tells the server that no body follows.
    return {**scope, "method": "GET", HEAD_KEY: True}


def _parts(message: Message) -> Iterable[Message]:
    """The message, with a large body cut into parts.

    The server accepts a message of any size, and waits for the client only before the next message.
    Sent in parts, an answer to a slow client still counts as a request in work and has a deadline,
    and a cancelled answer leaves at most one part in memory.
    """
    if len(message.get("body", b"")) <= PART_BYTES:
        return (message,)
    return _cut(message)


def _cut(message: Message) -> Iterator[Message]:
    body = message["body"]
    for at in range(0, len(body), PART_BYTES):
        part = body[at : at + PART_BYTES]
        yield {"type": message["type"], "body": part, "more_body": True}
    # The server accepts this message once the client has the last part.
    yield {**message, "body": b""}


def route_of(scope: Scope) -> str | None:
    """The template of the route that served this request, e.g. `/users/{user_id}`."""
    route: Any = scope.get("route")
    return getattr(route, "path", None)


def request_id(given: bytes | None) -> str:
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return os.urandom(16).hex()


def _trace_id(traceparent: bytes | None) -> str:
    """The id of the trace to continue (W3C Trace Context), or a new id."""
    match = _TRACEPARENT.fullmatch(traceparent or b"")
    if match is not None and match[1] != _NO_TRACE and not match[0].startswith(b"ff"):
        return match[1].decode()
    return os.urandom(16).hex()
