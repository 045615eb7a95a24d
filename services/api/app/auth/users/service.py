"""Users, as admins see and change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.auth.errors import (
    FirstAdmin,
    LastAdmin,
    PasswordAlreadySet,
    SessionRequired,
    UserNotFound,
)
from app.auth.models import PROFILE
from app.auth.sessions import service
from app.auth.users import removals, repository
from app.core.actor import ADMIN_ROLE, Actor, Scope
from app.core.errors import FieldError, Forbidden, Unauthorized, ValidationFailed
from app.core.ids import uuid7
from app.events.models import Event
from app.events.outbox import publish

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from app.auth.models import User
    from app.auth.schemas import UserIn, UserPatch
    from app.auth.sessions.service import Auth
    from app.db.session import Session


def require_admin(actor: Actor) -> None:
    """Raises Unauthorized or Forbidden unless the caller administers users."""
    if actor.is_anonymous:
        raise Unauthorized
    if not (actor.is_admin and actor.has_scope(Scope.USERS_ADMIN)):
        raise Forbidden("Only admins see and change users.")


async def create(auth: Auth, actor: Actor, given: UserIn) -> User:
    """A new user. A user that an API key makes has no password and is disabled, until an admin
    gives a password in a session.

    Raises EmailTaken, SessionRequired if an API key is to make an admin or to give a password, and
    ValidationFailed if a session gives no password.
    """
    require_admin(actor)
    _require_session_for_admins(actor, given.roles)
    if given.password is None and actor.scopes is None:
        raise _password_missing()
    hashed = None
    if given.password is not None:
        _require_session(actor, "give a user a password")
        hashed = await auth.passwords.hash(given.password)
    profile = given.model_dump(include=set(PROFILE))
    return await repository.insert_user(
        auth.database, uuid7(), given.email, hashed, given.roles, profile
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


async def change(auth: Auth, actor: Actor, *, user_id: UUID, patch: UserPatch) -> User:
    """Change name, roles or whether the user may log in; effective at once.

    An enabled user begins anew: earlier sessions and API keys have ended for good.

    Raises UserNotFound, SessionRequired if an API key is to change an admin or give a password, a
    role or access, PasswordAlreadySet, ValidationFailed if a user without a password is to be
    enabled, and LastAdmin if no admin would be left.
    """
    require_admin(actor)
    hashed = None
    if patch.password is not None:
        _require_session(actor, "give a user a password")
        hashed = await auth.passwords.hash(patch.password)
    async with auth.database.transaction() as session:
        await repository.lock_admins(session)
        user = await get(session, actor, user_id=user_id)
        disabled = user.disabled_at is not None if patch.disabled is None else patch.disabled
        roles = user.roles if patch.roles is None else frozenset(patch.roles)
        _require_session_for_admins(actor, user.roles | roles)
        if roles - user.roles:
            _require_session(actor, "give a user more roles")
        if not disabled and user.disabled_at is not None:
            _require_session(actor, "enable a user")
        await _check_password(session, user_id, hashed, disabled=disabled)
        changed = await repository.update_user(
            session,
            user_id,
            roles=roles,
            disabled=disabled,
            profile={
                name: getattr(patch if name in patch.model_fields_set else user, name)
                for name in PROFILE
            },
        )
        assert changed is not None
        await _keep_an_admin(session, user)
        if disabled or user.disabled_at is not None:
            # Also when a user is enabled: disabling by other means leaves sessions and keys.
            await service.end_access(session, user_id)
        await session.notify(service.USER_TOPIC, str(user_id))
    return changed


async def delete(
    auth: Auth, actor: Actor, *, user_id: UUID, with_records: bool
) -> removals.Removal | None:
    """Delete a user, whose sessions and API keys end at once. The user's records stay and keep
    their owner, or are deleted over time, as the removal reports.

    Raises UserNotFound, FirstAdmin, LastAdmin, and SessionRequired if an API key is to delete an
    admin, or records that it may not write.
    """
    require_admin(actor)
    if with_records and not actor.has_scope(Scope.RECORDS_WRITE):
        raise SessionRequired(f"A key without {Scope.RECORDS_WRITE} deletes nobody's records.")
    async with auth.database.transaction() as session:
        await repository.lock_admins(session)
        user = await get(session, actor, user_id=user_id)
        _require_session_for_admins(actor, user.roles)
        if user.email == auth.settings.admin_email:
            raise FirstAdmin
        await repository.delete_user(session, user_id)
        await _keep_an_admin(session, user)
        removal = await removals.begin(session, actor, user_id) if with_records else None
        data = {"records": "delete" if with_records else "keep"}
        await publish(session, actor, Event("user.deleted", subject=user_id, data=data))
        await session.notify(service.USER_TOPIC, str(user_id))
    return removal


async def _check_password(
    session: Session, user_id: UUID, hashed: str | None, *, disabled: bool
) -> None:
    """Set a user's first password only. An enabled user must have a password."""
    known = await repository.password_hash(session, user_id)
    if hashed is not None:
        if known is not None:
            raise PasswordAlreadySet
        await repository.set_password(session, user_id, hashed)
    elif known is None and not disabled:
        raise _password_missing()


async def _keep_an_admin(session: Session, before: User) -> None:
    was_admin = ADMIN_ROLE in before.roles and before.disabled_at is None
    if was_admin and not await repository.active_admins(session):
        raise LastAdmin


def _password_missing() -> ValidationFailed:
    message = "is needed, as this user has none"
    return ValidationFailed(errors=[FieldError("/password", message, "missing")])


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


def _require_session(actor: Actor, action: str) -> None:
    """API keys may take rights from users but give none: the holder of a key could log in as a user
    with a password or role from the key, with more rights than the key and after its end."""
    if actor.scopes is not None:
        raise SessionRequired(f"Only an admin's own session can {action}, no API key.")


def _require_session_for_admins(actor: Actor, roles: Iterable[str]) -> None:
    if ADMIN_ROLE in roles:
        _require_session(actor, "make, change or delete admins")


def as_actor(user: User) -> Actor:
    """The user as a caller with everything that the user may do."""
    return Actor("user", user.id, user.roles)
