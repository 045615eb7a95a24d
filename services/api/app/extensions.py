"""The user's own routers, named by LISTO_EXTENSIONS, mounted like Listo's."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

from fastapi import APIRouter

from app.core.env_file import SettingsError
from app.ratelimit.dependencies import patch_rate_limiter

if TYPE_CHECKING:
    from collections.abc import Sequence


def load_extensions(names: Sequence[str]) -> list[APIRouter]:
    """The router of each `module:router`. Raises SettingsError if a router is missing."""
    patch_rate_limiter()
    if names and os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds text
        sys.path.append(os.getcwd())  # noqa: PTH109
    routers = []
    for name in names:
        module_name, _, attribute = name.partition(":")
        try:
            router = getattr(importlib.import_module(module_name), attribute)
        except Exception as error:
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise SettingsError(f"LISTO_EXTENSIONS: cannot load {name}: {why}") from error
        if not isinstance(router, APIRouter):
            raise SettingsError(f"LISTO_EXTENSIONS: {name} is not a FastAPI router")
        routers.append(router)
    return routers
