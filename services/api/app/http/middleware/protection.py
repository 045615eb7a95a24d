"""Limits on what a request may send, and on how long it may take."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from app.core.context import context_of
from app.core.errors import (
    ContentTooLarge,
    Overloaded,
    Problem,
    RequestTimeout,
    UnsupportedMediaType,
)
from app.http import problem
from app.http.middleware.request import PART_BYTES
from app.observability import machine
from app.observability.metrics import REQUESTS_SHED
from app.overload.admission import IMPORTANCE_KEY, REFUSED_KEY
from app.overload.concurrency import NAMES
from app.overload.room import Room
from app.route_policy import policy_of

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from app.core.context import RequestContext
    from app.core.settings import Settings
    from app.overload.deadlines import Deadlines

logger = logging.getLogger("listo.http")

_CLOSE = (b"connection", b"close")

# The memory of a process before its first body; and a body's memory in multiples of its size: for
# its bytes, its text, its values, and the same again for PostgreSQL.
_OWN_BYTES = 120 << 20
_TIMES = 8
MAX_HEADER_BYTES = 32_768
MAX_HEADERS = 100
MAX_TARGET_BYTES = 16_384


class ProtectionMiddleware:
    """Limits on headers, body and time, each applied before a request does harm."""

    def __init__(self, app: ASGIApp, settings: Settings, deadlines: Deadlines) -> None:
        self.app = app
        self._max_body, self._max_file = settings.max_body_bytes, settings.max_import_bytes
        most = max(0, machine.share() - _OWN_BYTES) // _TIMES
        self._bodies = Room(lambda: most)
        self.deadlines = deadlines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = context_of(scope)
        if b"transfer-encoding" in request.fields:
            # An answer before the body's end closes the connection: the server must not read on.
            request.headers.append(_CLOSE)
        policy = policy_of(scope)
        if policy.probe:
            await self.app(scope, receive, send)
            return
        if (refused := scope.get(REFUSED_KEY)) is not None:
            await problem.response(refused)(scope, receive, send)
            return
        importance = NAMES[scope[IMPORTANCE_KEY]]
        most = self._max_file if policy.file else self._max_body
        refusal = self._refusal(scope, request, importance, most)
        if refusal is None and not policy.file and _is_encoded(request):
            refusal = problem.response(_Encoded(headers={"Accept-Encoding": "identity"}))
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        counting = self._counting(receive, request, importance, most)
        if policy.long:
            await self.app(scope, counting, send)
        else:
            await self._in_time(scope, counting, send, importance)

    async def _in_time(self, scope: Scope, receive: Receive, send: Send, importance: str) -> None:
        request = context_of(scope)
        task = self.deadlines.enter()
        try:
            size = self._size(request)
            if size <= PART_BYTES:
                await self.app(scope, receive, send)
            else:
                await self._in_turn(size, scope, receive, send)
        except asyncio.CancelledError:
            if not self.deadlines.expired(task):
                raise
            REQUESTS_SHED.labels("timeout", importance).inc()
            if request.started:
                # The server closes the connection after an incomplete answer.
                logger.warning("given up while it was being answered")
            else:
                await problem.response(RequestTimeout())(scope, receive, send)
        finally:
            self.deadlines.leave(task)

    @staticmethod
    def _refusal(
        scope: Scope, request: RequestContext, importance: str, most: int
    ) -> Response | None:
        length = request.fields.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > most:
            REQUESTS_SHED.labels("body", importance).inc()
            refused = problem.response(_too_large(most))
            # The client is still sending a body that nobody reads.
            refused.headers["Connection"] = "close"
            return refused
        headers = scope["headers"]
        size = sum([len(name) + len(value) for name, value in headers])
        if size > MAX_HEADER_BYTES or len(headers) > MAX_HEADERS:
            REQUESTS_SHED.labels("headers", importance).inc()
            return problem.response(_HeadersTooLarge())
        if len(scope["query_string"]) + len(scope["path"]) > MAX_TARGET_BYTES:
            REQUESTS_SHED.labels("target", importance).inc()
            return problem.response(_TargetTooLong())
        return None

    @staticmethod
    def _counting(receive: Receive, request: RequestContext, importance: str, most: int) -> Receive:
        total = 0

        async def counting() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > most:
                REQUESTS_SHED.labels("body", importance).inc()
                raise _too_large(most)
            if _CLOSE in request.headers and not message.get("more_body", False):
                request.headers.remove(_CLOSE)
            return message

        return counting

    def _size(self, request: RequestContext) -> int:
        """The maximum number of bytes in the body."""
        length = request.fields.get(b"content-length", b"")
        if length.isdigit():
            return int(length)
        return self._max_body if b"transfer-encoding" in request.fields else 0

    async def _in_turn(self, size: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin once there is room for the body, and keep the room until the answer is sent."""
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._bodies.take(size))
            except TimeoutError:
                full = Overloaded("Too many large bodies are in work; try again.")
                await problem.response(full)(scope, receive, send)
            else:
                await self.app(scope, receive, send)


def _too_large(most: int) -> ContentTooLarge:
    return ContentTooLarge(f"The body is larger than the {most} bytes that this server accepts.")


class _Encoded(UnsupportedMediaType):
    """Send the body as it is, without a Content-Encoding."""


class _HeadersTooLarge(Problem):
    """The header fields are too large or too many."""

    status, code, title = 431, "headers_too_large", "Request header fields too large"


class _TargetTooLong(Problem):
    """The URL is too long."""

    status, code, title = 414, "uri_too_long", "URI too long"


def _is_encoded(request: RequestContext) -> bool:
    """Whether the Content-Encoding names a coding that would have to be undone."""
    field = request.fields.get(b"content-encoding", b"")
    return bool({each.strip().lower() for each in field.split(b",")} - {b"", b"identity"})
