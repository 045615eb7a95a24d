"""What counts for more than one request. What is not named here counts for one.

A route says so by `charge` of `app.auth.limits` as soon as it knows, before it does the work.
"""

from __future__ import annotations

# A list with `count=exact`: PostgreSQL visits every record that matches.
EXACT_COUNT = 10

# So many operations of a batch count for one request. Creates in a row are one statement, changes
# and deletions have one or two each, as they have alone.
CREATES_OF_A_BATCH = 10
CHANGES_OF_A_BATCH = 2


def of_batch(creates: int, changes: int) -> int:
    return -(-creates // CREATES_OF_A_BATCH) + -(-changes // CHANGES_OF_A_BATCH)
