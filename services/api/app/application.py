"""The application: settings, lifespan, middleware in order, error handlers, routers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app import __version__
from app.api import PLAIN_ROUTES, ROUTERS
from app.assembly import assemble
from app.auth.identity.middleware import AuthMiddleware
from app.core.errors import Problem
from app.core.settings import Settings
from app.extensions import load_extensions
from app.http import problem
from app.http.client_address import keep_peer_address
from app.http.middleware.admission import AdmissionMiddleware
from app.http.middleware.cors import CorsMiddleware
from app.http.middleware.protection import ProtectionMiddleware
from app.http.middleware.request import RequestMiddleware
from app.http.plain import PlainRoutes
from app.idempotency.middleware import IdempotencyMiddleware
from app.lifespan import QuietStartup, lifespan
from app.observability import log
from app.observability.tracing import telemetry
from app.ops import openapi

if TYPE_CHECKING:
    from typing import Any

    from app.route_policy import RoutePolicies
    from app.services import Services


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application that ships; tests make it the same way. Raises SettingsError."""
    settings = settings or Settings.load()
    log.configure(settings)
    keep_peer_address()
    tracing = telemetry(settings)
    app = FastAPI(
        title="Listo",
        version=__version__,
        description="JSON-Schema collections as validated, paginated REST resources.",
        lifespan=lifespan,
        telemetry=tracing.config,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    services = app.state.services = assemble(app, settings, tracing)
    _add_middleware(app, services)

    app.add_exception_handler(Problem, problem.handle_problem)
    app.add_exception_handler(HTTPException, problem.handle_http_exception)
    app.add_exception_handler(RequestValidationError, problem.handle_validation_error)

    # The application knows them too, for methods that they lack.
    app.router.routes.extend(PLAIN_ROUTES)
    services.route_policies.add(PLAIN_ROUTES)
    for router in (*ROUTERS, *load_extensions(settings.listo_extensions)):
        app.include_router(router)
        services.route_policies.add(router.routes)
    _describe(app, services.route_policies)
    return app


def _add_middleware(app: FastAPI, services: Services) -> None:
    settings = services.settings
    # The middleware that is added last is the outermost.
    tracing = settings.otel_exporter_otlp_endpoint is not None
    app.add_middleware(PlainRoutes, routes=PLAIN_ROUTES, tracing=tracing)
    app.add_middleware(IdempotencyMiddleware)
    app.add_middleware(AuthMiddleware)
    app.add_middleware(ProtectionMiddleware, settings=settings, deadlines=services.deadlines)
    if settings.cors_origins or not settings.production:
        app.add_middleware(CorsMiddleware, settings=settings)
    app.add_middleware(RequestMiddleware, settings=settings)
    app.add_middleware(AdmissionMiddleware, admission=services.admission)
    app.add_middleware(QuietStartup)


def _describe(app: FastAPI, policies: RoutePolicies) -> None:
    generate = app.openapi

    def finished() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = openapi.finish(generate(), policies)
        return app.openapi_schema

    app.openapi = finished  # type: ignore[method-assign]
