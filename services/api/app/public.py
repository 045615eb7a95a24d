"""Names that your own routers build on. Everything else may change with any version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import FastAPI

from app.auth.dependencies import CurrentActor
from app.core.actor import Actor
from app.core.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    Problem,
    Unauthorized,
    ValidationFailed,
)
from app.db.dependencies import SessionDep, database_of
from app.db.session import Session
from app.events.models import Event
from app.events.outbox import publish
from app.http.openapi import PUBLIC, problems
from app.ratelimit.dependencies import charge, limit
from app.records import service as records
from app.records.access import Access
from app.records.service import Body
from app.services import services_of

if TYPE_CHECKING:
    from fastapi import Request

    from app.caching.cache import Cache
    from app.collections.registry import Registry
    from app.core.background import Background
    from app.db.database import Database

__all__ = [
    "PUBLIC",
    "Access",
    "Actor",
    "BadRequest",
    "Body",
    "Conflict",
    "CurrentActor",
    "Event",
    "Forbidden",
    "Listo",
    "NotFound",
    "Problem",
    "Session",
    "SessionDep",
    "Unauthorized",
    "ValidationFailed",
    "charge",
    "database_of",
    "limit",
    "listo",
    "problems",
    "publish",
    "records",
]


@dataclass(frozen=True, slots=True)
class Listo:
    """Services that the process shares with your code.

    A statement through `database` commits by itself, unlike a statement through SessionDep. All
    processes share `cache`; `background` runs work that no request waits for.
    """

    database: Database
    collections: Registry
    cache: Cache
    background: Background


def listo(of: FastAPI | Request) -> Listo:
    """Listo for a request, or for the application in your router's lifespan."""
    services = services_of({"app": of} if isinstance(of, FastAPI) else of.scope)
    return Listo(services.database, services.registry, services.cache, services.background)
