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
    await _acquire(
        session,
        lambda attempt: repository.block_writes(attempt, names),
        lambda own: repository.make_way(own, names),
    )


async def block_all(session: Session, name: str) -> None:
    """Readers and writers wait until the transaction ends; exports end. Raises CollectionBusy."""

    async def make_way(own: Session) -> bool:
        await repository.end_exports(own, name)
        return await repository.make_way(own, (name,))

    await _acquire(session, lambda attempt: repository.block_reads(attempt, name), make_way)


async def _acquire(
    session: Session,
    lock: Callable[[Session], Awaitable[object]],
    make_way: Callable[[Session], Awaitable[bool]],
) -> None:
    try:
        await locks.acquire(session, lock, make_way)
    except LockTimeout as error:
        raise CollectionBusy from error
