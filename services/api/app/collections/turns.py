"""Changes of a collection take turns: one after the other, without holding up other requests."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from app.collections import repository
from app.collections.errors import CollectionBusy
from app.db import locks
from app.db.errors import LockTimeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from app.db.session import Session


async def take(session: Session, names: Sequence[str]) -> None:
    """Keep other transactions from changing these collections, existing or not. Raises
    CollectionBusy."""
    # Always in the same order, so that no two transactions wait for each other.
    for name in sorted(names):
        try:
            await locks.poll(session, partial(repository.try_lock_name, name=name))
        except LockTimeout as error:
            raise CollectionBusy from error


async def block_writers(session: Session, names: Sequence[str]) -> None:
    """Readers continue; writers wait until the transaction ends, and then see its changes. Raises
    CollectionBusy."""
    await _acquire(session, lambda attempt: repository.block_writes(attempt, names), names)


async def block_all(session: Session, name: str) -> None:
    """Readers and writers wait until the transaction ends. Raises CollectionBusy."""
    await _acquire(session, lambda attempt: repository.block_reads(attempt, name), (name,))


async def _acquire(
    session: Session, lock: Callable[[Session], Awaitable[object]], names: Sequence[str]
) -> None:
    try:
        await locks.acquire(session, lock, lambda own: repository.make_way(own, names))
    except LockTimeout as error:
        raise CollectionBusy from error
