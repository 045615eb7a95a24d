"""The ids that records of PocketBase get: the same ones each time, so that relations lead there."""

from __future__ import annotations

import re
from uuid import UUID, uuid5

_OURS = UUID("6b8c1f0e-94b3-4b8e-9f5e-0f7f8f6f5a11")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def record_id(collection: str, id_: str) -> UUID:
    """A UUID of the collection's and the record's id; an id that is a UUID is kept."""
    return UUID(id_) if _UUID.fullmatch(id_) else uuid5(_OURS, f"{collection}/{id_}")
