"""The OpenAPI document, and a page that shows it without any other server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import fastapi_offline
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from app.collections.errors import CollectionNotFound
from app.core.context import context_of
from app.core.errors import NotFound
from app.http import preconditions
from app.http.middleware.request import SECURITY_HEADERS_KEY
from app.ratelimit import costs
from app.ratelimit.dependencies import charge
from app.route_policy import RoutePolicy
from app.services import services_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.collections.models import Collection

router = APIRouter(include_in_schema=False)

_ASSETS = Path(fastapi_offline.__file__).parent / "static"
_MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
# Swagger UI sets style attributes and draws its icons from data: URLs; all scripts are ours.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"content-security-policy", _POLICY.encode()),
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Listo API</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """const ui = SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, persistAuthorization: false,
  tryItOutEnabled: true, displayRequestDuration: true, docExpansion: "list",
  responseInterceptor: (response) => { look(response); return response; },
  // The document shows what the caller may see, so it is asked for again once somebody is.
  onComplete: () => {
    const authorize = ui.authActions.authorizeWithPersistOption;
    ui.authActions.authorizeWithPersistOption = (payload) => {
      const result = authorize(payload);
      const scheme = Object.values(payload)[0];
      if (scheme && scheme.value) renew(scheme.value);
      return result;
    };
  },
});
function renew(token) {
  fetch("openapi.json", token ? { headers: { Authorization: "Bearer " + token } } : {})
    .then((response) => (response.ok ? response.text() : null))
    .then((text) => text && ui.specActions.updateSpec(text));
}
// A collection that was defined or deleted changes the document, and a record that was created is
// the one to try the other operations with.
function look(response) {
  const path = new URL(response.url).pathname;
  const location = response.headers.location || "";
  const record = /^(\\/collections\\/[^/]+\\/records)\\/([^/]+)$/.exec(location);
  if (record && response.status === 201) {
    for (const method of ["get", "put", "patch", "delete"]) {
      const where = [record[1] + "/{record_id}", method];
      ui.specActions.changeParam(where, "record_id", "path", record[2], false);
    }
  }
  const changed = response.status === 204 || location;
  if (response.ok && changed && /^\\/collections\\/[^/]+$/.test(path)) {
    const known = Object.values(ui.authSelectors.authorized().toJS())[0];
    renew(known && known.value);
  }
}
"""


@router.get("/openapi.json")
async def document(request: Request, collections: str | None = None) -> Response:
    """The document for this caller: admins see all collections, others those they may see; of
    these only the ones that `collections` names, where it is given."""
    known = preconditions.parse_tags(request.headers.get("if-none-match"))
    actor, services = context_of(request.scope).actor, services_of(request.scope)
    visible = await services.registry.visible_to(actor)
    if collections is not None:
        visible = _select(visible, collections)
    made = await services.documents.document_for(actor, visible)
    headers = {
        "ETag": f'"{made.tag}"', "Cache-Control": "private, no-cache", "Vary": "Authorization",
    }  # fmt: skip
    if known is not None and known.match(made.tag):
        return Response(status_code=304, headers=headers)
    await charge(request, costs.of_document(made.described))
    return Response(made.text(), media_type="application/json", headers=headers)


def _select(visible: Iterable[Collection], names: str) -> list[Collection]:
    """The collections that `names` lists. Raises CollectionNotFound if one is missing."""
    by_name = {collection.name: collection for collection in visible}
    wanted = sorted({name.strip() for name in names.split(",")})
    if not by_name.keys() >= set(wanted):
        raise CollectionNotFound
    return [by_name[name] for name in wanted]


@router.get("/")
@RoutePolicy(public=True)
async def start_page() -> Response:
    # Relative, since a proxy may have added a prefix to the path.
    return RedirectResponse("docs")


@router.get("/docs")
@RoutePolicy(public=True)
async def page(request: Request) -> Response:
    request.scope[SECURITY_HEADERS_KEY] = _SECURITY_HEADERS
    return HTMLResponse(_PAGE)


@router.get("/docs/start.js")
@RoutePolicy(public=True)
async def start() -> Response:
    return Response(_START, media_type="text/javascript")


@router.get("/docs/{asset}")
@RoutePolicy(public=True)
async def asset(asset: str) -> Response:
    if asset not in _MEDIA_TYPES:
        raise NotFound
    headers = {"Cache-Control": "public, max-age=86400"}
    return FileResponse(_ASSETS / asset, media_type=_MEDIA_TYPES[asset], headers=headers)
