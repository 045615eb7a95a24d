"""What is known about the request in work: for log lines, problems and metrics."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.core.actor import ANONYMOUS, Actor
from app.core.client_address import rate_key

if TYPE_CHECKING:
    from collections.abc import Hashable, MutableMapping
    from typing import Any


@dataclass(slots=True)
class RequestContext:
    request_id: str
    trace_id: str
    client: str = ""
    actor: Actor = ANONYMOUS
    # The request's fields by lower-case name, see `fields`.
    fields: dict[bytes, bytes] = field(default_factory=dict)
    # Whether the response is under way, so that nothing else can be answered any more.
    started: bool = False
    # Whether the answer is a problem that the same request may not meet again.
    passing: bool = False
    # Fields that the response gets whatever answers it, as raw ASGI headers.
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    # How many seconds of PostgreSQL's time its lists have taken.
    query_seconds: float = 0.0

    @property
    def holder(self) -> Hashable:
        """By whom what it holds of the database is shared out: a user with all of its keys, or an
        address."""
        return self.actor.id or rate_key(self.client)


_current: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)

SCOPE_KEY = "listo.context"
# What admission says of a request: how important it is, since when it waited if it had to, and the
# problem that refuses it.
IMPORTANCE_KEY = "listo.importance"
SINCE_KEY = "listo.since"
REFUSED_KEY = "listo.refused"


def enter(scope: MutableMapping[str, Any], context: RequestContext) -> None:
    scope[SCOPE_KEY] = context
    _current.set(context)


def current() -> RequestContext | None:
    """The context of the request that this task works on, if any."""
    return _current.get()


def of(scope: MutableMapping[str, Any]) -> RequestContext:
    context: RequestContext = scope[SCOPE_KEY]
    return context
