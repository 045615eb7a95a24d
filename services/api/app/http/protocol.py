"""uvicorn's HTTP/1.1 protocol, except that a request gets its task only at its turn.

When three times as many requests arrive as can be served, two of three are refused. A refusal by a
task through all layers would cost a tenth of a served request, and more after a wait; a refusal
here only writes a few bytes.
"""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.core.errors import Overloaded
from app.http import problem
from app.http.middleware.request import SECURITY_HEADERS, request_id
from app.overload.admission import ADMISSION_KEY, REFUSED_KEY, retry_after

if TYPE_CHECKING:
    from starlette.types import Scope
    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from app.overload.admission import Admission

# A refusal's body before and after the request id, which is null in this problem.
_BEFORE, _AFTER = bytes(problem.response(Overloaded()).body).split(b"null")
_HEAD = STATUS_LINE[Overloaded.status] + b"".join(
    b"%b: %b\r\n" % field
    for field in (
        (b"content-type", problem.MEDIA_TYPE.encode()),
        (b"cache-control", b"no-store"),
        *SECURITY_HEADERS,
    )
)
_CLOSE = (b"connection", b"close")
# Fields of requests that fixed bytes cannot refuse: the answer needs fields for a browser, or the
# connection must be read to the body's end.
_PARTICULAR = frozenset({b"origin", b"transfer-encoding"})


class Protocol(HttpToolsProtocol):
    """Refusals on the connection have no access line; `Admission` counts them, and logs one line a
    second for all of them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.admission: Admission | None = self.app_state.get(ADMISSION_KEY)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self.transport.is_closing():
            # An earlier request had the connection's last answer (RFC 9112, section 9.6).
            _forget(cycle)
        # Without a lifespan the middleware asks; uvicorn's own answers need no place.
        elif self.admission is None or app is not self.app or self.admission.enter(_scope(cycle)):
            super()._start_asgi_task(cycle, app)
        else:
            # Keep this request's context: another request, on leaving, may call `begin` in its own.
            begin = partial(copy_context().run, self._begin, cycle, app)
            refuse = partial(self._refuse, cycle, app)
            # In the loop's next turn: pipelined requests then wait behind it and are not refused.
            self.loop.call_soon(self.admission.wait, _scope(cycle), begin, refuse)

    def _begin(self, cycle: RequestResponseCycle, app: ASGI3Application) -> bool:
        if self.transport.is_closing():
            _forget(cycle)
            return False
        super()._start_asgi_task(cycle, app)
        return True

    def _refuse(self, cycle: RequestResponseCycle, app: ASGI3Application) -> bool:
        if self.transport.is_closing():
            _forget(cycle)
            return False
        seconds, scope = retry_after(), _scope(cycle)
        asked = dict(scope["headers"])
        # Answers must not pile up for a client that reads none: the application waits for reads.
        if scope["method"] == "HEAD" or not _PARTICULAR.isdisjoint(asked) or self.flow.write_paused:
            scope[REFUSED_KEY] = Overloaded(retry_after=seconds)
            super()._start_asgi_task(cycle, app)
            return True
        assert self.admission is not None
        self.admission.unrecorded_refusals += 1
        own = request_id(asked.get(b"x-request-id")).encode()
        body = b'%b"%b"%b' % (_BEFORE, own, _AFTER)
        fields = [
            *cycle.default_headers,
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", b"%d" % seconds),
            (b"x-request-id", own),
        ]
        # A client waiting for 100 Continue may accept this answer instead, or still send the body.
        stays = cycle.keep_alive and not cycle.waiting_for_100_continue
        if not stays and _CLOSE not in fields:
            fields.append(_CLOSE)
        lines = [b"%b: %b\r\n" % field for field in fields]
        self.transport.write(b"".join((_HEAD, *lines, b"\r\n", body)))
        cycle.response_started = cycle.response_complete = True
        if _CLOSE in fields:
            self.transport.close()
        _forget(cycle)
        self.on_response_complete()
        return True


def _forget(cycle: RequestResponseCycle) -> None:
    """Free what uvicorn keeps until the end of the task, since this cycle has no task."""
    cycle.on_response = _nothing
    cycle.body = bytearray()


def _nothing() -> None:
    pass


def _scope(cycle: RequestResponseCycle) -> Scope:
    # uvicorn's type knows only the keys of the specification.
    return cast("Scope", cycle.scope)
