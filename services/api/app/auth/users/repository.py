"""The SQL of users."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from app.auth.errors import EmailTaken
from app.auth.models import PROFILE, User
from app.db import locks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from asyncpg import Record

    from app.db.session import Session

USER_COLUMNS = tuple(field.name for field in fields(User))
_USER = ", ".join(USER_COLUMNS)
_PROFILE = "".join(f", {name}" for name in PROFILE)

# Any number will do; transactions that change admins take the lock.
_ADMINS_LOCK = 0x6C697374_61646D


def _placeholders(start: int) -> str:
    """The placeholders of a profile's columns, numbered from `start`, to append to a list."""
    return "".join(f", ${number}" for number in range(start, start + len(PROFILE)))


def _profile_values(given: Mapping[str, object]) -> list[object]:
    return [given.get(name) for name in PROFILE]


async def insert_user(
    session: Session,
    id_: UUID,
    email: str,
    hashed: str | None,
    roles: Iterable[str],
    profile: Mapping[str, object],
) -> User:
    """A new user, disabled if without a password. Raises EmailTaken."""
    row = await session.fetchrow(
        f"INSERT INTO listo.users (id, email, password_hash, roles, disabled_at{_PROFILE})"
        f" VALUES ($1, $2, $3, $4, CASE WHEN $3::text IS NULL THEN now() END{_placeholders(5)})"
        f" ON CONFLICT (email) DO NOTHING RETURNING {_USER}",
        id_,
        email,
        hashed,
        sorted(roles),
        *_profile_values(profile),
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
    """The hash of an enabled user's password, or None; locked until the transaction ends."""
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
    """Have transactions that change admins run one after the other. Raises LockTimeout."""

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
    session: Session,
    id_: UUID,
    *,
    roles: Iterable[str],
    disabled: bool,
    profile: Mapping[str, object],
) -> User | None:
    row = await session.fetchrow(
        f"UPDATE listo.users SET (roles, disabled_at, updated_at{_PROFILE})"
        f" = ($2, CASE WHEN $3 THEN coalesce(disabled_at, now()) END, now(){_placeholders(4)})"
        f" WHERE id = $1 RETURNING {_USER}",
        id_,
        sorted(roles),
        disabled,
        *_profile_values(profile),
    )
    return None if row is None else user_from(row)


async def delete_user(session: Session, id_: UUID) -> None:
    """Sessions and API keys go with the user."""
    await session.execute("DELETE FROM listo.users WHERE id = $1", id_)


def user_from(row: Record) -> User:
    """The user of a row that has at least USER_COLUMNS."""
    values = {name: row[name] for name in USER_COLUMNS}
    return User(**{**values, "roles": frozenset(row["roles"])})
