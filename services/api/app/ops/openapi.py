"""The OpenAPI document of a caller: the built-in routes, and the collections that they may see.

The document is joined from a text that is kept for each collection. API keys can make any number of
sets of collections, and a new set costs a join only.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from app.caching.memory import MemoryCache
from app.http.openapi import PROBLEM_SCHEMA, SECURITY_SCHEMES, problems
from app.idempotency.openapi import describe
from app.records.openapi.components import SHARED, components_of
from app.records.openapi.paths import paths_of
from app.records.openapi.searches import paths_of as search_paths_of
from app.transfers.exports.openapi import paths_of as export_paths_of
from app.transfers.imports.http.openapi import paths_of as import_paths_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import FastAPI

    from app.collections.models import Collection
    from app.core.actor import Actor
    from app.route_policy import RoutePolicies

# The limits of one document, which says how many collections are left out.
MAX_COLLECTIONS = 1000
MAX_BYTES = 4 * 1024 * 1024
# The limits of one collection. The text of a schema can be larger than its definition if targets of
# its references have references too.
_MAX_SCHEMA_BYTES = MAX_BYTES // 32
_MAX_COLLECTION_BYTES = MAX_BYTES // 8
# The limit of all texts that a process keeps; the least recently used text is dropped first.
_KEPT_BYTES = 4 * MAX_BYTES

_STATUSES = (400, 401, 403, 404, 409, 412, 413, 414, 415, 416, 422, 429, 431, 500, 503)
_RESPONSES = {str(status): response for status, response in problems(*_STATUSES).items()}


@dataclass(frozen=True, slots=True)
class Document:
    """A document before its text is joined: its entity tag without quotes, and its parts."""

    tag: str
    described: int
    parts: tuple[bytes, ...]

    def text(self) -> bytes:
        """The document as JSON."""
        return b"".join(self.parts)


class Documents:
    """The documents of this process only: other versions of the code may describe differently."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._known = MemoryCache(max_bytes=_KEPT_BYTES)

    async def document_for(self, actor: Actor, collections: Sequence[Collection]) -> Document:
        """The document with these collections, or with the first of them that fit into it."""
        paths, schemas = [], []
        frame = self._frame
        digest, size = hashlib.sha256(frame.digest), 0
        for collection in collections[:MAX_COLLECTIONS]:
            found = await self._texts(collection, actor)
            if found is None:
                continue
            tag, own_paths, own_schemas = found
            size += len(own_paths) + len(own_schemas)
            if size > MAX_BYTES:
                break
            digest.update(tag)
            paths += [b",", own_paths]
            schemas += [b",", own_schemas]
        described = len(paths) // 2
        note = _note(len(collections) - described)
        digest.update(note)
        parts = (frame.head, note, frame.paths, *paths, frame.schemas, *schemas, frame.tail)
        return Document(digest.hexdigest()[:32], described, parts)

    async def _texts(self, collection: Collection, actor: Actor) -> list[bytes] | None:
        """A collection's digest, paths and schemas; None if these are too large."""
        key = f"{collection.id}:{collection.version}:{actor.is_admin}"
        known = await self._known.get(key)
        if known is None:
            known = _collection_texts(collection, actor)
            await self._known.set(key, known, ttl=math.inf)
            # Let other requests run: each of many collections takes a millisecond or more.
            await asyncio.sleep(0)
        return known.split(b"\n") if known else None

    @cached_property
    def _frame(self) -> _Frame:
        return _Frame.around(self._app.openapi())


@dataclass(frozen=True, slots=True)
class _Frame:
    """Parts of every document: up to the description's end, the paths, the schemas, the rest."""

    head: bytes
    paths: bytes
    schemas: bytes
    tail: bytes
    digest: bytes

    @classmethod
    def around(cls, base: dict[str, Any]) -> _Frame:
        rest = dict(base)
        info, paths, components = (rest.pop(name) for name in ("info", "paths", "components"))
        others = dict(components)
        schemas = others.pop("schemas")
        # The description comes last, so that something can be added to it.
        info = {key: info[key] for key in sorted(info, key="description".__eq__)}
        parts = (
            b"{" + _members(rest) + b',"info":' + to_json(info).removesuffix(b'"}'),
            b'"},"paths":{' + _members(paths),
            b'},"components":{' + _members(others) + b',"schemas":{' + _members(schemas),
            b"}}}",
        )
        return cls(*parts, hashlib.sha256(b"".join(parts)).digest())


def _collection_texts(collection: Collection, actor: Actor) -> bytes:
    """A digest, the paths and the schemas of the collection in lines; empty if it is too large."""
    if len(collection.definition.schema_text) > _MAX_SCHEMA_BYTES:
        return b""
    paths = paths_of(collection, actor) | search_paths_of(collection, actor)
    paths |= export_paths_of(collection, actor) | import_paths_of(collection, actor)
    describe(paths)
    _share_responses(paths)
    text = _members(paths) + b"\n" + _members(components_of(collection))
    if len(text) > _MAX_COLLECTION_BYTES:
        return b""
    return hashlib.sha256(text).hexdigest().encode() + b"\n" + text


def _members(value: dict[str, Any]) -> bytes:
    # `to_json` takes integers of any size, as schemas may have them.
    return to_json(value)[1:-1]


def _note(missing: int) -> bytes:
    if not missing:
        return b""
    return (
        f" {missing} of the collections are not described here, since they are too many or too "
        "large for one document: name those that you want, /openapi.json?collections=books,films."
    ).encode()


def finish(base: dict[str, Any], policies: RoutePolicies) -> dict[str, Any]:
    """The framework's document, with our problems and security schemes in place of its own."""
    components = base.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM_SCHEMA
    schemas |= SHARED
    components["securitySchemes"] = SECURITY_SCHEMES
    components["responses"] = _RESPONSES
    base["security"] = [{"accessToken": []}, {"apiKey": []}, {}]
    for path in base["paths"].values():
        for operation in path.values():
            response = operation.get("responses", {}).get("422")
            if response and "application/json" in response.get("content", {}):
                # Invalid parameters get 400 here.
                del operation["responses"]["422"]
    describe({path: each for path, each in base["paths"].items() if policies.policy_at(path).keyed})
    _share_responses(base["paths"])
    return base


def _share_responses(paths: dict[str, Any]) -> None:
    """Put each problem into the document once, and refer to it from the operations."""
    for operations in paths.values():
        for operation in operations.values():
            responses = operation["responses"]
            for status, response in responses.items():
                if response == _RESPONSES.get(status):
                    responses[status] = {"$ref": f"#/components/responses/{status}"}
