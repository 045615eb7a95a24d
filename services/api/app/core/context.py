"""The request context of the request in work: for log lines, problems and metrics."""

from __future__ import annotations

import ipaddress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from app.core.actor import ANONYMOUS, Actor

if TYPE_CHECKING:
    from collections.abc import Hashable, MutableMapping
    from typing import Any


@lru_cache(4096)
def rate_key(address: str) -> str:
    """The key to count anonymous requests by: the address, for IPv6 its /64 (one subscriber)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


@dataclass(slots=True)
class RequestContext:
    request_id: str
    trace_id: str
    client_address: str = ""
    actor: Actor = ANONYMOUS
    # The request's header fields, by lower-case name.
    fields: dict[bytes, bytes] = field(default_factory=dict)
    # Whether the response has begun; another response can then no longer be sent.
    started: bool = False
    # Whether the answer is a problem and the same request may succeed when sent again.
    retryable: bool = False
    # Fields of the response, whichever part answers, as raw ASGI headers.
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    # Seconds of PostgreSQL's time that the request's lists have taken.
    query_seconds: float = 0.0

    @property
    def pool_key(self) -> Hashable:
        """Whose share of connections this request uses: the user (API keys included), else the
        address."""
        return self.actor.id or rate_key(self.client_address)

    def field(self, name: bytes) -> str | None:
        """The value of a header field, by lower-case name."""
        value = self.fields.get(name)
        return None if value is None else value.decode("latin-1")


_current: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)

SCOPE_KEY = "listo.context"


def enter(scope: MutableMapping[str, Any], context: RequestContext) -> None:
    scope[SCOPE_KEY] = context
    _current.set(context)


def current() -> RequestContext | None:
    """The context of the request that this task works on, if any."""
    return _current.get()


def context_of(scope: MutableMapping[str, Any]) -> RequestContext:
    context: RequestContext = scope[SCOPE_KEY]
    return context
