"""The OpenAPI document of one caller: what every server has, and the collections they may see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from app.core.openapi import PROBLEM_SCHEMA, SECURITY_SCHEMES
from app.idempotency.openapi import describe
from app.records.components import components_of
from app.records.openapi import paths_of

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.core.actor import Actor

_TTL = 300.0
# Of the documents that a process keeps; the one that nobody asked for longest goes first.
MAX_BYTES = 8 * 1024 * 1024


async def document(app: FastAPI, actor: Actor) -> bytes:
    """JSON text. Kept for five minutes, one per set of visible definitions as they are now.

    Within the process: keys limited to collections make as many sets as anybody likes, which are to
    crowd out nothing else, and another version of this code describes them otherwise.
    """
    state = app.state
    collections = await state.registry.visible_to(actor)
    versions = ",".join(f"{item.id}:{item.version}" for item in collections)
    key = f"openapi:{actor.is_admin}:{versions}"
    known: bytes | None = await state.documents.get(key)
    if known is not None:
        return known
    base = app.openapi()
    paths, schemas = dict(base["paths"]), dict(base["components"]["schemas"])
    for collection in collections:
        own = paths_of(collection, actor)
        describe(own)
        paths.update(own)
        schemas.update(components_of(collection))
    components = {**base["components"], "schemas": schemas}
    # Takes integers of any size, as schemas may have them.
    body = to_json({**base, "paths": paths, "components": components})
    await state.documents.set(key, body, ttl=_TTL)
    return body


def finish(base: dict[str, Any]) -> dict[str, Any]:
    """The framework's document, with our problems and security schemes in place of its own."""
    components = base.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM_SCHEMA
    components["securitySchemes"] = SECURITY_SCHEMES
    base["security"] = [{"accessToken": []}, {"apiKey": []}, {}]
    for path in base["paths"].values():
        for operation in path.values():
            response = operation.get("responses", {}).get("422")
            if response and "application/json" in response.get("content", {}):
                # Faulty parameters are 400 here.
                del operation["responses"]["422"]
    describe(base["paths"])
    return base
