"""Up to 1,000 operations in one transaction: all succeed, or the first failure undoes all."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn
from weakref import WeakKeyDictionary

import msgspec
import orjson

from app.core import json
from app.core.errors import FieldError, Problem
from app.core.ids import parse_uuid, uuid7
from app.ratelimit import costs
from app.records import repository, service
from app.records.errors import InvalidBatch
from app.records.service import Body
from app.records.sizes import Size

if TYPE_CHECKING:
    from uuid import UUID

    from app.collections.models import Collection
    from app.db.pool.budget import Budget
    from app.records.access import Access

_MEMBERS = {
    "create": {"op", "id", "data"},
    "update": {"op", "id", "data", "version"},
    "delete": {"op", "id", "version"},
}


# PostgreSQL's memory for a record's change and its checks, in multiples of the record's size.
CHANGE_TIMES = 20

_turns: WeakKeyDictionary[Collection, asyncio.Lock] = WeakKeyDictionary()


class _Raw(msgspec.Struct):
    # The text of each record as the client sent it, since parsed numbers have lost digits.
    data: msgspec.Raw = msgspec.Raw(b"null")


class _RawBatch(msgspec.Struct):
    operations: list[_Raw]


@dataclass(frozen=True, slots=True)
class Operation:
    """`update` applies a JSON Merge Patch; a `version`, if given, must be the record's."""

    op: Literal["create", "update", "delete"]
    id: UUID
    data: Body | None = None
    version: int | None = None
    # Whether another client may know of the id.
    known: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    id: UUID
    version: int | None


def parse_operations(body: Body) -> list[Operation]:
    """The operations of a batch. Raises InvalidBatch with a pointer to the first error."""
    value = body.value
    if not isinstance(value, dict) or set(value) != {"operations"}:
        raise InvalidBatch(errors=[FieldError("", 'must be {"operations": […]}', "invalid")])
    items = value["operations"]
    if not isinstance(items, list) or not 1 <= len(items) <= costs.MAX_OPERATIONS:
        message = f"must be a list of 1 to {costs.MAX_OPERATIONS} operations"
        raise InvalidBatch(errors=[FieldError("/operations", message, "invalid")])
    for index, item in enumerate(items):
        _check(index, item)
    texts = msgspec.json.decode(body.text, type=_RawBatch).operations
    return [
        _operation(item, bytes(text.data).decode()) for item, text in zip(items, texts, strict=True)
    ]


def request_cost(operations: list[Operation]) -> int:
    """The number of requests that the batch counts for."""
    creates = sum(operation.op == "create" for operation in operations)
    return costs.of_batch(creates, len(operations) - creates)


def memory_needed(operations: list[Operation], collection: Collection, budget: Budget) -> int:
    """Bytes of PostgreSQL's memory that each statement of `run` takes at most."""
    written = [
        Size(operation.data.text).memory_to_write
        for operation in operations
        if operation.data is not None
    ]
    most = max(written, default=0) + budget.share // 2
    if any(operation.op != "create" for operation in operations):
        most += CHANGE_TIMES * collection.largest
    return most


def turn(collection: Collection, operations: list[Operation]) -> AbstractAsyncContextManager[None]:
    """Held around a batch that would keep a connection to wait for others of this process."""
    if not _runs_alone(collection, operations):
        return nullcontext()
    return _turns.setdefault(collection, asyncio.Lock())


def _runs_alone(collection: Collection, operations: list[Operation]) -> bool:
    return bool(collection.unique_indexes) and len(operations) > 1


async def run(access: Access, operations: list[Operation]) -> list[Result]:
    """Run the operations in order, in a transaction, so that a failure undoes all.

    Raises the first failure's own problem, with `index` as a further member.
    """
    await _lock(access, operations)
    results: list[Result] = []
    while len(results) < len(operations):
        start = len(results)
        creates = _run_of_creates(operations, start, access.session.budget)
        if len(creates) > 1:
            await _create_all(access, creates, start)
            results += [Result(operation.id, 1) for operation in creates]
        else:
            with _AtIndex(start):
                results.append(await _run_one(access, operations[start]))
    return results


