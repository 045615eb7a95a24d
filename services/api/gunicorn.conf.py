"""gunicorn reads this from the folder that it is started in."""

from __future__ import annotations

import sys
from typing import Any

graceful_timeout = 30
keepalive = 75
# Heartbeats by files on a disk can stall a worker.
worker_tmp_dir = "/dev/shm" if sys.platform == "linux" else None  # noqa: S108


def on_starting(server: Any) -> None:
    """Refuse what the workers would refuse one by one, in one line."""
    from app.core.settings import Settings, SettingsError  # noqa: PLC0415

    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(4) from None
    if server.cfg.workers > 1 and settings.redis_url is None:
        sys.stderr.write(
            f"{server.cfg.workers} workers need Redis, so that limits and caches agree: "
            "set REDIS_URL, or start one worker (-w 1).\n"
        )
        raise SystemExit(4)
