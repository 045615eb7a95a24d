"""The SQL of removals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.auth.models import Removal

if TYPE_CHECKING:
    from datetime import timedelta
    from uuid import UUID

    from asyncpg import Record

    from app.db.session import Session

_REMOVAL = "user_id, requested_by, requested_at, collection, record, deleted, finished_at"


async def insert(session: Session, user_id: UUID, requested_by: UUID | None) -> Removal:
    row = await session.fetchrow(
        f"INSERT INTO listo.removals (user_id, requested_by) VALUES ($1, $2) RETURNING {_REMOVAL}",
        user_id,
        requested_by,
    )
    assert row is not None
    return _removal(row)


async def find(session: Session, user_id: UUID) -> Removal | None:
    row = await session.fetchrow(
        f"SELECT {_REMOVAL} FROM listo.removals WHERE user_id = $1", user_id
    )
    return None if row is None else _removal(row)


async def oldest(session: Session, older_than: timedelta) -> Removal | None:
    row = await session.fetchrow(
        f"SELECT {_REMOVAL} FROM listo.removals WHERE finished_at IS NULL"
        " AND requested_at <= now() - $1::interval ORDER BY requested_at LIMIT 1",
        older_than,
    )
    return None if row is None else _removal(row)


async def save_progress(
    session: Session, user_id: UUID, collection: str, record: UUID | None, deleted: int
) -> None:
    await session.execute(
        "UPDATE listo.removals SET collection = $2, record = $3, deleted = deleted + $4"
        " WHERE user_id = $1",
        user_id,
        collection,
        record,
        deleted,
    )


async def finish(session: Session, user_id: UUID) -> None:
    await session.execute(
        "UPDATE listo.removals SET finished_at = now(), collection = NULL, record = NULL"
        " WHERE user_id = $1",
        user_id,
    )


def _removal(row: Record) -> Removal:
    return Removal(**dict(row))
