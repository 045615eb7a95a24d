"""Removals: the progress of deleting a deleted user's records, kept for the duty that deletes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.auth.errors import RemovalNotFound
from app.auth.models import Removal
from app.auth.users import removal_repository as repository

if TYPE_CHECKING:
    from datetime import timedelta
    from uuid import UUID

    from app.core.actor import Actor
    from app.db.session import Session

__all__ = ["Removal", "begin", "finish", "get", "oldest", "save_progress"]


async def begin(session: Session, actor: Actor, user_id: UUID) -> Removal:
    """Have the user's records deleted, once it is certain that no more are written."""
    return await repository.insert(session, user_id, actor.id)


async def get(session: Session, user_id: UUID) -> Removal:
    """Raises RemovalNotFound."""
    removal = await repository.find(session, user_id)
    if removal is None:
        raise RemovalNotFound
    return removal


async def oldest(session: Session, older_than: timedelta) -> Removal | None:
    """The first unfinished removal that was requested at least `older_than` ago."""
    return await repository.oldest(session, older_than)


async def save_progress(
    session: Session, removal: Removal, *, collection: str, record: UUID | None, deleted: int
) -> None:
    """Save that `deleted` more records, up to `record` of `collection`, are gone."""
    await repository.save_progress(session, removal.user_id, collection, record, deleted)


async def finish(session: Session, removal: Removal) -> None:
    await repository.finish(session, removal.user_id)
