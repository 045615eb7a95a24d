"""Work that counts for more than one request. All other work counts for one.

A route counts its cost by `charge` of `app.ratelimit.dependencies` once the cost is known, before
the work. The route policy's `cost` is an upper bound, for callers refused before that.
"""

from __future__ import annotations

# A list or a search with `count=exact`, and a search with facets: PostgreSQL visits every record
# that matches.
EXACT_COUNT = 10

# An aggregate and an export: PostgreSQL visits every record that matches.
AGGREGATE = 10
EXPORT = 10
# An import, whatever it has; its time is counted, too.
IMPORT = 10

# A list, a search, an export or an import that takes longer is counted afterwards, as PER_SECOND
# requests per second.
SLOW_SECONDS = 0.5
PER_SECOND = 10

# The numbers of a batch's operations that count for one request. Creates in a row are one
# statement; a change or deletion takes one or two statements, as outside of a batch.
CREATES_OF_A_BATCH = 10
CHANGES_OF_A_BATCH = 2

# The number of collections in an OpenAPI document that count for one request.
COLLECTIONS_OF_A_DOCUMENT = 20

# The maximum number of operations in a batch.
MAX_OPERATIONS = 1000
# The length of a deletion, the operation with the highest cost per byte.
_OPERATION_BYTES = 60


def of_seconds(seconds: float) -> int:
    return int(seconds * PER_SECOND) if seconds > SLOW_SECONDS else 1


def of_batch(creates: int, changes: int) -> int:
    return -(-creates // CREATES_OF_A_BATCH) + -(-changes // CHANGES_OF_A_BATCH)


def of_document(collections: int) -> int:
    return max(1, -(-collections // COLLECTIONS_OF_A_DOCUMENT))


def of_query(query: bytes, _length: bytes | None) -> int:
    """The upper bound of a list's cost, before its query is read."""
    return EXACT_COUNT if b"count" in query or b"%" in query else 1


def of_search(query: bytes, _length: bytes | None) -> int:
    """The upper bound of a search's cost, before its query is read."""
    costly = b"count" in query or b"facets" in query or b"%" in query
    return EXACT_COUNT if costly else 1


def of_length(_query: bytes, length: bytes | None) -> int:
    """The upper bound of a batch's cost, before the batch is read."""
    known = length is not None and length.isdigit()
    fit = int((length or b"")[:9]) // _OPERATION_BYTES + 1 if known else MAX_OPERATIONS
    return of_batch(0, min(fit, MAX_OPERATIONS)) + 1
