"""The application: settings, lifespan, middleware in order, error handlers, routers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app import __version__
from app.api import ROUTERS
from app.auth.identity.authenticator import Authenticator
from app.auth.identity.middleware import AuthMiddleware
from app.auth.identity.tokens import Tokens
from app.auth.passwords.pool import Passwords
from app.caching.coherent import CoherentCache
from app.collections.registry import Registry
from app.core.background import Background
from app.core.env_file import SettingsError
from app.core.errors import Problem
from app.core.settings import Settings
from app.db.database import Database
from app.db.pool.budget import Memory
from app.extensions import load_extensions
from app.filters.cursor import CursorCodec
from app.http import problem
from app.http.client_address import believe_no_server
from app.http.middleware.admission import AdmissionMiddleware
from app.http.middleware.cors import CorsMiddleware
from app.http.middleware.protection import ProtectionMiddleware
from app.http.middleware.request import RequestMiddleware
from app.idempotency.middleware import IdempotencyMiddleware
from app.idempotency.seals import Seals
from app.lifespan import QuietStartup, lifespan, open_generations, open_stores
from app.observability import log
from app.observability.tracing import telemetry
from app.ops import openapi
from app.ops.checks import Readiness
from app.overload.admission import Admission
from app.overload.concurrency import Concurrency
from app.overload.deadlines import Deadlines
from app.ratelimit.counting import policies

if TYPE_CHECKING:
    from typing import Any


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application that ships; tests make it the same way. Raises SettingsError."""
    settings = settings or Settings.load()
    log.configure(settings)
    believe_no_server()
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
    _add_state(app, settings)
    app.state.tracer_provider = tracing.provider
    for callback in tracing.query_loggers:
        app.state.database.add_query_logger(callback)
    _add_middleware(app, settings)

    app.add_exception_handler(Problem, problem.handle_problem)
    app.add_exception_handler(HTTPException, problem.handle_http_exception)
    app.add_exception_handler(RequestValidationError, problem.handle_validation_error)

    for router in ROUTERS:
        app.include_router(router)
    load_extensions(app, settings.listo_extensions)
    _describe(app)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    # The last one added is the outermost.
    app.add_middleware(IdempotencyMiddleware)
    app.add_middleware(AuthMiddleware)
    app.add_middleware(
        ProtectionMiddleware,
        settings=settings,
        deadlines=app.state.deadlines,
    )
    if settings.cors_origins or not settings.production:
        app.add_middleware(CorsMiddleware, settings=settings)
    app.add_middleware(RequestMiddleware, settings=settings)
    app.add_middleware(AdmissionMiddleware, admission=app.state.admission)
    app.add_middleware(QuietStartup)


def _add_state(app: FastAPI, settings: Settings) -> None:
    database = Database(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        statement_timeout=settings.database_statement_timeout,
        list_timeout=min(settings.list_timeout, settings.request_timeout),
        memory=Memory(
            settings.database_memory, min(settings.max_record_bytes, settings.max_body_bytes)
        ),
        name="listo-api",
    )
    secrets = [
        secret.get_secret_value()
        for secret in (settings.jwt_secret, settings.jwt_secret_previous)
        if secret is not None
    ]
    state = app.state
    state.settings = settings
    state.database = database
    state.tokens = Tokens(settings)
    state.passwords = Passwords(settings.password_hash_concurrency)
    state.policies = policies(settings)
    state.authenticator = Authenticator(database, state.tokens)
    state.registry = Registry(database)
    state.cursors = CursorCodec(*secrets)
    state.seals = Seals(*secrets)
    state.limiter, state.guesses, state.cache, state.redis = open_stores(
        settings, lambda: database.notifications.listeners
    )
    state.documents = openapi.Documents(app)
    state.readiness = Readiness(state)
    state.background = Background()
    state.lists = CoherentCache(open_generations(state.redis), database, state.background)
    state.deadlines = Deadlines(settings.request_timeout)
    # Fewer than there are connections would leave some of them idle.
    state.concurrency = Concurrency(
        settings.max_concurrent_requests,
        settings.database_pool_size,
        delay=database.strain,
        lingering=state.deadlines.older,
    )
    state.admission = Admission(state.concurrency, state.passwords.require_room)


def _describe(app: FastAPI) -> None:
    generate = app.openapi

    def finished() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = openapi.finish(generate())
        return app.openapi_schema

    app.openapi = finished  # type: ignore[method-assign]


def __getattr__(name: str) -> FastAPI:
    """`app.main:app`, made when a server asks for it: importing this module needs no settings."""
    if name != "app":
        raise AttributeError(name)
    try:
        application = create_app()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        # gunicorn takes 4 to mean that the application cannot be loaded, and does not try again.
        raise SystemExit(4) from None
    globals()["app"] = application
    return application
