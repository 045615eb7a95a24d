"""The SQL of sessions and refresh tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.auth.users.repository import USER_COLUMNS, user_from
from app.db.session import affected

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from uuid import UUID

    from app.auth.models import User
    from app.db.session import Session

_USER = ", ".join(f"u.{name}" for name in USER_COLUMNS)


async def insert_session(session: Session, id_: UUID, user_id: UUID, ttl: timedelta) -> None:
    await session.execute(
        "INSERT INTO listo.sessions (id, user_id, expires_at) VALUES ($1, $2, now() + $3)",
        id_,
        user_id,
        ttl,
    )


async def session_user(session: Session, session_id: UUID) -> User | None:
    """The user of a session; None if the session has ended or the user is disabled."""
    row = await session.fetchrow(
        f"SELECT {_USER} FROM listo.sessions s JOIN listo.users u ON u.id = s.user_id"
        " WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > now()"
        " AND u.disabled_at IS NULL",
        session_id,
    )
    return None if row is None else user_from(row)


async def revoke_session(session: Session, session_id: UUID) -> None:
    await session.execute(
        "UPDATE listo.sessions SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1",
        session_id,
    )


async def revoke_sessions(session: Session, user_id: UUID, keep: UUID | None) -> bool:
    """Revoke the user's sessions except `keep`; returns whether there was any."""
    status = await session.execute(
        "UPDATE listo.sessions SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL"
        " AND id IS DISTINCT FROM $2",
        user_id,
        keep,
    )
    return affected(status) > 0


async def lock_session(session: Session, session_id: UUID) -> bool:
    """Lock the session until this transaction ends; returns whether it is alive."""
    found = await session.fetchval(
        "SELECT true FROM listo.sessions WHERE id = $1 AND revoked_at IS NULL"
        " AND expires_at > now() FOR SHARE",
        session_id,
    )
    return found is not None


async def count_wrong_password(session: Session, session_id: UUID, at_most: int) -> bool:
    """Count a wrong password; the `at_most`-th ends the session. Returns whether it has ended."""
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
    """Mark the token used; returns (session, user, whether it was used longer than `grace` ago).

    None if there is no such token, its session has ended or its user is disabled.
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
    """Delete up to `limit` sessions that ended before `before`; returns how many."""
    status = await session.execute(
        "DELETE FROM listo.sessions WHERE id IN (SELECT id FROM listo.sessions"
        " WHERE expires_at < $1 OR revoked_at < $1 LIMIT $2)",
        before,
        limit,
    )
    return affected(status)


async def purge_refresh_tokens(session: Session, before: datetime, limit: int) -> int:
    """Delete up to `limit` refresh tokens that were used before `before`; returns how many."""
    status = await session.execute(
        "DELETE FROM listo.refresh_tokens WHERE hash IN (SELECT hash FROM listo.refresh_tokens"
        " WHERE used_at < $1 LIMIT $2)",
        before,
        limit,
    )
    return affected(status)
