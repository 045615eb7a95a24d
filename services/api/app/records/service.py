"""Reading and writing single records. Rules are checked here, for routers and extensions alike.

`data` is a client's JSON: its text and the value parsed from it, see `Body`. Returned
records are finished JSON text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from app.collections.checking import pool as checking
from app.collections.json_schema import keywords
from app.collections.json_schema.keywords import RESERVED
from app.core import json
from app.core.errors import FieldError
from app.core.ids import uuid7
from app.observability.metrics import RULE_REJECTIONS
from app.records import gathered, merging, repository
from app.records.errors import (
    DefinitionChanged,
    InvalidRecord,
    RecordExists,
    RecordNotFound,
    VersionConflict,
    not_unique,
)
from app.records.sizes import Size
from app.records.text import rendered

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from app.collections.models import Collection, Operation
    from app.core.errors import Problem
    from app.records.access import Access
    from app.records.repository import Row

# A create is tried again when the record that was in its way is gone by then.
_CREATE_TRIES = 3
# A patch is tried again when another request changed the record in between, and then with a lock.
_PATCH_TRIES = 3


@dataclass(frozen=True, slots=True)
class Body:
    """JSON as it came, so that PostgreSQL keeps every digit, and as a value to check."""

    text: str
    value: Any

    @classmethod
    def from_json(cls, raw: bytes) -> Body:
        """Raises InvalidJson or ValidationFailed."""
        value = json.parse_strict(raw)
        return cls(raw.decode(), value)

    @classmethod
    def from_value(cls, value: dict[str, Any]) -> Body:
        """For callers that made the value themselves."""
        return cls.from_json(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it is stored now: its JSON text."""

    id: UUID
    version: int
    json: str

    def value(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.parse_stored(self.json)
        return parsed


async def get(access: Access, id_: UUID) -> Stored:
    """The record of that id. Raises RecordNotFound."""
    access.require("read")
    row = await gathered.read(access, id_)
    if row is None:
        raise RecordNotFound
    return _stored(id_, row)


async def create(access: Access, data: Body, *, id_: UUID | None = None) -> Stored:
    """A new record, under the client's own id if given.

    Raises InvalidRecord and RecordTooLarge (422), RecordExists and NotUnique (409), Forbidden by
    the create rule.
    """
    access.require("create")
    data = await prepared(access, data)
    size = checked_size(access, data.text)
    for _ in range(_CREATE_TRIES):
        if id_ is None:
            new = uuid7()
            row = await gathered.create(access, new, size)
        else:
            new = id_
            row = await repository.create(access, new, size, ids=[new])
        if row is not None:
            return _stored(new, row)
        await _check_definition(access)
        if id_ is not None and await repository.visible_version(access, id_):
            raise RecordExists
        taken = await repository.taken(access, new, size)
        if taken is None:
            # An id that is taken by a record out of sight must look like any refusal.
            raise access.refusal("create")
        if taken:
            raise not_unique(taken)
        # The record that had the values is gone, or their index is no longer declared.
    raise not_unique(())


async def replace(
    access: Access, id_: UUID, data: Body, *, if_version: int | None = None
) -> Stored:
    """The record with its own fields replaced; a record that has them already stays as it is.

    A `readOnly` field that the caller may not write stays as it is. Raises InvalidRecord and
    RecordTooLarge (422), RecordNotFound, VersionConflict, NotUnique (409).
    """
    access.require("update")
    collection = access.collection
    kept = () if access.actor.is_admin else collection.annotations.read_only
    if kept and isinstance(data.value, dict):
        _refuse_read_only(access, data.value)
        _refuse_reserved(data.value)
        given = filled(collection, data).text
        return await _change(
            access, id_, if_version, lambda stored: keywords.keeping(given, stored, kept)
        )
    data = await prepared(access, data)
    row = await gathered.replace(access, id_, checked_size(access, data.text), if_version)
    if row is None:
        raise await _why_not(access, id_, if_version, "update")
    return _stored(id_, row)


async def patch(access: Access, id_: UUID, merge: Body, *, if_version: int | None = None) -> Stored:
    """The record with a JSON Merge Patch (RFC 7396) applied. A record that the patch does not
    change keeps its version. Raises as `replace` does."""
    access.require("update")
    if not isinstance(merge.value, dict):
        raise _no_object()
    _refuse_reserved(merge.value)
    _refuse_read_only(access, merge.value)
    return await _change(access, id_, if_version, lambda stored: merging.merge(stored, merge.text))


async def _change(
    access: Access, id_: UUID, if_version: int | None, change: Callable[[str], str]
) -> Stored:
    """The record with its own fields after `change`, which may be called several times."""
    for _ in range(_PATCH_TRIES):
        changed = await _try_change(access, id_, if_version, change)
        if changed is not None:
            return changed
    # Others were faster each time, so the record is locked against them, in turn.
    async with access.session.atomic() as session:
        locked = access.within(session)
        await repository.lock(locked, updated=[id_], deleted=())
        changed = await _try_change(locked, id_, if_version, change)
        assert changed is not None
        return changed


async def _try_change(
    access: Access, id_: UUID, if_version: int | None, change: Callable[[str], str]
) -> Stored | None:
    """None if another request changed the record meanwhile."""
    collection = access.collection
    before = await gathered.before(access, id_)
    if before is None:
        raise await _why_not(access, id_, None, "update")
    version, _, data = before
    if if_version is not None and version != if_version:
        raise VersionConflict
    text = change(data)
    # Checked even if nothing changes: the present schema decides.
    await check_data(collection, Body(text, _read(text)))
    if text == data and not collection.annotations.write_only:
        await access.settle()
        return _stored(id_, before)
    row = await gathered.replace(access, id_, checked_size(access, text), version)
    if row is not None:
        return _stored(id_, row)
    await _check_definition(access)
    return None


async def delete(access: Access, id_: UUID, *, if_version: int | None = None) -> None:
    """Delete the record. Raises RecordNotFound, VersionConflict."""
    access.require("delete")
    if not await repository.delete(access, id_, if_version):
        raise await _why_not(access, id_, if_version, "delete")


def _stored(id_: UUID, row: Row) -> Stored:
    version, head, data = row
    return Stored(id_, version, rendered(head, data))


def _read(text: str) -> Any:
    try:
        return json.parse_stored(text)
    except ValueError:
        raise InvalidRecord("The record holds a number that cannot be read; replace it.") from None


async def check_data(collection: Collection, data: Body) -> None:
    """Raises InvalidRecord unless `data` may be a record's own fields; see `checking.faults`."""
    if not isinstance(data.value, dict):
        raise _no_object()
    _refuse_reserved(data.value)
    if errors := await checking.faults(collection, data.value, data.text):
        raise InvalidRecord(errors=errors)


def checked_size(access: Access, data: str) -> Size:
    """Raises RecordTooLarge."""
    size = Size(data)
    size.check(access.session.budget.largest_record)
    return size


async def prepared(access: Access, data: Body) -> Body:
    """All own fields of a record as they are kept, with defaults. Raises as `check_data` does."""
    if isinstance(data.value, dict):
        _refuse_read_only(access, data.value)
        data = filled(access.collection, data)
    await check_data(access.collection, data)
    return data


def filled(collection: Collection, data: Body) -> Body:
    """The data with defaults for absent fields. Raises InvalidRecord."""
    if not isinstance(data.value, dict):
        raise _no_object()
    text = collection.annotations.filled(data.text, data.value)
    return data if text is data.text else Body(text, json.parse_stored(text))


def _no_object() -> InvalidRecord:
    return InvalidRecord(errors=[FieldError("", "must be an object", "type")])


def _refuse_read_only(access: Access, data: dict[str, Any]) -> None:
    names = () if access.actor.is_admin else access.collection.annotations.read_only
    if sent := [name for name in names if name in data]:
        raise InvalidRecord(
            errors=[
                FieldError(json.pointer(name), "is written by admins only", "read_only")
                for name in sent
            ]
        )


def _refuse_reserved(data: dict[str, Any]) -> None:
    if data.keys().isdisjoint(RESERVED):
        return
    raise InvalidRecord(
        errors=[
            FieldError(f"/{name}", "is set by the server and cannot be sent", "reserved_name")
            for name in RESERVED
            if name in data
        ]
    )


async def _why_not(
    access: Access, id_: UUID, if_version: int | None, operation: Operation
) -> Problem:
    """Why an update or deletion found no row, as far as the caller may know."""
    await _check_definition(access)
    version = await repository.visible_version(access, id_)
    if version is None:
        RULE_REJECTIONS.labels(operation).inc()
        return RecordNotFound()
    if if_version is not None and version != if_version:
        return VersionConflict()
    return access.refusal(operation)


async def _check_definition(access: Access) -> None:
    if await repository.definition_version(access) != access.collection.version:
        raise DefinitionChanged
