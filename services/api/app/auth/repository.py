"""The SQL of users, sessions and refresh tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.auth.errors import EmailTaken
from app.auth.models import User
from app.db import locks
from app.db.session import affected

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta
    from uuid import UUID

    from asyncpg import Record

    from app.db.session import Session

_USER = "id, email, name, roles, disabled_at, created_at, updated_at"

# Any number will do; taken by whoever changes who is an admin.
_ADMINS_LOCK = 0x6C697374_61646D


async def insert_user(
    session: Session,
    id_: UUID,
    email: str,
    name: str | None,
    hashed: str | None,
    roles: Iterable[str],
) -> User:
    """One without a password is disabled. Raises EmailTaken."""
    row = await session.fetchrow(
        "INSERT INTO listo.users (id, email, name, password_hash, roles, disabled_at)"
        " VALUES ($1, $2, $3, $4, $5, CASE WHEN $4::text IS NULL THEN now() END)"
        f" ON CONFLICT (email) DO NOTHING RETURNING {_USER}",
        id_,
        email,
        name,
        hashed,
        sorted(roles),
    )
    if row is None:
        raise EmailTaken
    return _user(row)


async def user(session: Session, id_: UUID) -> User | None:
    row = await session.fetchrow(f"SELECT {_USER} FROM listo.users WHERE id = $1", id_)
    return None if row is None else _user(row)


async def user_by_email(session: Session, email: str) -> tuple[User, str | None] | None:
    """The user and the password's hash, if there is one."""
    row = await session.fetchrow(
        f"SELECT {_USER}, password_hash FROM listo.users WHERE email = $1", email
    )
    return None if row is None else (_user(row), row["password_hash"])


async def password_hash(session: Session, id_: UUID) -> str | None:
    hashed: str | None = await session.fetchval(
        "SELECT password_hash FROM listo.users WHERE id = $1", id_
    )
    return hashed


async def lock_password(session: Session, id_: UUID) -> str | None:
    """The password's hash, which stays so to the transaction's end; None also if disabled."""
    hashed: str | None = await session.fetchval(
        "SELECT password_hash FROM listo.users WHERE id = $1 AND disabled_at IS NULL"
        " FOR NO KEY UPDATE",
        id_,
    )
    return hashed


async def users(session: Session, after: UUID | None, limit: int) -> list[User]:
    rows = await session.fetch(
        f"SELECT {_USER} FROM listo.users WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2",
        after,
        limit,
    )
    return [_user(row) for row in rows]


async def set_password(session: Session, id_: UUID, hashed: str) -> None:
    await session.execute(
        "UPDATE listo.users SET password_hash = $2, updated_at = now() WHERE id = $1", id_, hashed
    )


async def lock_admins(session: Session) -> None:
    """Have changes of who is an admin happen one after the other. Raises LockTimeout."""

    async def attempt(within: Session) -> bool:
        locked: bool = await within.fetchval("SELECT pg_try_advisory_xact_lock($1)", _ADMINS_LOCK)
        return locked

    await locks.poll(session, attempt)


async def active_admins(session: Session) -> int:
    count: int = await session.fetchval(
        "SELECT count(*) FROM listo.users WHERE 'admin' = ANY(roles) AND disabled_at IS NULL"
    )
    return count


async def update_user(
    session: Session, id_: UUID, *, name: str | None, roles: Iterable[str], disabled: bool
) -> User | None:
    row = await session.fetchrow(
        "UPDATE listo.users SET name = $2, roles = $3, updated_at = now(),"
        " disabled_at = CASE WHEN $4 THEN coalesce(disabled_at, now()) END"
        f" WHERE id = $1 RETURNING {_USER}",
        id_,
        name,
        sorted(roles),
        disabled,
    )
    return None if row is None else _user(row)


async def delete_user(session: Session, id_: UUID) -> None:
    """Sessions and API keys go with it."""
    await session.execute("DELETE FROM listo.users WHERE id = $1", id_)


async def insert_session(session: Session, id_: UUID, user_id: UUID, ttl: timedelta) -> None:
    await session.execute(
        "INSERT INTO listo.sessions (id, user_id, expires_at) VALUES ($1, $2, now() + $3)",
        id_,
        user_id,
        ttl,
    )


