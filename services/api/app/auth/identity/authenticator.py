"""Finds the actor of an Authorization field, and remembers the actor until a change."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING
from uuid import UUID

from app.auth.api_keys import repository as api_key_repository
from app.auth.api_keys import service as api_keys
from app.auth.errors import InvalidToken
from app.auth.identity import secrets
from app.auth.identity.standing import actor_of_key
from app.auth.sessions import repository, service
from app.core.actor import ANONYMOUS, Actor
from app.core.clock import utcnow
from app.observability.metrics import AUTH_FAILURES, CACHE_LOOKUPS

if TYPE_CHECKING:
    from datetime import datetime

    from app.auth.identity.tokens import Tokens
    from app.db.database import Database

MAX_REMEMBERED = 10_000
# Maximum seconds until a change without a notification, for example by psql, takes effect.
MAX_AGE = 60.0

_HIT = CACHE_LOOKUPS.labels("credentials", "hit")
_MISS = CACHE_LOOKUPS.labels("credentials", "miss")


class Authenticator:
    """Remembers verified credentials; changes of sessions, users and keys drop them."""

    def __init__(self, database: Database, tokens: Tokens) -> None:
        self._database = database
        self._tokens = tokens
        self._known: OrderedDict[str, tuple[float, Actor]] = OrderedDict()
        self._by_id: dict[UUID, set[str]] = {}
        self._generation = 0
        # The time of each key's last use, until `flush` stores it.
        self._used: dict[UUID, datetime] = {}
        self._notifications = database.notifications
        for topic in (service.SESSION_TOPIC, service.USER_TOPIC, api_keys.TOPIC):
            self._notifications.subscribe(topic, self._drop, self._clear)

    async def authenticate(self, authorization: str | None) -> Actor:
        """The caller that the field names; anonymous without a field. Raises InvalidToken."""
        if authorization is None:
            return ANONYMOUS
        known = self._known.get(authorization)
        if known is not None:
            expires, actor = known
            if expires > time.time() and self._notifications.trusted:
                _HIT.inc()
                if actor.api_key_id is not None:
                    self._used[actor.api_key_id] = utcnow()
                return actor
            self._forget(authorization)
        _MISS.inc()
        scheme, _, credential = authorization.partition(" ")
        if scheme.lower() != "bearer" or not credential:
            AUTH_FAILURES.labels("malformed").inc()
            raise InvalidToken("Authorization takes a Bearer token.")
        generation = self._generation
        if credential.startswith(secrets.API_KEY):
            expires, actor = await self._api_key(credential)
        else:
            expires, actor = await self._access_token(credential)
        if generation == self._generation and self._notifications.trusted:
            self._remember(authorization, min(expires, time.time() + MAX_AGE), actor)
        return actor

    async def flush(self) -> None:
        """Store the times at which keys were used since the last flush."""
        if self._used:
            used, self._used = self._used, {}
            try:
                await api_key_repository.touch(self._database, used)
            except BaseException:
                # Also if cancelled: a stopping process cancels a running flush, then flushes again.
                self._used = used | self._used
                raise

    async def _access_token(self, token: str) -> tuple[float, Actor]:
        try:
            claims = self._tokens.verify(token)
        except InvalidToken:
            AUTH_FAILURES.labels("access_token").inc()
            raise
        user = await repository.session_user(self._database, claims.session_id)
        if user is None or user.id != claims.user_id:
            AUTH_FAILURES.labels("session").inc()
            raise InvalidToken("The session has ended.")
        actor = Actor("user", user.id, user.roles, session_id=claims.session_id)
        return claims.expires_at, actor

    async def _api_key(self, key: str) -> tuple[float, Actor]:
        found = await api_key_repository.find(self._database, secrets.digest(key))
        if found is None:
            AUTH_FAILURES.labels("api_key").inc()
            raise InvalidToken("The API key is not valid, or not any more.")
        api_key, roles = found
        self._used[api_key.id] = utcnow()
        expires = api_key.expires_at.timestamp() if api_key.expires_at else float("inf")
        return expires, actor_of_key(api_key, roles)

    def _remember(self, authorization: str, expires: float, actor: Actor) -> None:
        self._known[authorization] = (expires, actor)
        for id_ in _ids(actor):
            self._by_id.setdefault(id_, set()).add(authorization)
        if len(self._known) > MAX_REMEMBERED:
            self._forget(next(iter(self._known)))

    def _forget(self, authorization: str) -> None:
        _, actor = self._known.pop(authorization, (0.0, ANONYMOUS))
        for id_ in _ids(actor):
            remembered = self._by_id.get(id_, set())
            remembered.discard(authorization)
            if not remembered:
                self._by_id.pop(id_, None)

    def _drop(self, payload: str) -> None:
        self._generation += 1
        for authorization in list(self._by_id.get(UUID(payload), ())):
            self._forget(authorization)

    def _clear(self) -> None:
        self._generation += 1
        self._known.clear()
        self._by_id.clear()


def _ids(actor: Actor) -> list[UUID]:
    return [id_ for id_ in (actor.id, actor.session_id, actor.api_key_id) if id_ is not None]
