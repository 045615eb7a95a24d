"""`app.main:app`, as servers name the application. The import makes it from the settings."""

from __future__ import annotations

import sys

from app.application import create_app
from app.core.env_file import SettingsError

try:
    app = create_app()
except SettingsError as error:
    sys.stderr.write(f"{error}\n")
    # gunicorn takes 4 to mean that the application cannot be loaded, and does not try again.
    raise SystemExit(4) from None
