"""The SQL of idempotency keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.db.session import affected

if TYPE_CHECKING:
    from datetime import timedelta

    from asyncpg import Record

    from app.db.session import Session


async def claim(session: Session, id_: bytes, lock: int, kept: timedelta) -> Record:
    """Take the key for this transaction: the row says `claimed`, or has the earlier answer.

    `fingerprint` is null where another transaction has the key and has not committed.
    """
    row = await session.fetchrow(
        "SELECT * FROM listo.claim_idempotency_key($1, $2, $3)", id_, lock, kept
    )
    assert row is not None
    return row


async def insert(
    session: Session, id_: bytes, fingerprint: bytes, *, status: int, answer: bytes, kept: timedelta
) -> bool:
    """Keep the answer, replacing an expired answer; False if an unexpired answer exists."""
    row = await session.fetchrow(
        "INSERT INTO listo.idempotency_keys AS k (id, fingerprint, status, answer)"
        " VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO UPDATE SET fingerprint = $2, status = $3,"
        " answer = $4, created_at = now() WHERE k.created_at <= now() - $5::interval RETURNING 1",
        id_,
        fingerprint,
        status,
        answer,
        kept,
    )
    return row is not None


async def purge(session: Session, older_than: timedelta, limit: int) -> int:
    """Delete up to `limit` keys older than `older_than`; returns the number deleted."""
    status = await session.execute(
        "DELETE FROM listo.idempotency_keys WHERE id IN (SELECT id FROM listo.idempotency_keys"
        " WHERE created_at <= now() - $1::interval ORDER BY created_at LIMIT $2)",
        older_than,
        limit,
    )
    return affected(status)
