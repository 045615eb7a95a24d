"""What happens to every request before and after the application: plain ASGI, outermost first."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from starlette.requests import ClientDisconnect

from app.core import context, machine, problem
from app.core.access_log import AccessLog
from app.core.client_address import ClientAddress
from app.core.concurrency import NAMES
from app.core.context import IMPORTANCE_KEY, REFUSED_KEY, SINCE_KEY, RequestContext
from app.core.errors import (
    ContentTooLarge,
    Overloaded,
    Problem,
    RequestTimeout,
    UnsupportedMediaType,
)
from app.core.fields import joined
from app.core.log import in_json
from app.core.metrics import REQUESTS_SHED, observe_request
from app.core.room import Room
from app.core.routes import METHODS, is_routed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from app.core.deadlines import Deadlines
    from app.core.fields import FieldDoubled
    from app.core.settings import Settings

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
# Where a route that serves a page leaves the security headers that are to go with it.
POLICY_KEY = "listo.security_headers"

_CLOSE = (b"connection", b"close")

# Must answer when nothing else does. Whole paths: the user's own `/healthcare` is no probe.
PROBES = frozenset({"/health", "/health/ready", "/metrics"})

PART_BYTES = 262_144
# What a process takes before it is given any body, and what a body takes of it: itself, its text,
# its values, and the same again for PostgreSQL.
_OWN_BYTES = 120 << 20
_TIMES = 8
MAX_HEADER_BYTES = 32_768
MAX_HEADERS = 100
MAX_TARGET_BYTES = 16_384


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
                    *scope.get(POLICY_KEY, SECURITY_HEADERS),
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
            # Before its request was whole: nobody is there to answer.
            logger.debug("the client has gone")
        except Exception:
            logger.exception("unhandled exception")
            if request.started:
                # Half a response is out; closing the connection is all that tells the client.
                raise
            await problem.response(Problem())(scope, receive, respond)
        finally:
            # The client may go before it is answered, which nginx calls 499.
            seconds = time.perf_counter() - began
            self._record(scope, method, request, status or 499, size, seconds)

    def _context(self, scope: Scope) -> RequestContext:
        fields = dict(scope["headers"])
        return RequestContext(
            request_id=request_id(fields.get(b"x-request-id")),
            trace_id=self._traced() or _trace_id(fields.get(b"traceparent")),
            client=self.address.of(scope),
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
        # A client may send any method, also to a route.
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

    def _traced(self) -> str | None:
        """The trace that the framework's span of this request belongs to, if it makes one."""
        if not self.tracing:
            return None
        return format(trace.get_current_span().get_span_context().trace_id, "032x")


