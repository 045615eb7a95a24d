"""The rights that a user, or an API key, has now: for work that is done after it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.auth.api_keys import repository as api_keys
from app.auth.users import repository as users
from app.core.actor import Actor
from app.core.errors import Forbidden

if TYPE_CHECKING:
    from uuid import UUID

    from app.auth.models import ApiKey
    from app.db.session import Session


async def actor_now(session: Session, user_id: UUID, api_key_id: UUID | None) -> Actor:
    """The caller who was this user, or the user's API key. Raises Forbidden if it is none now."""
    if api_key_id is not None:
        found = await api_keys.find_by_id(session, api_key_id)
        if found is None:
            raise Forbidden("The API key that asked for this is not valid any more.")
        return actor_of_key(*found)
    user = await users.user(session, user_id)
    if user is None or user.disabled_at is not None:
        raise Forbidden("The user who asked for this is disabled.")
    return Actor("user", user.id, user.roles)


def actor_of_key(key: ApiKey, roles: frozenset[str]) -> Actor:
    return Actor(
        "api_key",
        key.user_id,
        roles,
        api_key_id=key.id,
        scopes=key.scopes,
        collections=key.collections,
        rate_limit=key.rate_limit,
    )
