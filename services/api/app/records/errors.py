"""The problems of records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core import json
from app.core.errors import (
    BadRequest,
    Conflict,
    FieldError,
    NotFound,
    PreconditionFailed,
    ValidationFailed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.collections.declared_index import Index


class RecordNotFound(NotFound):
    """There is no such record, or none that the caller may see."""

    code = "record_not_found"


class RecordExists(Conflict):
    """There already is a record with this id."""

    code = "record_exists"


class NotUnique(Conflict):
    """Another record has the same value where values must be unique."""

    code = "not_unique"
    # The names of the indexes that keep the values.
    indexes: frozenset[str] = frozenset()


class DefinitionChanged(Conflict):
    """The collection's definition changed while the request was in work; send it again."""

    code = "collection_changed"
    retryable = True


class VersionConflict(PreconditionFailed):
    """The record has changed since that version."""

    code = "version_conflict"


class InvalidRecord(ValidationFailed):
    """The record does not satisfy the collection's schema."""

    code = "invalid_record"


class RecordTooLarge(ValidationFailed):
    """The record is larger than MAX_RECORD_BYTES."""

    code = "record_too_large"


class InvalidId(BadRequest):
    """A record's id is a UUID in its canonical form."""

    code = "invalid_id"


class InvalidBatch(ValidationFailed):
    """The batch is malformed; nothing was done."""

    code = "invalid_batch"


class IndexedValueTooLong(ValidationFailed):
    """A value is too long for the index that the collection declares on its field."""

    code = "indexed_value_too_long"


def not_unique(indexes: Iterable[Index]) -> NotUnique:
    """The problem of a record with values that these unique indexes keep for another one."""
    errors, same, found = [], [], []
    for index in indexes:
        assert index.key is not None
        found.append(index.name)
        names = " and ".join(index.spec.fields)
        same.append(names)
        errors += [
            FieldError(json.pointer(*path), f"another record has the same {names}", "not_unique")
            for path in index.key.paths
        ]
    detail = f"Another record has the same {', and the same '.join(same)}." if same else None
    problem = NotUnique(detail, errors=errors)
    problem.indexes = frozenset(found)
    return problem
