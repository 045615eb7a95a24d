"""Users, as admins see and change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.auth import repository, service
from app.auth.errors import LastAdmin, SessionRequired, UserNotFound
from app.core.actor import ADMIN_ROLE, Actor, Scope
from app.core.errors import Forbidden, Unauthorized
from app.core.ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from app.auth.models import User
    from app.auth.schemas import UserIn, UserPatch
    from app.auth.service import Auth
    from app.db.session import Session


def require_admin(actor: Actor) -> None:
    """Raises Unauthorized or Forbidden unless the caller administers users."""
    if actor.is_anonymous:
        raise Unauthorized
    if not (actor.is_admin and actor.has_scope(Scope.USERS_ADMIN)):
        raise Forbidden("Only admins see and change users.")


async def create(auth: Auth, actor: Actor, given: UserIn) -> User:
    """Raises EmailTaken, and SessionRequired where an API key is to make an admin."""
    require_admin(actor)
    _require_more_than_a_key(actor, given.roles)
    hashed = await auth.passwords.hash(given.password)
    return await repository.insert_user(
        auth.database, uuid7(), given.email, given.name, hashed, given.roles
    )


async def get(session: Session, actor: Actor, *, user_id: UUID) -> User:
    require_admin(actor)
    user = await repository.user(session, user_id)
    if user is None:
        raise UserNotFound
    return user


async def list_users(
    session: Session, actor: Actor, *, after: UUID | None, limit: int
) -> list[User]:
    """Up to `limit` users with ids above `after`, oldest first."""
    require_admin(actor)
    return await repository.users(session, after, limit)


async def change(session: Session, actor: Actor, *, user_id: UUID, patch: UserPatch) -> User:
    """Change name, roles or whether the user may log in; effective at once.

    Raises UserNotFound, SessionRequired where an API key is to change or make an admin, and
    LastAdmin where nobody would be left to undo it.
    """
    require_admin(actor)
    await repository.lock_admins(session)
    user = await get(session, actor, user_id=user_id)
    given = patch.model_fields_set
    disabled = user.disabled_at is not None
    if "disabled" in given and patch.disabled is not None:
        disabled = patch.disabled
    roles = user.roles if patch.roles is None else frozenset(patch.roles)
    _require_more_than_a_key(actor, user.roles | roles)
    changed = await repository.update_user(
        session,
        user_id,
        name=patch.name if "name" in given else user.name,
        roles=roles,
        disabled=disabled,
    )
    assert changed is not None
    was_admin = ADMIN_ROLE in user.roles and user.disabled_at is None
    if was_admin and not await repository.active_admins(session):
        raise LastAdmin
    if disabled and user.disabled_at is None:
        await service.end_sessions(session, user_id)
    await session.notify(service.USER_TOPIC, str(user_id))
    return changed


async def reset_password(auth: Auth, *, email: str, password: str) -> None:
    """Set a user's password and end all of the user's sessions. Raises UserNotFound."""
    found = await repository.user_by_email(auth.database, email)
    if found is None:
        raise UserNotFound
    user, _ = found
    hashed = await auth.passwords.hash(password)
    async with auth.database.transaction() as session:
        await repository.set_password(session, user.id, hashed)
        await service.end_sessions(session, user.id)


def _require_more_than_a_key(actor: Actor, roles: Iterable[str]) -> None:
    """A key that could make an admin would be no longer limited: it could log in as that one."""
    if actor.scopes is not None and ADMIN_ROLE in roles:
        raise SessionRequired("Only an admin's own session makes or changes admins, no API key.")


def as_actor(user: User) -> Actor:
    """The user as a caller with everything that the user may do."""
    return Actor("user", user.id, user.roles)
