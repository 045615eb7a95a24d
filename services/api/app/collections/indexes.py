"""Declared indexes: their names and SQL, and how existing indexes are made to match them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import TYPE_CHECKING, Any, Literal

import asyncpg

from app.collections import repository
from app.core.errors import Problem
from app.filters.paths import SYSTEM_TYPES, elements_sql
from app.filters.sort import order_by, parse_sort

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection

    from app.collections.models import Collection
    from app.collections.repository import BuiltIndex
    from app.db.database import Database
    from app.db.session import Session
    from app.filters.fields import Fields
    from app.filters.language.syntax import Path

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

State = Literal["ready", "building", "failed"]


class Index:
    """One declared index of a collection."""

    def __init__(self, collection: str, spec: tuple[str, ...], fields: Fields) -> None:
        self.spec = spec
        keys = parse_sort(",".join(spec), fields)
        self.has_array = any(_is_array(key.path, fields) for key in keys)
        # Two keys are a single field and the `id` that ends every sort.
        if self.has_array and len(keys) == 2 and len(spec) == 1:  # noqa: PLR2004
            # `has` asks for elements of an array.
            path = keys[0].path
            elements = elements_sql(path, fields.items_format(path))
            self.definition = f"USING gin (({elements}) jsonb_path_ops)"
        else:
            self.definition = f"({order_by(keys, parenthesised=True)})"
        # The digest is of the whole definition, whose form depends on the fields' schemas.
        digest = hashlib.sha256(self.definition.encode()).hexdigest()[:12]
        self.name = f"{collection}${digest}"


def _is_array(path: Path, fields: Fields) -> bool:
    return path[0] not in SYSTEM_TYPES and ({"array"} <= fields.types(path) <= {"array", "null"})


def indexes_of(collection: Collection) -> list[Index]:
    return [
        Index(collection.name, spec, collection.fields) for spec in collection.definition.indexes
    ]


class States:
    """The states of all collections' indexes."""

    def __init__(self, existing: dict[str, BuiltIndex], building: set[str]) -> None:
        self._existing = existing
        self._building = building

    def state_of(self, index: Index) -> tuple[State, str | None]:
        """The state, and the fault of a failed index if another try would fail as well."""
        found = self._existing.get(index.name)
        if found is None or (not found.valid and index.name in self._building):
            return "building", None
        return ("ready", None) if found.valid else ("failed", found.fault)


async def states(session: Session) -> States:
    return States(await repository.indexes(session), await repository.indexes_in_progress(session))


async def reconcile(database: Database, collection: Collection) -> bool:
    """Build missing indexes, drop those that are no longer declared.

    Both happen concurrently: readers and writers do not wait. Only one process at a time works on a
    collection; a second call returns immediately. Faults are logged; returns False if another try
    may succeed.
    """
    try:
        # Open a connection only if there is something to do.
        if not any(_differences(collection, await repository.indexes(database, collection.name))):
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


async def _reconcile(connection: Connection[Any], collection: Collection) -> bool:
    while True:
        # Wait for changes of the collection, which cancel builds. Each try releases its lock.
        while not await repository.try_lock_name(connection, collection.name):  # noqa: ASYNC110 - no event tells of others' locks
            await asyncio.sleep(_LOOK_SECONDS)
        # Other indexes may have been declared since.
        present = await repository.get(connection, collection.name)
        if present is None or present.id != collection.id:
            return True
        existing = await repository.indexes(connection, collection.name)
        missing, stale = _differences(present, existing)
        if not (missing or stale):
            return True
        if not await _build(connection, collection.name, missing):
            return False
        for name in stale:
            await repository.drop_index(connection, name)


def _differences(
    collection: Collection, existing: dict[str, BuiltIndex]
) -> tuple[list[Index], list[str]]:
    """The declared indexes that are missing, and the names of existing undeclared indexes.

    An index with a fault does not count as missing: records would have to change first.
    """
    declared = {index.name: index for index in indexes_of(collection)}
    there = {name for name, found in existing.items() if found.valid or found.fault}
    missing = [index for name, index in declared.items() if name not in there]
    return missing, [name for name in existing if name not in declared]


async def _build(connection: Connection[Any], collection: str, missing: Sequence[Index]) -> bool:
    """Build each index separately; returns False if any needs another try."""
    succeeded = True
    for index in missing:
        spec = list(index.spec)
        try:
            fault = await repository.build_index(
                connection, collection, index.name, index.definition
            )
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
