"""Deletes the records of deleted users: by the worker, a bounded part in each transaction.

The duty goes through each collection by id, since `owner` has no index, and notes how far it got in
the very transaction that deletes. So the next worker neither skips records nor counts them twice.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from app.auth.users import removals
from app.collections import repository as collections
from app.core.actor import Actor
from app.db.notifications import Notifications
from app.records import repository
from app.records.access import Access

if TYPE_CHECKING:
    from app.auth.models import Removal
    from app.db.leases import Lease
    from app.db.session import Session

# Records that one transaction looks at.
SLICE = 1000
# Transactions of one run, so that runs succeed in time however much there is to do.
PARTS = 2000
# How long after a user's end a process may still be unaware of it, and a request that began by then
# may still commit: beside REQUEST_TIMEOUT, with much room.
_UNAWARE = timedelta(seconds=10)


async def run(
    duty: Lease, request_timeout: float, *, size: int = SLICE, parts: int = PARTS
) -> None:
    """Do so many parts, or fewer where no records are left that could be deleted by now."""
    settled = timedelta(seconds=request_timeout) + _UNAWARE
    for _ in range(parts):
        if not await _step(duty, settled, size):
            break


async def _step(duty: Lease, settled: timedelta, size: int) -> bool:
    async with duty.transaction() as session:
        removal = await removals.oldest(session, settled)
        if removal is None:
            return False
        await _go_on(session, removal, size)
    return True


async def _go_on(session: Session, removal: Removal, size: int) -> None:
    """The next part, of `size` records at most. A collection may have been deleted meanwhile."""
    here = removal.collection
    collection = await collections.first(session, here, inclusive=removal.record is not None)
    if collection is None:
        # A client that reads of the finish must find none of the records in a cached list.
        await Notifications.epoch_is_known(session)
        await removals.finish(session, removal)
        return
    after = removal.record if collection.name == here else None
    actor = Actor("user", removal.requested_by)
    access = Access(session, actor, collection)
    part = await repository.delete_owned(access, removal.user_id, after=after, size=size)
    if part is None:
        # The definition has changed; the next step reads it anew.
        return
    last = part.last if part.seen == size else None
    await removals.note(
        session, removal, collection=collection.name, record=last, deleted=part.deleted
    )