async def _lock(access: Access, operations: list[Operation]) -> None:
    """Lock in order, so that two batches with the same records cannot wait for each other."""
    ids: dict[str, set[UUID]] = {op: set() for op in _MEMBERS}
    for operation in operations:
        if operation.known:
            ids[operation.op].add(operation.id)
    # New records and unique values cannot be locked. One statement creates in the order of ids;
    # batches with several statements, or with values to wait for, run alone.
    unique = _runs_alone(access.collection, operations)
    if unique or len(ids["create"]) > 1:
        several = len(_run_of_creates(operations, 0, access.session.budget)) < len(operations)
        await repository.lock_creation(access, alone=unique or several)
    changed = ids["update"] | ids["delete"]
    # With unique values, the writer of another record may wait for this batch, and keep its record.
    if len(changed) > 1 or (unique and changed):
        await repository.lock(access, updated=list(ids["update"]), deleted=list(ids["delete"]))


def _run_of_creates(operations: list[Operation], start: int, budget: Budget) -> list[Operation]:
    end, seen, taken = start, set(), 0
    while end < len(operations):
        operation = operations[end]
        # The same id twice is a conflict that only the one-by-one way reports well.
        if operation.op != "create" or operation.id in seen or taken > budget.share // 2:
            break
        assert operation.data is not None
        taken += Size(operation.data.text).memory_to_write
        seen.add(operation.id)
        end += 1
    return operations[start:end]


async def _create_all(access: Access, creates: list[Operation], start: int) -> None:
    with _AtIndex(start):
        access.require("create")
    data = []
    for offset, operation in enumerate(creates):
        with _AtIndex(start + offset):
            assert operation.data is not None
            kept = await service.prepared(access, operation.data)
            data.append(service.checked_size(access, kept.text))
    ids = [operation.id for operation in creates]
    chosen = [operation.id for operation in creates if operation.known]
    created = await repository.create_many(access, ids, data, chosen=chosen)
    for offset, operation in enumerate(creates):
        if operation.id not in created:
            with _AtIndex(start + offset):
                # `_run_one` finds and raises the reason; it creates nothing a second time.
                await _run_one(access, operation)


async def _run_one(access: Access, operation: Operation) -> Result:
    id_, version = operation.id, operation.version
    match operation.op:
        case "create":
            assert operation.data is not None
            stored = await service.create(access, operation.data, id_=id_)
        case "update":
            assert operation.data is not None
            stored = await service.patch(access, id_, operation.data, if_version=version)
        case "delete":
            await service.delete(access, id_, if_version=version)
            return Result(id_, None)
    return Result(id_, stored.version)


class _AtIndex:
    """Adds the operation's index to a problem of the block, and points errors into the batch."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: object, __: object) -> None:
        if isinstance(error, Problem):
            error.members["index"] = self.index
            at = json.pointer("operations", self.index, "data")
            error.errors = tuple(
                dataclasses.replace(fault, pointer=at + fault.pointer) for fault in error.errors
            )


def _check(index: int, item: Any) -> None:
    at = json.pointer("operations", index)
    if not isinstance(item, dict) or not _is_operation(item.get("op")):
        _refuse(index, at + "/op", "must be create, update or delete")
    for member in sorted(item.keys() - _MEMBERS[item["op"]]):
        _refuse(index, at + json.pointer(member), f"does not belong to {item['op']}")
    if (item["op"] != "create" or "id" in item) and _uuid(item) is None:
        _refuse(index, at + "/id", "must be a UUID")
    if item["op"] != "delete" and not isinstance(item.get("data"), dict):
        _refuse(index, at + "/data", "must be an object")
    version = item.get("version")
    if version is not None and (type(version) is not int or not 0 < version < 1 << 63):
        _refuse(index, at + "/version", "must be a version number")


def _is_operation(op: object) -> bool:
    return isinstance(op, str) and op in _MEMBERS


def _uuid(item: dict[str, Any]) -> UUID | None:
    return parse_uuid(item["id"]) if isinstance(item.get("id"), str) else None


def _operation(item: dict[str, Any], text: str) -> Operation:
    data = Body(text, item["data"]) if "data" in item else None
    given = _uuid(item)
    return Operation(item["op"], given or uuid7(), data, item.get("version"), given is not None)


def _refuse(index: int, at: str, message: str) -> NoReturn:
    raise InvalidBatch(errors=[FieldError(at, message, "invalid")], index=index)


def dump_results(results: list[Result]) -> bytes:
    return orjson.dumps(
        {"results": [{"id": str(result.id), "version": result.version} for result in results]}
    )
