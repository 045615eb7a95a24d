"""What is known about the request in work: for log lines, problems and metrics."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.core.actor import ANONYMOUS, Actor

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any


@dataclass(slots=True)
class RequestContext:
    request_id: str
    trace_id: str
    client: str = ""
    actor: Actor = ANONYMOUS
    # The request's fields by lower-case name; of several with one name, the last.
    fields: dict[bytes, bytes] = field(default_factory=dict)
    # Whether the response is under way, so that nothing else can be answered any more.
    started: bool = False
    # Whether the answer is a problem that the same request may not meet again.
    passing: bool = False
    # Fields that the response gets whatever answers it, as raw ASGI headers.
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


_current: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)

SCOPE_KEY = "listo.context"


def enter(scope: MutableMapping[str, Any], context: RequestContext) -> None:
    scope[SCOPE_KEY] = context
    _current.set(context)


def current() -> RequestContext | None:
    """The context of the request that this task works on, if any."""
    return _current.get()


def of(scope: MutableMapping[str, Any]) -> RequestContext:
    context: RequestContext = scope[SCOPE_KEY]
    return context
