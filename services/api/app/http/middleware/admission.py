"""Asks for a place for a request if the server has not asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.core.errors import Overloaded
from app.overload.admission import IMPORTANCE_KEY, REFUSED_KEY, retry_after

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.overload.admission import Admission


class AdmissionMiddleware:
    """The outermost middleware of requests: takes missing places, and gives all places back."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app = app
        self.admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if IMPORTANCE_KEY not in scope and not self.admission.enter(scope):
            await self._wait(scope)
        try:
            await self.app(scope, receive, send)
        finally:
            self.admission.leave(scope)

    async def _wait(self, scope: Scope) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def begin() -> bool:
            if turn.done():
                return False
            turn.set_result(None)
            return True

        def refuse() -> bool:
            scope[REFUSED_KEY] = Overloaded(retry_after=retry_after())
            return begin()

        self.admission.wait(scope, begin, refuse)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The turn came just before the cancellation.
                self.admission.leave(scope)
            raise
