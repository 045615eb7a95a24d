"""gunicorn reads this file from the folder that it is started in, and again at SIGHUP.

WEB_CONCURRENCY or -w sets the number of workers; by default there is one worker per core, as far as
memory allows. After GUNICORN_MAX_REQUESTS requests a worker is replaced (0: never), and the metrics
of all workers meet in PROMETHEUS_MULTIPROC_DIR.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MB = 1 << 20
MASTER_BYTES = 60 * MB
WORKER_BYTES = 120 * MB
# Each worker has a pool of connections to the database; more workers are the operator's decision.
MOST_WORKERS = 8
SHM = Path("/dev/shm")  # noqa: S108

worker_class = "app.serving.worker.Worker"
# Workers import the code themselves: SIGHUP brings new code, and nothing is shared by accident.
preload_app = False
keepalive = 75
# Heartbeats by files on a disk can stall a worker.
worker_tmp_dir = str(SHM) if os.access(SHM, os.W_OK) else None
# Signals suffice, and there may be no folder for the socket.
control_socket_disable = True
max_requests = int(os.environ.get("GUNICORN_MAX_REQUESTS") or 500_000)
# Workers are replaced at different times.
max_requests_jitter = max_requests // 5


def _settings() -> Any:
    """The settings, or the error in them, which is reported once the server starts."""
    from app.core.env_file import SettingsError  # noqa: PLC0415
    from app.core.settings import Settings  # noqa: PLC0415

    try:
        return Settings.load()
    except SettingsError as error:
        return error


def _workers() -> int:
    from app.observability import machine  # noqa: PLC0415

    if getattr(_settings(), "redis_url", None) is None:
        return 1
    by_cores = int(machine.cores() + 0.5)
    by_memory = (machine.memory() - MASTER_BYTES) // WORKER_BYTES
    return max(1, min(by_cores, by_memory, MOST_WORKERS))


def _forget() -> None:
    """Have the workers import our code themselves, in place of the modules imported here."""
    for name in [name for name in sys.modules if name.split(".")[0] == "app"]:
        del sys.modules[name]


# A worker that is to end accepts requests for a second more, and gives each its full time.
graceful_timeout = math.ceil(getattr(_settings(), "request_timeout", 30)) + 5
# A worker gives no heartbeat while it ends.
timeout = graceful_timeout + 10
if not os.environ.get("WEB_CONCURRENCY"):
    # gunicorn reads WEB_CONCURRENCY by itself; an argument overrides it and this default.
    workers = _workers()
_forget()


def on_starting(server: Any) -> None:
    """Refuse, in one line, settings that the workers would refuse one by one."""
    settings = _settings()
    if isinstance(settings, Exception):
        _refuse(str(settings))
    if server.cfg.workers > 1 and settings.redis_url is None:
        _refuse(
            f"{server.cfg.workers} workers need Redis, so that limits and caches agree: "
            "set REDIS_URL, or start one worker (-w 1)."
        )
    if server.cfg.preload_app:
        _refuse("The workers' metrics need each worker to import the code itself: drop --preload.")
    _share_metrics(server)
    _forget()


def _share_metrics(server: Any) -> None:
    """Name the folder before the first worker starts and imports prometheus_client."""
    given = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    # SIGUSR2 starts another master beside this one, which must not empty this one's folder.
    if given and "GUNICORN_PID" not in os.environ:
        folder = Path(given)
    else:
        folder = Path(tempfile.mkdtemp(prefix="listo-metrics-", dir=worker_tmp_dir))
        server.listo_metrics = folder
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    os.environ["LISTO_MASTER_STARTED"] = repr(time.time())
    os.environ["LISTO_WORKERS"] = str(server.cfg.workers)
    from app.observability import multiprocess  # noqa: PLC0415

    multiprocess.prepare_folder(folder)


def child_exit(server: Any, worker: Any) -> None:
    """Keep the counts of a worker, however it ended."""
    try:
        from app.observability import multiprocess  # noqa: PLC0415

        multiprocess.merge_counts_of_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]), worker.pid)
    except Exception:  # The exception would end the server.
        server.log.exception("the metrics of worker %s are lost", worker.pid)
    finally:
        _forget()


def on_exit(server: Any) -> None:
    if hasattr(server, "listo_metrics"):
        shutil.rmtree(server.listo_metrics, ignore_errors=True)


def _refuse(reason: str) -> None:
    sys.stderr.write(f"{reason}\n")
    raise SystemExit(4)
