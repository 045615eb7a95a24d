"""The worker's duty to delete the records of deleted users, a bounded part per transaction.

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
# How long a process may be unaware that a user was deleted, with a wide margin. A request that
# begins by then may commit for as long as its statements can take.
_UNAWARE = timedelta(seconds=10)


async def run(
    lease: Lease, longest_request: float, *, size: int = SLICE, parts: int = PARTS
) -> None:
    """Do up to `parts` transactions, until no records are left that can be deleted by now.

    A request, with its statements, takes no longer than `longest_request` seconds.
    """
    settled = timedelta(seconds=longest_request) + _UNAWARE
    for _ in range(parts):
        if not await _step(lease, settled, size):
            break


async def _step(lease: Lease, settled: timedelta, size: int) -> bool:
    async with lease.transaction() as session:
        removal = await removals.oldest(session, settled)
        if removal is None:
            return False
        await _go_on(session, removal, size)
    return True


async def _go_on(session: Session, removal: Removal, size: int) -> None:
    """Do the next part, `size` records at most. Its collection may have been deleted meanwhile."""
    name = removal.collection
    collection = await collections.first_collection_after(
        session, name, inclusive=removal.record is not None
    )
    if collection is None:
        # Once a client can read that this is finished, no cache must hold the records.
        await Notifications.epoch_is_known(session)
        await removals.finish(session, removal)
        return
    after = removal.record if collection.name == name else None
    actor = Actor("user", removal.requested_by)
    access = Access(session, actor, collection)
    part = await repository.delete_owned(access, removal.user_id, after=after, size=size)
    if part is None:
        # The definition has changed; the next step reads it anew.
        return
    last = part.last if part.seen == size else None
    await removals.save_progress(
        session, removal, collection=collection.name, record=last, deleted=part.deleted
    )
