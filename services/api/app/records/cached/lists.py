"""Lists of collections with a `list` cache."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from app.caching.coherent import Served
from app.records.cached.fields import fields_of
from app.records.lists import listing
from app.records.lists.listing import RawPage

if TYPE_CHECKING:
    from app.caching.coherent import CoherentCache
    from app.caching.local import LocalCache
    from app.db.session import ReadSession
    from app.filters.cursor import CursorCodec
    from app.records.access import Access
    from app.records.lists.listing import Page, Query


@dataclass(frozen=True, slots=True)
class CachedPage:
    """A page, the tag of its `dump`, and how the page was served."""

    page: Page
    tag: str
    served: Served[Found]

    @property
    def fields(self) -> dict[str, str]:
        return {"ETag": f'"{self.tag}"', **fields_of(self.served)}


@dataclass(frozen=True, slots=True)
class Found:
    """A page without cursors, and a digest of its records."""

    page: RawPage
    digest: str


async def list_records(
    access: Access,
    query: Query,
    *,
    shared: CoherentCache,
    local: LocalCache[Found],
    reading: ReadSession,
    cursors: CursorCodec,
) -> CachedPage:
    """As `listing.list_records`, from the process' own cache, or from that of all processes. The
    key is the statement with its values, so two callers share a page only where the rules treat
    them alike."""
    collection = access.collection
    prepared = await listing.prepare(access, query, reading=reading, cursors=cursors)
    group, key = collection.cache_group("list"), prepared.key(collection.version)
    policy = collection.list_cache
    assert policy is not None

    async def make() -> bytes:
        return _dump(await prepared.fetch(reading))

    async def find() -> Served[Found]:
        served = await shared.fetch(group, key, policy, make)
        return Served(_load(served.value), served.outcome, served.age, served.left, served.stored)

    served = await local.fetch((group,), key, find)
    found = served.value
    page = prepared.page(found.page, cursors)
    tag = hashlib.sha256(f"{found.digest} {page.next} {page.prev} {page.total}".encode())
    return CachedPage(page, tag.hexdigest()[:32], served)


def _dump(found: RawPage) -> bytes:
    digest = hashlib.sha256(found.items).hexdigest()
    return orjson.dumps([found.next, found.prev, found.total, digest]) + b"\n" + found.items


def _load(raw: bytes) -> Found:
    head, _, items = raw.partition(b"\n")
    following, previous, total, digest = orjson.loads(head)
    return Found(RawPage(items, following, previous, total), digest)


def size(found: Found) -> int:
    """The bytes that a kept page takes, with the sort keys that its cursors are made of."""
    keys = [*(found.page.next or ()), *(found.page.prev or ())]
    return len(found.page.items) + sum(map(sys.getsizeof, keys))
