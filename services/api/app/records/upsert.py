"""Creating a record, or changing the record that has its unique values already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from app.collections import indexes
from app.core import json
from app.core.errors import FieldError, InvalidParameter, Overloaded
from app.filters.language.parser import parse_path, split_list
from app.filters.paths import SYSTEM_TYPES
from app.filters.query import parse_query
from app.records import batch, repository, service
from app.records.errors import InvalidRecord, NotUnique, RecordNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from app.collections.declared_index import Index
    from app.collections.models import Collection
    from app.filters.language.syntax import Path
    from app.records.access import Access
    from app.records.service import Body, Stored
    from app.records.sizes import Size

Resolution = Literal["merge", "replace", "ignore"]

PARAMETERS = ("on_conflict", "resolution")
# Others may create and delete the record in turn.
_TRIES = 10


def parse_parameters(query_string: bytes) -> tuple[str, Resolution] | None:
    """The fields that decide, and what happens to the record that has their values; None without
    parameters. Raises InvalidParameter."""
    # Most creates have none.
    given = parse_query(query_string, PARAMETERS) if query_string else {}
    if not given:
        return None
    if len(given) < len(PARAMETERS):
        raise InvalidParameter("on_conflict and resolution go together.")
    resolution = given["resolution"]
    for known in get_args(Resolution):
        if resolution == known:
            return given["on_conflict"], known
    raise InvalidParameter("resolution must be merge, replace or ignore.")


def indexes_on(collection: Collection, fields: str) -> list[Index]:
    """The unique indexes on just these fields. Raises FilterError and InvalidParameter (400)."""
    paths = {_path(collection, part, start) for start, part in split_list(fields)}
    found = [
        index
        for index in collection.unique_indexes
        if index.key is not None and set(index.key.paths) == paths
    ]
    if not found:
        raise InvalidParameter("on_conflict needs the fields of a unique index.")
    return found


def _path(collection: Collection, text: str, position: int) -> Path:
    path = parse_path(text, position)
    if path[0] not in SYSTEM_TYPES:
        # A field that cannot be read must not be guessed either.
        collection.readable.types(path, position)
    return path


async def upsert(
    access: Access, data: Body, fields: str, resolution: Resolution
) -> tuple[Stored, bool]:
    """The record, and whether it is new.

    `merge` applies the data to a present record as a JSON Merge Patch, `replace` replaces its own
    fields, `ignore` leaves it as it is. Raises as `indexes_on`, `service.create`, `patch` and
    `replace` do, InvalidRecord (422) without values for the fields, and IndexNotReady (409);
    NotUnique, too, if the caller may not read the present record. `ignore` does not check the data
    if there is one.
    """
    access.require("create")
    access.require("read" if resolution == "ignore" else "update")
    found = indexes_on(access.collection, fields)
    for index in found:
        await indexes.require_ready(access.session, access.collection, index)
    filled = service.filled(access.collection, data)
    _require_values(access, filled, found[0])
    new = service.checked_size(access, filled.text)
    names = {index.name for index in found}
    for _ in range(_TRIES):
        try:
            present = await _present(access, found, new, data, resolution)
        except RecordNotFound:
            continue
        if present is not None:
            return present, False
        try:
            return await service.create(access, data), True
        except NotUnique as problem:
            # Without a name, the record that had the values is gone.
            if problem.indexes and not problem.indexes & names:
                raise
    raise Overloaded("The request collided with others; try again.")


def _require_values(access: Access, data: Body, index: Index) -> None:
    """Without a value there is no conflict, so that each repetition would make a record."""
    if missing := missing_values(access, data, index):
        raise InvalidRecord(
            errors=[
                FieldError(json.pointer(*path), "is needed by on_conflict", "required")
                for path in missing
            ]
        )


def missing_values(access: Access, data: Body, index: Index) -> list[Path]:
    """The fields of the unique index that the record would have no value for."""
    assert index.key is not None
    return [path for path in index.key.paths if _value(access, data, path) is None]


def _value(access: Access, data: Body, path: Path) -> object:
    if path == ("owner",):
        return access.actor.id
    value = data.value
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


async def _present(
    access: Access, found: Sequence[Index], new: Size, data: Body, resolution: Resolution
) -> Stored | None:
    """The record that has the values already, after its change."""
    if resolution == "ignore":
        id_ = await _find(access, found, new, lock=False)
        if id_ is None:
            return None
        stored = await service.get(access, id_)
        await access.settle()
        return stored
    # Memory comes before the connection: holders of memory need connections to continue. Others
    # must not take the values from the record meanwhile.
    budget = access.session.budget
    need = new.memory_to_write + batch.CHANGE_TIMES * access.collection.largest
    async with budget.take(need), access.session.atomic() as session:
        locked = access.within(session)
        id_ = await _find(locked, found, new, lock=True)
        if id_ is None:
            return None
        change = service.patch if resolution == "merge" else service.replace
        return await change(locked, id_, data)


async def _find(access: Access, found: Sequence[Index], new: Size, *, lock: bool) -> UUID | None:
    for index in found:
        id_ = await repository.find(access, index, new, lock=lock)
        if id_ is not None:
            return id_
    return None
