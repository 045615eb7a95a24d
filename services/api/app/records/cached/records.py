"""Single records of collections with a `record` cache."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from app.caching.coherent import Served
from app.records import service

if TYPE_CHECKING:
    from uuid import UUID

    from app.caching.local import LocalCache
    from app.records.access import Access
    from app.records.service import Stored


async def get(access: Access, id_: UUID, cache: LocalCache[Stored]) -> Served[Stored]:
    """As `service.get`, by the cache. The key has the values of the read rule, so two callers share
    a record only where the rule treats them alike."""
    access.require("read")
    collection = access.collection
    life = collection.record_cache
    assert life is not None
    values = access.statements.read.args(access.actor)
    key = f"{collection.id}:{collection.version}:{access.actor.is_admin}:{id_}:{values}"

    async def make() -> Served[Stored]:
        began = time.monotonic()
        stored = await service.get(access, id_)
        age = time.monotonic() - began
        return Served(stored, "miss", age=age, left=life - age)

    return await cache.fetch(collection.record_groups(id_), key, make)


def size(stored: Stored) -> int:
    """The bytes that a kept record takes."""
    return sys.getsizeof(stored.json)
