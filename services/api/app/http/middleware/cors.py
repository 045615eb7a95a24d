"""CORS: every answer has the fields for pages that may call the API; refusals are problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from app.core.context import context_of
from app.core.errors import Forbidden
from app.http import problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.core.settings import Settings

# Origins of pages on the developer's own machine.
_LOCAL = r"https?://(([a-z0-9.-]+\.)?localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_SENT = (
    "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match",
    "X-Request-ID", "X-Requested-With", "traceparent", "tracestate", "baggage",
)  # fmt: skip
_SHOWN = (
    "Age", "Allow", "Cache-Status", "Content-Disposition", "ETag", "Idempotency-Replayed", "Link",
    "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID",
)  # fmt: skip


class PreflightRefused(Forbidden):
    """A browser asked whether a page may send a request, which it may not."""

    code = "preflight_refused"


class CorsMiddleware(CORSMiddleware):
    """Puts the fields in the request context, so that every answer has them, even an error 500."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(
            app,
            allow_origins=settings.cors_origins,
            allow_origin_regex=None if settings.production else _LOCAL,
            allow_methods=_METHODS,
            allow_headers=(*_SENT, *settings.cors_headers),
            # An origin is named on purpose; a `*` must not open a private network to all the web.
            allow_private_network="*" not in settings.cors_origins,
            expose_headers=_SHOWN,
            max_age=600,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = context_of(scope)
        asks = b"origin" in request.fields and b"access-control-request-method" in request.fields
        if asks and scope["method"] == "OPTIONS":
            await self.preflight_response(Headers(scope=scope))(scope, receive, send)
            return
        if not self.allow_all_origins:
            # Needed without an origin, too: a cache could give this answer to a request with one.
            request.headers.append((b"vary", b"Origin"))
        origin = request.fields.get(b"origin")
        if origin is not None and self.is_allowed_origin(origin.decode("latin-1")):
            allowed = b"*" if self.allow_all_origins else origin
            shown = self.simple_headers["Access-Control-Expose-Headers"].encode()
            request.headers.append((b"access-control-allow-origin", allowed))
            request.headers.append((b"access-control-expose-headers", shown))
        await self.app(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        fields = {
            name: value
            for name, value in answer.headers.items()
            if name == "vary" or name.startswith("access-control-")
        }
        if answer.status_code < 400:  # noqa: PLR2004
            return Response(status_code=204, headers=fields)
        failures = bytes(answer.body).decode().removeprefix("Disallowed CORS ")
        refused = PreflightRefused(_why(failures.split(", "), request_headers))
        refused.headers.update(fields)
        return problem.response(refused)


def _why(failures: list[str], asked: Headers) -> str:
    """The reasons for the refusal, for a reader of the browser's network tab."""
    reasons = {
        "origin": f"CORS_ORIGINS does not name the origin {asked['origin']}.",
        "method": f"The method {asked['access-control-request-method']} is none of this API.",
        "headers": "CORS_HEADERS does not name one of these: "
        f"{asked.get('access-control-request-headers')}.",
        "private-network": "CORS_ORIGINS=* does not open a private network.",
    }
    return " ".join(reasons[failure] for failure in failures)
