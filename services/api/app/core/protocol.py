"""HTTP/1.1 on a connection: uvicorn's, which makes nothing for a request before it is its turn.

Where three times as much arrives as can be served, two of three requests are refused. By a task and
an answer through all layers each of these would cost a tenth of what is served, and more than that
if it had to wait before: here it is a few bytes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.core import problem
from app.core.admission import ADMISSION_KEY, retry_after
from app.core.context import REFUSED_KEY
from app.core.errors import Overloaded
from app.core.middleware import SECURITY_HEADERS, request_id

if TYPE_CHECKING:
    from starlette.types import Scope
    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from app.core.admission import Admission

# Around the request id, which is none yet.
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
# Whose refusal is more than bytes that are always the same: fields for a browser, and what is still
# to be read.
_PARTICULAR = frozenset({b"origin", b"transfer-encoding"})


class Protocol(HttpToolsProtocol):
    """Such a refusal is counted, and told of in one line a second by `Concurrency`; it has no line
    of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.admission: Admission | None = self.app_state.get(ADMISSION_KEY)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # Without the application's lifespan nobody is asked.
        if self.admission is None or self.admission.enter(_scope(cycle)):
            super()._start_asgi_task(cycle, app)
        else:
            self.admission.wait(
                _scope(cycle), partial(self._begin, cycle, app), partial(self._refuse, cycle, app)
            )

    def _begin(self, cycle: RequestResponseCycle, app: ASGI3Application) -> bool:
        if self.transport.is_closing():
            return False
        super()._start_asgi_task(cycle, app)
        return True

    def _refuse(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self.transport.is_closing():
            return
        seconds, scope = retry_after(), _scope(cycle)
        asked = dict(scope["headers"])
        # Whoever does not take answers is not to be given more of them without an end.
        if scope["method"] == "HEAD" or not _PARTICULAR.isdisjoint(asked) or self.flow.write_paused:
            scope[REFUSED_KEY] = Overloaded(retry_after=seconds)
            super()._start_asgi_task(cycle, app)
            return
        assert self.admission is not None
        self.admission.unseen += 1
        own = request_id(asked.get(b"x-request-id")).encode()
        body = b'%b"%b"%b' % (_BEFORE, own, _AFTER)
        fields = [
            *cycle.default_headers,
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", b"%d" % seconds),
            (b"x-request-id", own),
        ]
        if not cycle.keep_alive and _CLOSE not in fields:
            fields.append(_CLOSE)
        lines = [b"%b: %b\r\n" % field for field in fields]
        self.transport.write(b"".join((_HEAD, *lines, b"\r\n", body)))
        cycle.response_started = cycle.response_complete = True
        if _CLOSE in fields:
            self.transport.close()
        if self.pipeline:
            # They may be many, and refused as well.
            self.loop.call_soon(self.on_response_complete)
        else:
            self.on_response_complete()


def _scope(cycle: RequestResponseCycle) -> Scope:
    # uvicorn's type knows only the keys of the specification.
    return cast("Scope", cycle.scope)
