"""Listo without one of its protections, for bench/protections.py: `bench.unprotected:NAME`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.application import create_app
from app.core.settings import Settings
from app.http.middleware.admission import AdmissionMiddleware
from app.http.middleware.protection import ProtectionMiddleware
from app.idempotency.middleware import IdempotencyMiddleware

if TYPE_CHECKING:
    from fastapi import FastAPI

WITHOUT_LIMITS = {"rate_limit_anonymous": "off", "rate_limit_user": "off"}
LAYERS: dict[str, tuple[object, ...]] = {
    "overload": (AdmissionMiddleware, ProtectionMiddleware),
    "idempotency": (IdempotencyMiddleware,),
}


def __getattr__(name: str) -> FastAPI:
    if name not in ("limits", "everything", *LAYERS):
        raise AttributeError(name)
    settings = Settings.load()
    if name in ("limits", "everything"):
        settings = settings.model_copy(update=WITHOUT_LIMITS)
    app = create_app(settings)
    left_out = sum(LAYERS.values(), ()) if name == "everything" else LAYERS.get(name, ())
    app.user_middleware = [layer for layer in app.user_middleware if layer.cls not in left_out]
    globals()[name] = app
    return app
