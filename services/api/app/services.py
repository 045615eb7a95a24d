"""The services of a process: made once, by `assembly`, and handed to every request.

This module names types of all packages and imports no package, so that all of them may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from typing import Any

    from redis.asyncio import Redis

    from app.auth.identity.authenticator import Authenticator
    from app.auth.identity.tokens import Tokens
    from app.auth.passwords.pool import Passwords
    from app.caching.cache import Cache
    from app.caching.coherent import CoherentCache
    from app.caching.local import LocalCache
    from app.collections.registry import Registry
    from app.core.background import Background
    from app.core.settings import Settings
    from app.db.database import Database
    from app.filters.cursor import CursorCodec
    from app.idempotency.cipher import ResponseCipher
    from app.observability.tracing import Telemetry
    from app.ops.openapi import Documents
    from app.ops.readiness import Readiness
    from app.overload.admission import Admission
    from app.overload.concurrency import Concurrency
    from app.overload.deadlines import Deadlines
    from app.ratelimit.counting import Kind
    from app.ratelimit.limiter import Limiter
    from app.ratelimit.policy import Policy
    from app.records.cached.lists import Found
    from app.records.service import Stored
    from app.route_policy import RoutePolicies
    from app.throttling.throttle import LoginThrottle


@dataclass(frozen=True, slots=True)
class Services:
    """Made once per process; `assembly.closing` closes them."""

    settings: Settings
    database: Database
    background: Background
    # The client that caches use; None without Redis.
    redis: Redis | None
    cache: Cache
    lists: CoherentCache
    kept_lists: LocalCache[Found]
    kept_records: LocalCache[Stored]
    limiter: Limiter
    policies: Mapping[Kind, Policy]
    login_throttle: LoginThrottle
    passwords: Passwords
    tokens: Tokens
    authenticator: Authenticator
    registry: Registry
    cursors: CursorCodec
    response_cipher: ResponseCipher
    documents: Documents
    readiness: Readiness
    deadlines: Deadlines
    concurrency: Concurrency
    route_policies: RoutePolicies
    admission: Admission
    tracing: Telemetry


# The scope's key for the services: reading them there is faster than asking the application.
_KEY = "listo.services"


def services_of(scope: MutableMapping[str, Any]) -> Services:
    """The services of the application that serves this scope's request or WebSocket."""
    services: Services | None = scope.get(_KEY)
    if services is None:
        services = scope[_KEY] = scope["app"].state.services
    return services
