"""Dependencies that routes take in their signatures."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Response

from app.auth.sessions import service
from app.auth.sessions.service import Auth
from app.core.actor import Actor
from app.core.context import context_of
from app.db.dependencies import database_of
from app.services import services_of


async def get_actor(request: Request) -> Actor:
    return context_of(request.scope).actor


async def no_store(response: Response) -> None:
    """Keep answers out of caches: they hold credentials (RFC 6749, section 5.1) or user data."""
    response.headers["Cache-Control"] = "no-store"


async def get_auth(request: Request) -> Auth:
    services = services_of(request.scope)
    return Auth(services.settings, database_of(request), services.passwords, services.tokens)


CurrentActor = Annotated[Actor, Depends(get_actor)]
AuthDep = Annotated[Auth, Depends(get_auth)]


async def own_session(actor: CurrentActor) -> None:
    """A route's dependency: callers without a session are refused before the body is read."""
    service.own_session(actor)
