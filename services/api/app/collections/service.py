"""Defining, changing and deleting collections."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from app.auth.api_keys import service as api_keys
from app.collections import repository, turns
from app.collections.checking import pool as checking
from app.collections.declared_index import Index, IndexSpec, has_case
from app.collections.declared_search import (
    LANGUAGES,
    SearchIndex,
    SearchSpec,
    fault_of_boost,
    fault_of_field,
)
from app.collections.errors import (
    CheckTooCostly,
    CollectionNotFound,
    ConfirmationMissing,
    InvalidCollectionName,
    InvalidDefinition,
    RecordsDoNotFit,
)
from app.collections.json_schema.keywords import Annotations
from app.collections.json_schema.schema import check_schema, wrong
from app.collections.models import CACHE_KINDS, NAME, OPERATIONS, TOPIC, Collection, Definition
from app.core import json
from app.core.actor import Scope
from app.core.errors import FieldError, Forbidden, PreconditionFailed, Problem, Unauthorized
from app.core.ids import uuid7
from app.filters import spelling
from app.filters.compiler import compile_filter
from app.filters.fields import Fields
from app.filters.language.parser import parse_filter, parse_path, split_list
from app.filters.params import Literals, Params
from app.filters.paths import SYSTEM_TYPES
from app.filters.sort import MAX_KEYS, parse_sort

if TYPE_CHECKING:
    from app.collections.schemas import CollectionIn
    from app.core.actor import Actor
    from app.db.session import Session
    from app.http.preconditions import Tags

SHOWN_FAILURES = 10
# PostgreSQL 17 keeps an index's parsed definition, some 20 times the SQL, in a row of 8 KiB.
_MOST_UNIQUE = 1500


def require_admin(actor: Actor) -> None:
    """Raises Unauthorized or Forbidden unless the caller may define collections."""
    if actor.is_anonymous:
        raise Unauthorized
    if not (actor.is_admin and actor.has_scope(Scope.COLLECTIONS_ADMIN)):
        raise Forbidden("Only admins define collections.")


def define(name: str, given: CollectionIn) -> Definition:
    """The checked definition. Raises InvalidCollectionName or InvalidDefinition."""
    if not NAME.fullmatch(name):
        raise InvalidCollectionName
    check_schema(given.json_schema)
    fields = Fields(given.json_schema)
    rules = given.rules.model_dump()
    for operation in OPERATIONS:
        _check_rule(operation, rules[operation], fields)
    specs, names = [], set()
    for number, index in enumerate(given.indexes):
        spec = IndexSpec(tuple(index.fields), index.unique, index.case_insensitive, index.filter)
        made = _checked_index(number, spec, name, fields)
        if made.name in names:
            wrong(json.pointer("indexes", number), "is declared twice", "duplicate_index")
        specs.append(spec)
        names.add(made.name)
    by_operation = {operation: rules[operation] for operation in OPERATIONS}
    cache = None if given.cache is None else given.cache.model_dump(exclude_none=True)
    search = None if given.search is None else _checked_search(name, given)
    return Definition(given.json_schema, by_operation, tuple(specs), cache, search)


async def get(session: Session, name: str) -> Collection:
    """Raises CollectionNotFound."""
    found = await repository.get(session, name)
    if found is None:
        raise CollectionNotFound
    return found


async def put(
    session: Session,
    actor: Actor,
    *,
    name: str,
    definition: Definition,
    if_match: Tags | None = None,
    only_create: bool = False,
) -> tuple[Collection, bool]:
    """Create the collection or change it to `definition`; the second value tells if it is new.

    Raises RecordsDoNotFit (409) where existing records fail a changed schema, PreconditionFailed.
    """
    require_admin(actor)
    if not actor.reaches(name):
        raise CollectionNotFound
    await turns.take(session, (name,))
    present = await repository.get(session, name)
    if only_create and present:
        raise PreconditionFailed
    _check_match(present, if_match)
    if present is None:
        created = await repository.insert(session, uuid7(), name, definition)
        for index in created.to_build:
            await repository.create_index(session, name, index)
        await _keep_searches(session, created)
        await session.notify(TOPIC, name)
        return created, True
    if present.definition.dump() == definition.dump():
        return present, False
    new_schema = present.definition.schema_text != definition.schema_text
    if new_schema:
        # Writers continue meanwhile; records written since `oldest` are checked once writers wait.
        oldest = await repository.oldest_in_progress(session)
        await _check_records(session, replace(present, definition=definition))
    await _end_caches(session, present, definition)
    if blocks_writers(present.definition, definition):
        await turns.block_writers(session, (name,))
    changed = await repository.update(session, present.id, definition)
    await _keep_searches(session, present, changed)
    if new_schema:
        await _check_records(session, changed, since=oldest)
    await session.notify(TOPIC, name)
    return changed, False


def blocks_writers(before: Definition, after: Definition) -> bool:
    """Whether writers wait while a collection is changed from `before` to `after`."""
    # Writers that waited notice a new schema: they check the version that they validated against.
    # Before anything is cached, writers that do not know of it must have ended.
    begins = any(after.caches(kind) and not before.caches(kind) for kind in CACHE_KINDS)
    return before.schema_text != after.schema_text or begins


async def delete(
    session: Session,
    actor: Actor,
    *,
    name: str,
    confirm: str | None,
    if_match: Tags | None = None,
) -> None:
    """Delete the collection and its records.

    Raises ConfirmationMissing without `confirm`, PreconditionFailed.
    """
    require_admin(actor)
    if not actor.reaches(name):
        raise CollectionNotFound
    await turns.take(session, (name,))
    collection = await repository.get(session, name)
    if collection is None:
        raise CollectionNotFound
    if confirm != name:
        raise ConfirmationMissing
    _check_match(collection, if_match)
    await _end_caches(session, collection, None)
    await turns.block_all(session, name)
    await repository.delete(session, collection)
    await api_keys.forget_collection(session, name)
    await session.notify(TOPIC, name)


def _check_match(present: Collection | None, wanted: Tags | None) -> None:
    if wanted is not None and (present is None or not wanted.match(present.version)):
        raise PreconditionFailed


async def _end_caches(session: Session, present: Collection, after: Definition | None) -> None:
    """End what `after` no longer caches; None: everything."""
    ended = [
        present.cache_group(kind)
        for kind in CACHE_KINDS
        if present.definition.caches(kind) and not (after and after.caches(kind))
    ]
    if ended:
        async with session.atomic() as transaction:
            await transaction.end_caching(ended)


async def _check_records(
    session: Session, collection: Collection, since: str | None = None
) -> None:
    failures: list[FieldError] = []
    failed: list[str] = []
    async for rows in repository.records(session, collection, since):
        for row in rows:
            if faults := await _faults(collection, row["data"]):
                failed.append(str(row["id"]))
                failures += (
                    FieldError(fault.pointer, f"record {row['id']}: {fault.message}", fault.code)
                    for fault in faults[:1]
                )
            if len(failed) == SHOWN_FAILURES:
                break
        if len(failed) == SHOWN_FAILURES:
            break
    if failed:
        raise RecordsDoNotFit(errors=failures, records=failed)


async def _faults(collection: Collection, text: str) -> list[FieldError]:
    try:
        return await checking.faults(collection, json.parse_stored(text), text)
    except ValueError:
        return [FieldError("", "holds a number that cannot be read", "number_out_of_range")]
    except CheckTooCostly as problem:
        return [FieldError("", problem.detail, problem.code)]


def _check_rule(operation: str, rule: str | None, fields: Fields) -> None:
    if not rule:
        return
    try:
        expression = parse_filter(rule)
        compile_filter(expression, fields, Params())
        spelling.check_filter(expression, fields)
    except Problem as problem:
        raise _invalid(json.pointer("rules", operation), problem) from None


def _invalid(at: str, problem: Problem) -> InvalidDefinition:
    invalid = InvalidDefinition(errors=[FieldError(at, problem.detail, problem.code)])
    invalid.members.update(problem.members)
    return invalid


async def _keep_searches(session: Session, *collections: Collection) -> None:
    for collection in collections:
        if collection.search_index is not None:
            await repository.keep_search(session, collection.search_index)


def _checked_search(name: str, given: CollectionIn) -> SearchSpec:
    search = given.search
    assert search is not None
    spec = SearchSpec(tuple(search.fields.items()), search.language, search.boost, search.recency)
    # Callers find nothing by fields that they may not read.
    fields = Fields(given.json_schema, hidden=Annotations(given.json_schema).write_only)
    if search.language not in LANGUAGES:
        wrong("/search/language", f"must be one of {', '.join(LANGUAGES)}", "invalid_search")
    for field in search.fields:
        at = json.pointer("search", "fields", field)
        try:
            fault = fault_of_field(parse_path(field), fields)
        except Problem as problem:
            wrong(at, problem.detail, problem.code)
        if fault is not None:
            wrong(at, f"{field} {fault}", "invalid_search")
    try:
        boost = SearchIndex(name, spec).boost
        fault = None if boost is None else fault_of_boost(boost, fields)
    except Problem as problem:
        wrong("/search/boost", problem.detail, problem.code)
    if fault is not None:
        wrong("/search/boost", f"{search.boost} {fault}", "invalid_search")
    return spec


def _checked_index(number: int, spec: IndexSpec, name: str, fields: Fields) -> Index:
    at = json.pointer("indexes", number)
    if not 1 <= len(spec.fields) <= MAX_KEYS:
        wrong(at, f"must name 1 to {MAX_KEYS} fields", "invalid_index")
    if any(len(split_list(field)) != 1 for field in spec.fields):
        wrong(at, "must be one field, or a list of single fields", "invalid_index")
    if not spec.unique and (spec.case_insensitive or spec.filter is not None):
        wrong(at, "case_insensitive and filter are for unique indexes", "invalid_index")
    if spec.filter is not None:
        _check_index_filter(json.pointer("indexes", number, "filter"), spec.filter, fields)
    try:
        index = Index(name, spec, fields)
        spelling.check_names(",".join(spec.fields), fields)
    except Problem as problem:
        wrong(at, problem.detail, problem.code)
    if index.has_array and (len(spec.fields) > 1 or spec.unique):
        wrong(at, "an array has an index of its own, without other fields", "invalid_index")
    if spec.unique:
        _check_unique(at, index, fields)
    return index


def _check_index_filter(at: str, text: str, fields: Fields) -> None:
    try:
        expression = parse_filter(text)
        compile_filter(expression, fields, Literals())
        spelling.check_filter(expression, fields)
    except Problem as problem:
        raise _invalid(at, problem) from None


def _check_unique(at: str, index: Index, fields: Fields) -> None:
    spec = index.spec
    if len(index.definition) > _MOST_UNIQUE:
        wrong(at, "the names and the filter of a unique index are too long", "invalid_index")
    keys = parse_sort(",".join(spec.fields), fields)[: len(spec.fields)]
    for key in keys:
        if key.descending:
            wrong(at, "a unique index has no direction", "invalid_index")
        if key.path[0] in SYSTEM_TYPES and key.path != ("owner",):
            wrong(at, f"{key.path[0]} cannot be part of a unique index", "invalid_index")
    if spec.case_insensitive and not any(has_case(key, fields) for key in keys):
        wrong(at, "case_insensitive needs a field whose type is string", "invalid_index")
