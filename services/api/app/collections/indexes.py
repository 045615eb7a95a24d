"""How existing indexes are made to match those that a collection declares, and how far they are."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Literal

import asyncpg

from app.collections import repository
from app.collections.errors import IndexNotReady, NotSearchable
from app.core.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection

    from app.collections.declared_index import Buildable, Index
    from app.collections.declared_search import SearchIndex
    from app.collections.models import Collection
    from app.collections.repository import BuiltIndex
    from app.db.database import Database
    from app.db.session import Session

logger = logging.getLogger("listo.indexes")

# Building an index may take far longer than a request's statement, and waits for older transactions
# for an hour at most.
_BUILDER = {
    "application_name": repository.BUILDER,
    "statement_timeout": "0",
    "lock_timeout": "1h",
}
# Maximum number of tries if building is cancelled; seconds between tries to get the lock.
_ATTEMPTS = 20
_LOOK_SECONDS = 0.1
# How long the index of a former search is kept once nobody needs it any more.
_FORMER_SECONDS = 1.0

State = Literal["ready", "building", "failed"]


class States:
    """The states of indexes."""

    def __init__(self, existing: dict[str, BuiltIndex], building: dict[str, float | None]) -> None:
        self._existing = existing
        self._building = building

    def progress_of(self, index: Buildable) -> float | None:
        """The share of the table that the builder has read, 0 to 1, while it reads it."""
        return self._building.get(index.name)

    def state_of(self, index: Buildable) -> tuple[State, str | None]:
        """The state, and the fault of a failed index if another try would fail as well."""
        found = self._existing.get(index.name)
        if found is None or (not found.valid and index.name in self._building):
            return "building", None
        return ("ready", None) if found.valid else ("failed", found.fault)


async def states(session: Session, name: str | None = None) -> States:
    """The states of all collections' indexes, or of those of one collection."""
    existing = await repository.indexes(session, name)
    return States(existing, await repository.indexes_in_progress(session))


async def serving(session: Session, collection: Collection) -> SearchIndex:
    """The collection's search, or a former one while the index of that is not complete.

    Raises NotSearchable (409), and IndexNotReady (409) where there is no former one.
    """
    declared = collection.search_index
    if declared is None:
        raise NotSearchable
    if declared.name in collection.ready_indexes:
        return declared
    complete = await repository.complete_indexes(session, collection.name)
    if declared.name in complete:
        collection.ready_indexes.add(declared.name)
        return declared
    for former in complete.values():
        if former is not None and _may_serve(former, collection):
            return former.ranked_as(declared)
    raise IndexNotReady("The index of the search is not complete; the collection's GET tells more.")


def _may_serve(former: SearchIndex, collection: Collection) -> bool:
    declared = collection.search_index
    return declared is not None and former.ranked_as(declared).is_readable(collection.readable)


async def require_ready(session: Session, collection: Collection, index: Index) -> None:
    """Raises IndexNotReady (409) unless the index is complete. A complete one stays so for as long
    as the definition, which `collection` belongs to."""
    if index.name in collection.ready_indexes:
        return
    state, _ = (await states(session, collection.name)).state_of(index)
    if state != "ready":
        raise IndexNotReady(f"The unique index is {state}; the collection's GET tells more.")
    collection.ready_indexes.add(index.name)


async def reconcile(database: Database, collection: Collection, *, again: bool = False) -> bool:
    """Build missing indexes, drop those that are no longer declared. With `again`, also try those
    that failed before because of the records that there were.

    Both happen concurrently: readers and writers do not wait. Only one process at a time works on a
    collection; a second call returns immediately. Faults are logged; returns False if another try
    may succeed.
    """
    try:
        # Open a connection only if there is something to do.
        existing = await repository.indexes(database, collection.name)
        if again:
            existing = await _forget_faults(database, existing)
        if not any(await _differences(database, collection, existing)):
            return True
        async with database.connection(**_BUILDER) as connection:
            # The lock ends with the connection.
            if not await repository.try_lock_indexes(connection, collection.id):
                return True
            for _ in range(_ATTEMPTS):
                try:
                    return await _reconcile(connection, collection)
                except asyncpg.QueryCanceledError:
                    logger.info("indexes of %s give way to a change of it", collection.name)
            return False
    except (Problem, asyncpg.PostgresError) as error:
        logger.warning("indexes of collection %s were left as they are: %s", collection.name, error)
        return False


