"""Lists of collections with a `list` cache."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from app.records.cached.fields import fields_of
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
        return {"ETag": f'"{self.tag}"', **fields_of(self.served)}


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

    assert collection.list_cache is not None
    served = await cache.fetch(
        collection.cache_group("list"),
        prepared.key(collection.version),
        collection.list_cache,
        make,
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