async def session_user(session: Session, session_id: UUID) -> User | None:
    """The user of a session that is neither revoked nor expired; None also if disabled."""
    row = await session.fetchrow(
        "SELECT u.id, u.email, u.name, u.roles, u.disabled_at, u.created_at, u.updated_at"
        " FROM listo.sessions s JOIN listo.users u ON u.id = s.user_id"
        " WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > now()"
        " AND u.disabled_at IS NULL",
        session_id,
    )
    return None if row is None else _user(row)


async def revoke_session(session: Session, session_id: UUID) -> None:
    await session.execute(
        "UPDATE listo.sessions SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1",
        session_id,
    )


async def revoke_sessions(session: Session, user_id: UUID, keep: UUID | None) -> bool:
    """Revoke the user's sessions but one; whether there was any."""
    status = await session.execute(
        "UPDATE listo.sessions SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL"
        " AND id IS DISTINCT FROM $2",
        user_id,
        keep,
    )
    return affected(status) > 0


async def lock_session(session: Session, session_id: UUID) -> bool:
    """Whether the session has not ended, and does not until this transaction does."""
    found = await session.fetchval(
        "SELECT true FROM listo.sessions WHERE id = $1 AND revoked_at IS NULL"
        " AND expires_at > now() FOR SHARE",
        session_id,
    )
    return found is not None


async def count_wrong_password(session: Session, session_id: UUID, at_most: int) -> bool:
    """Count one that was given in the session; whether that has ended, as it does with the last."""
    ended: bool | None = await session.fetchval(
        "UPDATE listo.sessions SET wrong_passwords = wrong_passwords + 1, revoked_at ="
        " CASE WHEN wrong_passwords + 1 >= $2 THEN coalesce(revoked_at, now()) ELSE revoked_at END"
        " WHERE id = $1 RETURNING revoked_at IS NOT NULL",
        session_id,
        at_most,
    )
    return bool(ended)


async def forgive_wrong_passwords(session: Session, session_id: UUID) -> None:
    await session.execute("UPDATE listo.sessions SET wrong_passwords = 0 WHERE id = $1", session_id)


async def insert_refresh_token(session: Session, hashed: bytes, session_id: UUID) -> None:
    await session.execute(
        "INSERT INTO listo.refresh_tokens (hash, session_id) VALUES ($1, $2)", hashed, session_id
    )


async def use_refresh_token(
    session: Session, hashed: bytes, grace: timedelta
) -> tuple[UUID, UUID, bool] | None:
    """Mark the token used: (session, user, whether it was used longer than `grace` ago).

    None where there is no such token, or its session has ended or its user is disabled.
    """
    row: Any = await session.fetchrow(
        "SELECT t.session_id, s.user_id, t.used_at < now() - $2::interval AS reused"
        " FROM listo.refresh_tokens t JOIN listo.sessions s ON s.id = t.session_id"
        " JOIN listo.users u ON u.id = s.user_id"
        " WHERE t.hash = $1 AND s.revoked_at IS NULL AND s.expires_at > now()"
        " AND u.disabled_at IS NULL FOR UPDATE OF t, s",
        hashed,
        grace,
    )
    if row is None:
        return None
    await session.execute(
        "UPDATE listo.refresh_tokens SET used_at = coalesce(used_at, now()) WHERE hash = $1", hashed
    )
    return row["session_id"], row["user_id"], bool(row["reused"])


async def extend_session(session: Session, session_id: UUID, ttl: timedelta) -> None:
    await session.execute(
        "UPDATE listo.sessions SET expires_at = now() + $2 WHERE id = $1", session_id, ttl
    )


async def purge_sessions(session: Session, before: datetime, limit: int) -> int:
    """Delete up to `limit` sessions that ended before then; returns how many."""
    status = await session.execute(
        "DELETE FROM listo.sessions WHERE id IN (SELECT id FROM listo.sessions"
        " WHERE expires_at < $1 OR revoked_at < $1 LIMIT $2)",
        before,
        limit,
    )
    return affected(status)


async def purge_refresh_tokens(session: Session, before: datetime, limit: int) -> int:
    """Delete up to `limit` refresh tokens that were used before then; returns how many."""
    status = await session.execute(
        "DELETE FROM listo.refresh_tokens WHERE hash IN (SELECT hash FROM listo.refresh_tokens"
        " WHERE used_at < $1 LIMIT $2)",
        before,
        limit,
    )
    return affected(status)


def _user(row: Record) -> User:
    return User(
        id=row["id"],
        email=row["email"],
        name=row["name"],
        roles=frozenset(row["roles"]),
        disabled_at=row["disabled_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
