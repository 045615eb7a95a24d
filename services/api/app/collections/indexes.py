"""Declared indexes: their names and SQL, and how what exists is brought to what is declared."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Literal

from app.collections import repository
from app.filters.paths import SYSTEM_TYPES, field_sql
from app.filters.sort import order_by, parse_sort

if TYPE_CHECKING:
    from app.collections.models import Collection
    from app.db.database import Database
    from app.db.session import Session
    from app.filters.fields import Fields

logger = logging.getLogger("listo.indexes")

State = Literal["ready", "building", "failed"]


class Index:
    """One declared index of a collection."""

    def __init__(self, collection: str, spec: tuple[str, ...], fields: Fields) -> None:
        self.spec = spec
        digest = hashlib.sha256("\n".join(spec).encode()).hexdigest()[:12]
        self.name = f"{collection}__{digest}"
        keys = parse_sort(",".join(spec), fields)
        first = keys[0].path
        is_column = first[0] in SYSTEM_TYPES
        if len(spec) == 1 and not is_column and fields.types(first) <= {"array", "null"}:
            # What `has` asks of an array.
            self.definition = f"USING gin (({field_sql(first)}) jsonb_path_ops)"
        else:
            self.definition = f"({order_by(keys, parenthesised=True)})"


def of(collection: Collection) -> list[Index]:
    return [
        Index(collection.name, spec, collection.fields) for spec in collection.definition.indexes
    ]


class States:
    """How far the indexes of all collections are."""

    def __init__(self, valid: dict[str, bool], building: set[str]) -> None:
        self._valid = valid
        self._building = building

    def of(self, index: Index) -> State:
        if self._valid.get(index.name):
            return "ready"
        failed = index.name in self._valid and index.name not in self._building
        return "failed" if failed else "building"


async def states(session: Session) -> States:
    return States(await repository.indexes(session), await repository.indexes_in_progress(session))


async def reconcile(database: Database, collection: Collection) -> int:
    """Build what is declared and missing, drop what is no longer declared; returns how many.

    Concurrently: neither readers nor writers wait. Only one process at a time works on a
    collection; a second call returns at once.
    """
    async with database.connection() as connection:
        # Until the connection ends.
        if not await repository.try_lock_indexes(connection, collection.id):
            return 0
        # Others may have been declared since the caller looked.
        present = await repository.get(connection, collection.name)
        if present is None or present.id != collection.id:
            return 0
        existing = await repository.indexes(connection, collection.name)
        declared = {index.name: index for index in of(present)}
        stale = [name for name, valid in existing.items() if name not in declared or not valid]
        missing = [index for name, index in declared.items() if not existing.get(name)]
        for name in stale:
            await repository.drop_index(connection, name)
        for index in missing:
            await repository.build_index(connection, collection.name, index.name, index.definition)
            logger.info("built index %s of collection %s", list(index.spec), collection.name)
        if missing:
            await repository.analyze(connection, collection.name)
        return len(stale) + len(missing)