async def _forget_faults(
    database: Database, existing: dict[str, BuiltIndex]
) -> dict[str, BuiltIndex]:
    """Have failed indexes built again, by whichever process builds indexes at the moment."""
    for name, found in existing.items():
        if found.fault:
            await repository.comment_on_index(database, name, None)
    return {name: found._replace(fault=None) for name, found in existing.items()}


async def _reconcile(connection: Connection[Any], collection: Collection) -> bool:
    unneeded = None
    while True:
        # Wait for changes of the collection, which cancel builds. Each try releases its lock.
        while not await repository.try_lock_name(connection, collection.name):  # noqa: ASYNC110 - no event tells of others' locks
            await asyncio.sleep(_LOOK_SECONDS)
        # Other indexes may have been declared since.
        present = await repository.get(connection, collection.name)
        if present is None or present.id != collection.id:
            return True
        existing = await repository.indexes(connection, collection.name)
        missing, stale = await _differences(connection, present, existing)
        # A stale index goes last, since another one may take its place. Nothing takes the place of
        # a unique index while only others are missing, and it must not refuse writes any longer.
        replaced = any(index.key for index in missing)
        refusing = [name for name in stale if existing[name].unique and not replaced]
        if refusing:
            await repository.drop_index(connection, refusing[0])
        elif missing:
            if not await _build(connection, collection.name, missing):
                return False
        elif stale:
            if stale[0] != unneeded and await repository.is_search(connection, stale[0]):
                # Requests that were told to use it may not have asked PostgreSQL yet. Meanwhile it
                # may be declared again.
                await asyncio.sleep(_FORMER_SECONDS)
                unneeded = stale[0]
                continue
            await repository.drop_index(connection, stale[0])
            await repository.forget_search(connection, stale[0])
        else:
            return True


async def _differences(
    session: Session, collection: Collection, existing: dict[str, BuiltIndex]
) -> tuple[list[Buildable], list[str]]:
    """The declared indexes that are missing, and the names of existing ones that nobody needs.

    An index with a fault does not count as missing: records would have to change first. Former
    searches are needed until the declared one is complete, which one with a fault never is.
    """
    declared = {index.name: index for index in collection.to_build}
    there = {name for name, found in existing.items() if found.valid or found.fault}
    missing = [index for name, index in declared.items() if name not in there]
    stale = [name for name in existing if name not in declared]
    search = collection.search_index
    if stale and search is not None:
        complete = await repository.complete_indexes(session, collection.name)
        if search.name not in complete:
            formers = {name: complete.get(name) for name in stale}
            stale = [
                name
                for name, former in formers.items()
                if former is None or not _may_serve(former, collection)
            ]
    return missing, stale


async def _build(
    connection: Connection[Any], collection: str, missing: Sequence[Buildable]
) -> bool:
    """Build each index separately; returns False if any needs another try."""
    succeeded = True
    for index in missing:
        spec = list(index.fields)
        try:
            fault = await repository.build_index(connection, collection, index)
        except asyncpg.QueryCanceledError:
            raise
        except asyncpg.PostgresError as error:
            logger.warning("building index %s of %s failed: %s", spec, collection, error)
            succeeded = False
            continue
        if fault is None:
            logger.info("built index %s of collection %s", spec, collection)
        else:
            logger.warning("index %s of %s cannot be built: %s", spec, collection, fault)
    if missing:
        await repository.analyze(connection, collection)
    return succeeded
