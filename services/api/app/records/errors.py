"""The problems of records."""

from __future__ import annotations

from app.core.errors import BadRequest, Conflict, NotFound, PreconditionFailed, ValidationFailed


class RecordNotFound(NotFound):
    """There is no such record, or none that the caller may see."""

    code = "record_not_found"


class RecordExists(Conflict):
    """There already is a record with this id."""

    code = "record_exists"


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
