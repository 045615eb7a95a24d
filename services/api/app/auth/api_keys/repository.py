"""The SQL of API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.auth.models import ApiKey
from app.db.session import affected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from asyncpg import Record

    from app.db.session import Session

_KEY = (
    "k.id, k.user_id, k.name, k.prefix, k.scopes, k.collections, k.created_at, k.expires_at,"
    " k.last_used_at, k.rate_limit"
)
_FIND = (
    f"SELECT {_KEY}, u.roles FROM listo.api_keys k JOIN listo.users u ON u.id = k.user_id"
    " WHERE (k.expires_at IS NULL OR k.expires_at > now()) AND u.disabled_at IS NULL"
)


async def insert(  # noqa: PLR0913 - the columns of one row
    session: Session,
    id_: UUID,
    user_id: UUID,
    *,
    name: str,
    prefix: str,
    hashed: bytes,
    scopes: Iterable[str],
    collections: Iterable[str] | None,
    expires_at: datetime | None,
    rate_limit: str | None,
) -> ApiKey:
    row = await session.fetchrow(
        "INSERT INTO listo.api_keys AS k"
        " (id, user_id, name, prefix, hash, scopes, collections, expires_at, rate_limit)"
        f" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING {_KEY}",
        id_,
        user_id,
        name,
        prefix,
        hashed,
        sorted(scopes),
        None if collections is None else sorted(collections),
        expires_at,
        rate_limit,
    )
    assert row is not None
    return _api_key(row)


async def number_of(session: Session, user_id: UUID) -> int | None:
    """How many keys the user has; None if the user is disabled or deleted.

    Until this transaction ends, no other transaction makes a key or disables the user. Deletes
    expired keys first, so that they do not count.
    """
    if not await session.fetchval(
        "SELECT true FROM listo.users WHERE id = $1 AND disabled_at IS NULL FOR NO KEY UPDATE",
        user_id,
    ):
        return None
    await session.execute(
        "DELETE FROM listo.api_keys WHERE user_id = $1 AND expires_at <= now()", user_id
    )
    number: int = await session.fetchval(
        "SELECT count(*) FROM listo.api_keys WHERE user_id = $1", user_id
    )
    return number


async def of_user(session: Session, user_id: UUID) -> list[ApiKey]:
    rows = await session.fetch(
        f"SELECT {_KEY} FROM listo.api_keys k WHERE k.user_id = $1 ORDER BY k.id", user_id
    )
    return [_api_key(row) for row in rows]


async def find(session: Session, hashed: bytes) -> tuple[ApiKey, frozenset[str]] | None:
    """A key that is valid now, and its user's roles."""
    row = await session.fetchrow(f"{_FIND} AND k.hash = $1", hashed)
    return None if row is None else (_api_key(row), frozenset(row["roles"]))


async def find_by_id(session: Session, id_: UUID) -> tuple[ApiKey, frozenset[str]] | None:
    """As `find`."""
    row = await session.fetchrow(f"{_FIND} AND k.id = $1", id_)
    return None if row is None else (_api_key(row), frozenset(row["roles"]))


async def delete(session: Session, user_id: UUID, id_: UUID) -> bool:
    status = await session.execute(
        "DELETE FROM listo.api_keys WHERE id = $1 AND user_id = $2", id_, user_id
    )
    return affected(status) == 1


async def delete_all(session: Session, user_id: UUID) -> None:
    await session.execute("DELETE FROM listo.api_keys WHERE user_id = $1", user_id)


async def existing(session: Session, names: Iterable[str], *, unruled: bool) -> set[str]:
    """The names that belong to collections; these collections stay until this transaction ends.

    Without `unruled`, the result leaves out collections that only admins may use: a key's maker
    must not learn of them.
    """
    rows = await session.fetch(
        "SELECT name FROM listo.collections c WHERE name = ANY($1) AND ($2 OR EXISTS"
        " (SELECT FROM json_each_text(c.definition -> 'rules') AS r WHERE r.value IS NOT NULL))"
        " ORDER BY name FOR KEY SHARE",
        list(names),
        unruled,
    )
    return {row["name"] for row in rows}


async def forget_collection(session: Session, name: str) -> list[UUID]:
    """Take the name out of all keys; returns the ids of the keys that had it."""
    rows = await session.fetch(
        "UPDATE listo.api_keys SET collections = array_remove(collections, $1)"
        " WHERE $1 = ANY(collections) RETURNING id",
        name,
    )
    return [row["id"] for row in rows]


async def touch(session: Session, used: Mapping[UUID, datetime]) -> None:
    """Store when keys were last used."""
    await session.execute(
        "UPDATE listo.api_keys k SET last_used_at = u.used_at"
        " FROM unnest($1::uuid[], $2::timestamptz[]) AS u (id, used_at)"
        " WHERE k.id = u.id AND (k.last_used_at IS NULL OR k.last_used_at < u.used_at)",
        list(used),
        list(used.values()),
    )


def _api_key(row: Record) -> ApiKey:
    collections = row["collections"]
    return ApiKey(
        id=row["id"],
        user_id=row["user_id"],
        name=row["name"],
        prefix=row["prefix"],
        scopes=frozenset(row["scopes"]),
        collections=None if collections is None else frozenset(collections),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        rate_limit=row["rate_limit"],
    )
