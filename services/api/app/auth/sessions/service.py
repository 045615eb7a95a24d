"""Registration, login, refresh and logout."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from app.auth.api_keys import repository as api_key_repository
from app.auth.errors import (
    InvalidCredentials,
    InvalidToken,
    RegistrationClosed,
    SessionRequired,
)
from app.auth.identity import secrets
from app.auth.models import PROFILE
from app.auth.passwords.pool import Match, Passwords
from app.auth.sessions import repository
from app.auth.users import repository as users
from app.core import emails
from app.core.errors import Unauthorized
from app.core.ids import uuid7
from app.idempotency.errors import KeyReused, RequestInProgress
from app.observability.metrics import AUTH_FAILURES

if TYPE_CHECKING:
    from uuid import UUID

    from app.auth.identity.tokens import Tokens
    from app.auth.models import User
    from app.auth.schemas import RegisterIn
    from app.core.actor import Actor
    from app.core.settings import Settings
    from app.db.session import Session, TransactionFactory

# Parallel tabs refresh with the same token; a token used again later was stolen.
REUSE_GRACE = timedelta(seconds=10)
# A session ends after this number of wrong current passwords.
WRONG_PASSWORDS = 20
SESSION_TOPIC = "session"
USER_TOPIC = "user"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The credentials of a session."""

    access_token: str
    expires_in: int
    refresh_token: str


@dataclass(frozen=True, slots=True)
class Auth:
    """The parts that logging in needs."""

    settings: Settings
    database: TransactionFactory
    passwords: Passwords
    tokens: Tokens

    @property
    def session_ttl(self) -> timedelta:
        return timedelta(seconds=self.settings.refresh_token_ttl)


async def register(auth: Auth, given: RegisterIn) -> User:
    """A new member. Raises RegistrationClosed, EmailTaken."""
    if not auth.settings.registration_open:
        raise RegistrationClosed
    hashed = await auth.passwords.hash(given.password)
    profile = given.model_dump(include=set(PROFILE))
    return await users.insert_user(auth.database, uuid7(), given.email, hashed, {"member"}, profile)


async def login(auth: Auth, *, email: str, password: str) -> TokenPair:
    """A new session. Raises the same InvalidCredentials whatever was wrong."""
    found = await users.user_by_email(auth.database, emails.lookup_form(email))
    user, hashed = found or (None, None)
    match = await auth.passwords.verify(password, hashed)
    if user is None or hashed is None or not match or user.disabled_at is not None:
        AUTH_FAILURES.labels("password").inc()
        raise InvalidCredentials
    renewed = await auth.passwords.hash(password) if match is Match.OUTDATED else None
    async with auth.database.transaction() as session:
        if await users.lock_password(session, user.id) == hashed:
            if renewed:
                await users.set_password(session, user.id, renewed)
            session_id = uuid7()
            await repository.insert_session(session, session_id, user.id, auth.session_ttl)
            return await _token_pair(session, auth, user.id, session_id)
    # The password was changed, or the user disabled, during the check.
    return await login(auth, email=email, password=password)


async def refresh(auth: Auth, *, refresh_token: str) -> TokenPair:
    """A new token pair; reuse after REUSE_GRACE ends the session. Raises InvalidToken."""
    async with auth.database.transaction() as session:
        found = await repository.use_refresh_token(
            session, secrets.digest(refresh_token), REUSE_GRACE
        )
        if found is not None:
            session_id, user_id, reused = found
            if not reused:
                await repository.extend_session(session, session_id, auth.session_ttl)
                return await _token_pair(session, auth, user_id, session_id)
            await repository.revoke_session(session, session_id)
            await session.notify(SESSION_TOPIC, str(session_id))
    # Raised after the transaction: inside, the error would undo the revocation.
    AUTH_FAILURES.labels("refresh_token_reused" if found else "refresh_token").inc()
    raise InvalidToken("The refresh token is not valid, or not any more.")


async def logout(session: Session, actor: Actor) -> None:
    """End the caller's session: its tokens stop working at once."""
    session_id = own_session(actor)
    await repository.revoke_session(session, session_id)
    await session.notify(SESSION_TOPIC, str(session_id))


async def change_password(
    auth: Auth, actor: Actor, autocommit: Session, *, current: str, new: str
) -> None:
    """Set a new password and end the user's other sessions. Raises InvalidCredentials.

    The session ends after WRONG_PASSWORDS wrong passwords, which limits the guesses of a thief. The
    owner can log in again; each session has its own count.

    `autocommit` is outside any transaction: none may stay open while passwords are hashed.
    """
    session_id = own_session(actor)
    assert actor.id is not None
    hashed = await users.password_hash(autocommit, actor.id)
    if not await auth.passwords.verify(current, hashed):
        # A repeated request with an idempotency key may have changed the password the first time.
        # The statement below takes the key first: if an answer is kept, an exception ends this
        # function, and the answer is replayed. If another request has the key, that error is
        # suppressed, so that the wrong password is counted all the same.
        with suppress(KeyReused, RequestInProgress):
            await users.password_hash(auth.database, actor.id)
        # Counted outside of the request transaction, which the error below undoes.
        if await repository.count_wrong_password(autocommit, session_id, WRONG_PASSWORDS):
            await autocommit.notify(SESSION_TOPIC, str(session_id))
        AUTH_FAILURES.labels("password").inc()
        raise InvalidCredentials("The current password is wrong.")
    renewed = await auth.passwords.hash(new)
    async with auth.database.transaction() as session:
        if await users.lock_password(session, actor.id) == hashed:
            await users.set_password(session, actor.id, renewed)
            await repository.forgive_wrong_passwords(session, session_id)
            await end_sessions(session, actor.id, keep=session_id)
            return
    # Another request changed the password, or disabled the user, during the check.
    raise InvalidCredentials("The current password is wrong.")


async def end_sessions(session: Session, user_id: UUID, *, keep: UUID | None = None) -> None:
    """Revoke all sessions of a user except `keep`."""
    if await repository.revoke_sessions(session, user_id, keep):
        # One notification for all sessions, of which there may be thousands.
        await session.notify(USER_TOPIC, str(user_id))


async def end_access(session: Session, user_id: UUID) -> None:
    """End all sessions and API keys of a user, for good. The calling function notifies."""
    await repository.revoke_sessions(session, user_id, None)
    await api_key_repository.delete_all(session, user_id)


async def lives(session: Session, actor: Actor) -> bool:
    """Lock the caller's session until this transaction ends; returns whether it is alive."""
    return await repository.lock_session(session, own_session(actor))


def own_session(actor: Actor) -> UUID:
    """The caller's session. Raises Unauthorized if anonymous, SessionRequired for an API key."""
    if actor.is_anonymous:
        raise Unauthorized
    if actor.session_id is None:
        raise SessionRequired
    return actor.session_id


async def _token_pair(session: Session, auth: Auth, user_id: UUID, session_id: UUID) -> TokenPair:
    text, hashed = secrets.make(secrets.REFRESH_TOKEN)
    await repository.insert_refresh_token(session, hashed, session_id)
    return TokenPair(auth.tokens.issue(user_id, session_id), auth.tokens.ttl, text)
