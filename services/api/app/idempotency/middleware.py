"""The middleware of idempotency keys: it runs once the caller is known, before the route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.context import context_of
from app.core.errors import Problem
from app.db.dependencies import DATABASE_KEY
from app.http import problem
from app.http.routes import is_routed
from app.idempotency.keys import FIELD, parse_key
from app.idempotency.models import Answer, KeyedRequest
from app.idempotency.service import MAX_KEPT_BYTES, Answered, Attempt
from app.route_policy import policy_of
from app.services import services_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send


METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})

# Fields that change what a request asks for.
_DIGESTED = (b"content-type", b"if-match", b"if-none-match")
# Fields of a response that are for one connection or one client only.
_NOT_KEPT = frozenset({b"set-cookie", b"connection", b"transfer-encoding", b"date"})
_REPLAYED = (b"idempotency-replayed", b"true")


class IdempotencyMiddleware:
    """Carries out each request with an idempotency key once, see `service`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or FIELD not in context_of(scope).fields
            or scope["method"] not in METHODS
            or not policy_of(scope).keyed
            # Without a route, the refusal must not wait for the body.
            or not is_routed(scope)
        ):
            await self.app(scope, receive, send)
            return
        try:
            key = parse_key(context_of(scope).fields[FIELD])
            # The whole body is read before the request takes a database connection.
            body = await _read(receive)
        except Problem as refused:
            await problem.response(refused)(scope, receive, send)
            return
        if body is not None:
            await self._attempt(scope, _request(scope, key, body), _Again(body, receive), send)

    async def _attempt(
        self, scope: Scope, request: KeyedRequest, receive: Receive, send: Send
    ) -> None:
        services = services_of(scope)
        attempt = Attempt(services.database, services.response_cipher, request)
        scope[DATABASE_KEY] = attempt.session
        response = _Response(attempt, scope, receive, send)
        try:
            await self.app(scope, receive, response.take)
        except Answered as before:
            await response.replay(before.answer)
        finally:
            await attempt.session.undo()


class _Response:
    """Holds the response back until the request is concluded, then sends it or another response."""

    def __init__(self, attempt: Attempt, scope: Scope, receive: Receive, send: Send) -> None:
        self._attempt = attempt
        self._scope = scope
        self._receive = receive
        self._send = send
        self._held: list[Message] = []

    async def take(self, message: Message) -> None:
        self._held.append(message)
        if message["type"] != "http.response.body" or message.get("more_body", False):
            return
        try:
            await self._attempt.conclude(
                _answer(self._held), retryable=context_of(self._scope).retryable
            )
        except Answered as before:
            await self.replay(before.answer)
        except Problem as instead:
            await problem.response(instead)(self._scope, self._receive, self._send)
        else:
            for held in self._held:
                await self._send(held)

    async def replay(self, answer: Answer) -> None:
        if answer.status < 400:  # noqa: PLR2004
            # The process of the first try may still wait for the epoch, or may have died before.
            try:
                await services_of(self._scope).database.settle()
            except Problem as instead:
                await problem.response(instead)(self._scope, self._receive, self._send)
                return
        headers = [*answer.headers, _REPLAYED]
        start = {"type": "http.response.start", "status": answer.status, "headers": headers}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": answer.body})


class _Again:
    """Gives the application a body that was read already."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._message: Message | None = {"type": "http.request", "body": body}
        self._receive = receive

    async def __call__(self) -> Message:
        if self._message is None:
            return await self._receive()
        message, self._message = self._message, None
        return message


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None if the client went away."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _request(scope: Scope, key: str, body: bytes) -> KeyedRequest:
    request = context_of(scope)
    rest = [scope["query_string"], *(request.fields.get(name, b"") for name in _DIGESTED), body]
    return KeyedRequest.from_parts(
        key, request.actor, method=scope["method"], path=scope["path"], rest=rest
    )


def _answer(held: Iterable[Message]) -> Answer:
    start, *others = held
    headers = [
        (bytes(name), bytes(value))
        for name, value in start.get("headers", ())
        if bytes(name).lower() not in _NOT_KEPT
    ]
    body = b"".join(_parts(others))
    return Answer(start["status"], headers, body, whole=len(body) <= MAX_KEPT_BYTES)


def _parts(messages: Iterable[Message]) -> Iterator[bytes]:
    for message in messages:
        yield message.get("body", b"")
