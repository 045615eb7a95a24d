"""API keys: credentials for programs, limited to scopes and, if wanted, to collections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.auth.api_keys import repository
from app.auth.errors import (
    ApiKeyNotFound,
    InvalidToken,
    RateLimitNotHeld,
    ScopeNotHeld,
    TooManyApiKeys,
)
from app.auth.identity import secrets
from app.auth.sessions import service
from app.core.actor import Scope
from app.core.clock import utcnow
from app.core.errors import FieldError, ValidationFailed
from app.core.ids import uuid7
from app.core.rates import parse_rates, within

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from app.auth.models import ApiKey
    from app.core.actor import Actor
    from app.core.settings import Settings
    from app.db.session import Session

TOPIC = "api_key"
_MEMBER_SCOPES = {Scope.RECORDS_READ, Scope.RECORDS_WRITE}


async def create(  # noqa: PLR0913 - the parts of a key
    session: Session,
    actor: Actor,
    settings: Settings,
    *,
    user_id: UUID,
    name: str,
    scopes: list[Scope],
    collections: list[str] | None,
    expires_at: datetime | None,
    rate_limit: str | None,
) -> tuple[ApiKey, str]:
    """A key that acts as the user within its scopes, and its text, which is not kept.

    `session` must be a transaction. Raises ScopeNotHeld or RateLimitNotHeld if the key would exceed
    what `actor` may give, TooManyApiKeys, and ValidationFailed if the key would have expired
    already, names a missing collection, or is to administer users although it is limited to
    collections.
    """
    if not actor.is_admin:
        if not _MEMBER_SCOPES.issuperset(scopes):
            raise ScopeNotHeld
        if rate_limit and not within(parse_rates(rate_limit), settings.rates("api_key")):
            raise RateLimitNotHeld(
                f"Only an admin may give a key more than {settings.rate_limit_api_key}."
            )
    if expires_at is not None and expires_at <= utcnow():
        raise ValidationFailed(
            errors=[FieldError("/expires_at", "must be in the future", "not_in_future")]
        )
    if collections is not None and Scope.USERS_ADMIN in scopes:
        message = f"cannot limit {Scope.USERS_ADMIN}, which is about no collection"
        raise ValidationFailed(errors=[FieldError("/collections", message, "invalid")])
    await _check_user(session, actor, user_id, settings.api_keys_per_user)
    await _check_collections(session, actor, collections)
    text, hashed = secrets.make(secrets.API_KEY)
    key = await repository.insert(
        session,
        uuid7(),
        user_id,
        name=name,
        prefix=text[:9],
        hashed=hashed,
        scopes={str(scope) for scope in scopes},
        collections=collections,
        expires_at=expires_at,
        rate_limit=rate_limit,
    )
    return key, text


async def _check_user(session: Session, actor: Actor, user_id: UUID, at_most: int) -> None:
    """Raises InvalidToken, TooManyApiKeys."""
    number = await repository.number_of(session, user_id)
    if number is None or (actor.session_id and not await service.lives(session, actor)):
        # The session or the user ended after the request began; a new key would stay valid.
        raise InvalidToken("The session has ended.")
    if number >= at_most:
        raise TooManyApiKeys(f"A user has {at_most} API keys at most; delete one first.")


async def _check_collections(session: Session, actor: Actor, names: list[str] | None) -> None:
    if names is None:
        return
    existing = await repository.existing(session, names, unruled=actor.is_admin)
    faults = [
        FieldError(f"/collections/{number}", "there is no such collection", "unknown_collection")
        for number, name in enumerate(names)
        if name not in existing
    ]
    if faults:
        raise ValidationFailed(errors=faults)


async def forget_collection(session: Session, name: str) -> None:
    """Take the name out of all keys, so that no key reaches a later collection of that name."""
    for key_id in await repository.forget_collection(session, name):
        await session.notify(TOPIC, str(key_id))


async def list_own(session: Session, actor: Actor) -> list[ApiKey]:
    service.own_session(actor)
    assert actor.id is not None
    return await repository.of_user(session, actor.id)


async def delete(session: Session, actor: Actor, *, key_id: UUID) -> None:
    """Delete the caller's key: it stops working at once. Raises ApiKeyNotFound."""
    service.own_session(actor)
    assert actor.id is not None
    if not await repository.delete(session, actor.id, key_id):
        raise ApiKeyNotFound
    await session.notify(TOPIC, str(key_id))
