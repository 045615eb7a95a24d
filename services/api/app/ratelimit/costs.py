"""What counts for more than one request. What is not named here counts for one.

A route says so by `charge` of `app.ratelimit.dependencies` as soon as it knows, before it does the
work, and by `cost` of its policy what it may come to, for those who are refused before.
"""

from __future__ import annotations

# A list with `count=exact`: PostgreSQL visits every record that matches.
EXACT_COUNT = 10

# A list that PostgreSQL took longer for counts for so many by each second, once that is known.
SLOW_SECONDS = 0.5
PER_SECOND = 10

# So many operations of a batch count for one request. Creates in a row are one statement, changes
# and deletions have one or two each, as they have alone.
CREATES_OF_A_BATCH = 10
CHANGES_OF_A_BATCH = 2

# So many collections in an OpenAPI document count for one request.
COLLECTIONS_OF_A_DOCUMENT = 20

# The most that a batch may have.
MAX_OPERATIONS = 1000
# The text of a deletion, which is what counts for most by its length.
_OPERATION_BYTES = 60


def of_seconds(seconds: float) -> int:
    return int(seconds * PER_SECOND) if seconds > SLOW_SECONDS else 1


def of_batch(creates: int, changes: int) -> int:
    return -(-creates // CREATES_OF_A_BATCH) + -(-changes // CHANGES_OF_A_BATCH)


def of_document(collections: int) -> int:
    return max(1, -(-collections // COLLECTIONS_OF_A_DOCUMENT))


def of_query(query: bytes, _length: bytes | None) -> int:
    """What a list may turn out to cost, before its query is read."""
    return EXACT_COUNT if b"count" in query or b"%" in query else 1


def of_length(_query: bytes, length: bytes | None) -> int:
    """What a batch may turn out to cost, before it is read."""
    known = length is not None and length.isdigit()
    fit = int((length or b"")[:9]) // _OPERATION_BYTES + 1 if known else MAX_OPERATIONS
    return of_batch(0, min(fit, MAX_OPERATIONS)) + 1
