"""Single records of collections with a `record` cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.records import service

if TYPE_CHECKING:
    from uuid import UUID

    from app.caching.coherent import Served
    from app.caching.local import LocalCache
    from app.records.access import Access


async def get(access: Access, id_: UUID, cache: LocalCache) -> tuple[service.Stored, Served]:
    """As `service.get`, by the cache. The key has the values of the read rule, so two callers share
    a record only where the rule treats them alike."""
    access.require("read")
    collection = access.collection
    assert collection.record_cache is not None
    values = access.statements.read.args(access.actor)
    key = f"{collection.id}:{collection.version}:{access.actor.is_admin}:{id_}:{values}"

    async def make() -> bytes:
        stored = await service.get(access, id_)
        return f"{stored.version}\n{stored.json}".encode()

    served = await cache.fetch(collection.record_groups(id_), key, collection.record_cache, make)
    version, _, text = served.value.partition(b"\n")
    return service.Stored(id_, int(version), text.decode()), served
