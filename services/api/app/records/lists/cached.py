"""Lists of collections with a cache policy, and header fields on how each was served."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from app.records.lists import listing
from app.records.lists.listing import RawPage

if TYPE_CHECKING:
    from app.caching.coherent import CoherentCache, Served
    from app.db.session import ReadSession
    from app.filters.cursor import CursorCodec
    from app.records.access import Access
    from app.records.lists.listing import Page, Query


@dataclass(frozen=True, slots=True)
class CachedPage:
    """A page, the tag of its `dump`, and how the page was served."""

    page: Page
    tag: str
    served: Served

    @property
    def fields(self) -> dict[str, str]:
        """`Age` (RFC 9111) and `Cache-Status` (RFC 9211)."""
        served = self.served
        match served.outcome:
            case "hit" | "stale":
                status = f"hit; ttl={int(served.left)}"
            case "collapsed":
                status = "fwd=miss; collapsed"
            case "miss" if served.stored:
                status = "fwd=miss; stored"
            case _:
                status = f"fwd={served.outcome}"
        fields = {"ETag": f'"{self.tag}"', "Cache-Status": f"listo; {status}"}
        if served.outcome in ("hit", "stale"):
            fields["Age"] = str(int(served.age))
        return fields


async def list_records(
    access: Access,
    query: Query,
    *,
    cache: CoherentCache,
    reading: ReadSession,
    cursors: CursorCodec,
) -> CachedPage:
    """As `listing.list_records`, by the cache. The key is the statement with its values, so two
    callers share a page only where the rules treat them alike."""
    collection = access.collection
    prepared = await listing.prepare(access, query, reading=reading, cursors=cursors)

    async def make() -> bytes:
        return _dump(await prepared.fetch(reading))

    assert collection.cache_policy is not None
    served = await cache.fetch(
        str(collection.id), prepared.key(collection.version), collection.cache_policy, make
    )
    found, digest = _load(served.value)
    page = prepared.page(found, cursors)
    tag = hashlib.sha256(f"{digest} {page.next} {page.prev} {page.total}".encode()).hexdigest()
    return CachedPage(page, tag[:32], served)


def _dump(found: RawPage) -> bytes:
    digest = hashlib.sha256(found.items).hexdigest()
    return orjson.dumps([found.next, found.prev, found.total, digest]) + b"\n" + found.items


def _load(raw: bytes) -> tuple[RawPage, str]:
    head, _, items = raw.partition(b"\n")
    following, previous, total, digest = orjson.loads(head)
    return RawPage(items, following, previous, total), digest
