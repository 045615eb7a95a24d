"""Whether a request is begun, before anything is done for it: at once, in turn, or not at all."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING

from app.core import problem
from app.core.concurrency import LOGINS, NAMES, Importance, importance_of
from app.core.context import IMPORTANCE_KEY, REFUSED_KEY, SINCE_KEY
from app.core.errors import Overloaded
from app.core.metrics import (
    CONCURRENCY_LIMIT,
    REQUESTS_IN_PROGRESS,
    REQUESTS_SHED,
    REQUESTS_WAITING,
    observe_request,
    read_from,
)
from app.core.middleware import PROBES, SECURITY_HEADERS, request_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.core.concurrency import Concurrency

# Whose refusal is more than bytes that are always the same: fields for a browser, no body, and what
# is still to be read.
_PARTICULAR = frozenset({b"origin", b"transfer-encoding"})
_STATUS = Overloaded.status
# Around the request id, which is none yet.
_BEFORE, _AFTER = bytes(problem.response(Overloaded()).body).split(b"null")
_FIELDS = (
    (b"content-type", problem.MEDIA_TYPE.encode()),
    (b"cache-control", b"no-store"),
    *SECURITY_HEADERS,
)
_SHED = tuple(REQUESTS_SHED.labels("concurrency", name) for name in NAMES)


class AdmissionMiddleware:
    """The outermost one, since what it refuses must cost next to nothing.

    Such a refusal is counted, and told of in one line a second by `Concurrency`; it has no line of
    its own.
    """

    def __init__(
        self, app: ASGIApp, concurrency: Concurrency, room_for_login: Callable[[int], None]
    ) -> None:
        self.app = app
        self.concurrency = concurrency
        self.room_for_login = room_for_login
        self._logins = 0
        read_from(CONCURRENCY_LIMIT, lambda: int(concurrency.limit))
        for number, name in enumerate(NAMES):
            read_from(
                REQUESTS_IN_PROGRESS.labels(name), partial(concurrency.in_work.__getitem__, number)
            )
            read_from(REQUESTS_WAITING.labels(name), partial(concurrency.waiting, number))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        fields = dict(scope["headers"])
        importance = scope[IMPORTANCE_KEY] = importance_of(scope, fields)
        login = importance is Importance.LOGIN and scope["path"] in LOGINS
        if login and not self._has_room(scope):
            await self.app(scope, receive, send)
            return
        if not self.concurrency.enter(importance):
            scope[SINCE_KEY] = time.perf_counter()
            if not await self.concurrency.wait(importance):
                await self._refuse(scope, fields, receive, send)
                return
        self._logins += login
        try:
            await self.app(scope, receive, send)
        finally:
            self._logins -= login
            self.concurrency.leave(importance)

    def _has_room(self, scope: Scope) -> bool:
        try:
            # A flood of what cannot be hashed anyway must not even cost its reading.
            self.room_for_login(self._logins)
        except Overloaded as full:
            REQUESTS_SHED.labels("passwords", NAMES[Importance.LOGIN]).inc()
            scope[REFUSED_KEY] = full
            return False
        return True

    async def _refuse(
        self, scope: Scope, fields: Mapping[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        _SHED[scope[IMPORTANCE_KEY]].inc()
        # Not all who are refused now are to come back at one moment.
        retry_after = random.randint(1, 3)  # noqa: S311
        if scope["method"] == "HEAD" or not _PARTICULAR.isdisjoint(fields):
            scope[REFUSED_KEY] = Overloaded(retry_after=retry_after)
            await self.app(scope, receive, send)
            return
        self.concurrency.refused += 1
        observe_request("none", "none", _STATUS, 0.0)
        own = request_id(fields.get(b"x-request-id")).encode()
        body = b'%b"%b"%b' % (_BEFORE, own, _AFTER)
        headers = [
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", b"%d" % retry_after),
            (b"x-request-id", own),
            *_FIELDS,
        ]
        await send({"type": "http.response.start", "status": _STATUS, "headers": headers})
        await send({"type": "http.response.body", "body": body})
