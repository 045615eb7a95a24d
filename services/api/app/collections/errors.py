"""Problems with collections."""

from __future__ import annotations

from app.core.errors import BadRequest, Conflict, NotFound, ServiceUnavailable, ValidationFailed


class CollectionNotFound(NotFound):
    """There is no such collection, or none that the caller may see."""

    code = "collection_not_found"


class InvalidCollectionName(BadRequest):
    """A collection's name has 1 to 48 characters: a-z first, then a-z, 0-9, - and _."""

    code = "invalid_collection_name"


class InvalidDefinition(ValidationFailed):
    """The collection's definition is wrong."""

    code = "invalid_definition"


class RecordsDoNotFit(Conflict):
    """Existing records do not satisfy the new schema; nothing was changed."""

    code = "records_do_not_fit"


class IndexNotReady(Conflict):
    """The index is not complete."""

    code = "index_not_ready"
    retryable = True


class NotSearchable(Conflict):
    """The collection declares no search."""

    code = "not_searchable"


class CollectionBusy(ServiceUnavailable):
    """Others are at work in the collection for too long to be waited for; nothing was changed."""

    code = "collection_busy"


class ConfirmationMissing(BadRequest):
    """Deleting a collection deletes its records; repeat its name in ?confirm=NAME."""

    code = "confirmation_missing"


class CheckTooCostly(ValidationFailed):
    """Checking the record against its collection's schema takes too long for its size."""

    code = "check_too_costly"
    retryable = True
