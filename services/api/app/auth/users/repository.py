"""The SQL of users."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from app.auth.errors import EmailTaken
from app.auth.models import User
from app.db import locks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from asyncpg import Record

    from app.db.session import Session

USER_COLUMNS = tuple(field.name for field in fields(User))
_USER = ", ".join(USER_COLUMNS)

# Any number will do; transactions that change admins take the lock.
_ADMINS_LOCK = 0x6C697374_61646D


async def insert_user(
    session: Session,
    id_: UUID,
    email: str,
    name: str | None,
    hashed: str | None,
    roles: Iterable[str],
) -> User:
    """A user without a password is disabled. Raises EmailTaken."""
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
    return user_from(row)


async def user(session: Session, id_: UUID) -> User | None:
    row = await session.fetchrow(f"SELECT {_USER} FROM listo.users WHERE id = $1", id_)
    return None if row is None else user_from(row)


async def user_by_email(session: Session, email: str) -> tuple[User, str | None] | None:
    """The user and the password's hash, if there is one."""
    row = await session.fetchrow(
        f"SELECT {_USER}, password_hash FROM listo.users WHERE email = $1", email
    )
    return None if row is None else (user_from(row), row["password_hash"])


async def password_hash(session: Session, id_: UUID) -> str | None:
    hashed: str | None = await session.fetchval(
        "SELECT password_hash FROM listo.users WHERE id = $1", id_
    )
    return hashed


async def lock_password(session: Session, id_: UUID) -> str | None:
    """The password's hash, locked until the transaction ends; None also if disabled."""
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
    return [user_from(row) for row in rows]


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
    return None if row is None else user_from(row)


async def delete_user(session: Session, id_: UUID) -> None:
    """Sessions and API keys go with the user."""
    await session.execute("DELETE FROM listo.users WHERE id = $1", id_)


def user_from(row: Record) -> User:
    """Needs a row that has USER_COLUMNS at least."""
    values = {name: row[name] for name in USER_COLUMNS}
    return User(**{**values, "roles": frozenset(row["roles"])})