class ProtectionMiddleware:
    """Limits on headers, body and time, each answered before it hurts."""

    def __init__(self, app: ASGIApp, settings: Settings, deadlines: Deadlines) -> None:
        self.app = app
        self.max_body = settings.max_body_bytes
        most = max(0, machine.share() - _OWN_BYTES) // _TIMES
        self._bodies = Room(lambda: most)
        self.deadlines = deadlines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = context.of(scope)
        if b"transfer-encoding" in request.fields:
            # Until its body has ended, which it may never: the server would read it on.
            request.headers.append(_CLOSE)
        if scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        if (refused := scope.get(REFUSED_KEY)) is not None:
            await problem.response(refused)(scope, receive, send)
            return
        importance = NAMES[scope[IMPORTANCE_KEY]]
        refusal = self._refusal(scope, request, importance)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        task = self.deadlines.enter()
        try:
            counted = self._counted(receive, request, importance)
            size = self._size(request)
            if size <= PART_BYTES:
                await self.app(scope, counted, send)
            else:
                await self._in_turn(size, scope, counted, send)
        except asyncio.CancelledError:
            if not self.deadlines.expired(task):
                raise
            REQUESTS_SHED.labels("timeout", importance).inc()
            if request.started:
                # The server closes the connection of an answer that is not whole.
                logger.warning("given up while it was being answered")
            else:
                await problem.response(RequestTimeout())(scope, receive, send)
        finally:
            self.deadlines.leave(task)

    def _refusal(self, scope: Scope, request: RequestContext, importance: str) -> Response | None:
        length = request.fields.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self.max_body:
            REQUESTS_SHED.labels("body", importance).inc()
            refused = problem.response(ContentTooLarge(self._body_detail()))
            # The client is still sending what will not be read.
            refused.headers["Connection"] = "close"
            return refused
        if _is_encoded(request.fields.get(b"content-encoding", b"")):
            return problem.response(_Encoded(headers={"Accept-Encoding": "identity"}))
        headers = scope["headers"]
        size = sum([len(name) + len(value) for name, value in headers])
        if size > MAX_HEADER_BYTES or len(headers) > MAX_HEADERS:
            REQUESTS_SHED.labels("headers", importance).inc()
            return problem.response(_HeadersTooLarge())
        if len(scope["query_string"]) + len(scope["path"]) > MAX_TARGET_BYTES:
            REQUESTS_SHED.labels("target", importance).inc()
            return problem.response(_TargetTooLong())
        return None

    def _counted(self, receive: Receive, request: RequestContext, importance: str) -> Receive:
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self.max_body:
                REQUESTS_SHED.labels("body", importance).inc()
                raise ContentTooLarge(self._body_detail())
            if _CLOSE in request.headers and not message.get("more_body", False):
                request.headers.remove(_CLOSE)
            return message

        return counted

    def _size(self, request: RequestContext) -> int:
        """How many bytes the body has at most."""
        length = request.fields.get(b"content-length", b"")
        if length.isdigit():
            return int(length)
        return self.max_body if b"transfer-encoding" in request.fields else 0

    async def _in_turn(self, size: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin once there is room for the body, which stays until it has been answered."""
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._bodies.take(size))
            except TimeoutError:
                full = Overloaded("Too many large bodies are in work; try again.")
                await problem.response(full)(scope, receive, send)
            else:
                await self.app(scope, receive, send)

    def _body_detail(self) -> str:
        return f"The body is larger than the {self.max_body} bytes that this server accepts."


class _Encoded(UnsupportedMediaType):
    """Send the body as it is, without a Content-Encoding."""


class _HeadersTooLarge(Problem):
    """The header fields are too large or too many."""

    status, code, title = 431, "headers_too_large", "Request header fields too large"


class _TargetTooLong(Problem):
    """The URL is too long."""

    status, code, title = 414, "uri_too_long", "URI too long"


def _with_single_fields(scope: Scope) -> tuple[Scope, FieldDoubled | None]:
    headers = scope["headers"]
    if len({name for name, _ in headers}) == len(headers):
        return scope, None
    together, doubled = joined(headers)
    return {**scope, "headers": together}, doubled


def _as_get(scope: Scope) -> Scope:
    """Every GET has its HEAD (RFC 9110, section 9.1)."""
    # The server's own scope stays as it is: by it the server knows that no body follows.
    return {**scope, "method": "GET"}


def _parts(message: Message) -> Iterable[Message]:
    """The message, one with a large body in parts.

    The server takes as much as it is given, and waits for the client only before it takes more. So
    a request that is answered to a slow client keeps its place and its deadline, and of one that
    is given up no more than a part stays in memory.
    """
    if len(message.get("body", b"")) <= PART_BYTES:
        return (message,)
    return _cut(message)


def _cut(message: Message) -> Iterator[Message]:
    body = message["body"]
    for at in range(0, len(body), PART_BYTES):
        part = body[at : at + PART_BYTES]
        yield {"type": message["type"], "body": part, "more_body": True}
    # Sent once the last of them has gone.
    yield {**message, "body": b""}


def route_of(scope: Scope) -> str | None:
    """The template of the route that served this request, e.g. `/users/{user_id}`."""
    route: Any = scope.get("route")
    return getattr(route, "path", None)


def request_id(given: bytes | None) -> str:
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return os.urandom(16).hex()


def _is_encoded(field: bytes) -> bool:
    """Whether a Content-Encoding names anything that would have to be undone."""
    return bool({each.strip().lower() for each in field.split(b",")} - {b"", b"identity"})


def _trace_id(traceparent: bytes | None) -> str:
    """The trace to go on with (W3C Trace Context), or a new one."""
    match = _TRACEPARENT.fullmatch(traceparent or b"")
    if match is not None and match[1] != _NO_TRACE and not match[0].startswith(b"ff"):
        return match[1].decode()
    return os.urandom(16).hex()
