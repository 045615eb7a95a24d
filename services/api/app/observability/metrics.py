"""Every metric of this service. Labels take route templates and fixed words, never ids."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from app.observability import machine
from app.observability.multiprocess import Shared

if TYPE_CHECKING:
    from collections.abc import Callable

# The folder for the metrics of all processes; prometheus_client's import looks for it.
_FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
# How often the gauges of `read_from` are read.
SAMPLE_SECONDS = 1.0

MASTER_START = Gauge(
    "listo_master_start_time_seconds",
    "When the server, not just its present worker, was started.",
    multiprocess_mode="livemax",
)
RESIDENT = Gauge(
    "listo_resident_memory_bytes", "Memory of the workers.", multiprocess_mode="livesum"
)
POOL_SIZE = Gauge(
    "listo_database_pool_connections", "Open connections of the pool.", multiprocess_mode="livesum"
)
POOL_MAX = Gauge(
    "listo_database_pool_max_connections",
    "Connections that the pool may open.",
    multiprocess_mode="livesum",
)
POOL_IN_USE = Gauge(
    "listo_database_pool_in_use_connections", "Connections in use.", multiprocess_mode="livesum"
)
DATABASE_FAULTS = Counter(
    "listo_database_faults_total", "Operational faults of the database.", ["kind"]
)
JOINT_STATEMENTS = Counter(
    "listo_database_joint_statements_total",
    "Statements that requests share: answered, or split since one of their rows made them fail.",
    ["outcome"],
)
EXPORTS = Counter("listo_exports_total", "Exports, whole or broken off.", ["outcome"])
IMPORTS = Counter(
    "listo_imports_total", "Imports: done, tried (dry_run), refused or broken off.", ["outcome"]
)
JOBS = Counter("listo_jobs_total", "Jobs that ended, by kind and outcome.", ["kind", "outcome"])
SLOW_SEARCHES = Counter(
    "listo_slow_searches_total",
    "Searches that took PostgreSQL over half a second, by collection.",
    ["collection"],
)
LONG_WORK_SECONDS = Counter(
    "listo_long_work_seconds_total",
    "PostgreSQL's time for exports and imports, by collection.",
    ["kind", "collection"],
)
REQUEST_SECONDS = Histogram(
    "http_request_duration_seconds",
    "Time from request to the end of the response, by route template.",
    ["handler", "method", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
REQUESTS_WAITING = Gauge(
    "listo_requests_waiting", "Requests not begun yet.", ["importance"], multiprocess_mode="livesum"
)
REQUESTS_IN_PROGRESS = Gauge(
    "listo_requests_in_progress", "Requests in work.", ["importance"], multiprocess_mode="livesum"
)
CONCURRENCY_LIMIT = Gauge(
    "listo_concurrency_limit",
    "Requests that may be in work at once at present.",
    multiprocess_mode="livesum",
)
REQUESTS_SHED = Counter(
    "listo_requests_shed_total",
    "Requests refused for size or number, or given up.",
    ["reason", "importance"],
)
PASSWORD_QUEUE = Gauge(
    "listo_password_hash_queue",
    "Passwords being hashed, or waiting for it.",
    multiprocess_mode="livesum",
)
PASSWORD_SECONDS = Histogram(
    "listo_password_hash_seconds",
    "Time to hash one password, waiting included.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
RULE_REJECTIONS = Counter(
    "listo_rule_rejections_total", "Requests that a collection's rule refused.", ["operation"]
)
CURSOR_REJECTIONS = Counter("listo_cursor_rejections_total", "Cursors refused.")
FILTER_REJECTIONS = Counter("listo_filter_rejections_total", "Filters refused.")
RATE_LIMITED = Counter("listo_rate_limited_total", "Requests over their rate limit.", ["policy"])
REDIS_FALLBACKS = Counter(
    "listo_redis_fallbacks_total", "Calls that went on without Redis.", ["component"]
)
AUTH_FAILURES = Counter("listo_authentication_failures_total", "Credentials refused.", ["kind"])
CACHE_LOOKUPS = Counter("listo_cache_lookups_total", "Look-ups in a cache.", ["cache", "outcome"])
IDEMPOTENCY_KEYS = Counter(
    "listo_idempotency_keys_total", "Requests with an idempotency key.", ["outcome"]
)
COLLECTIONS = Gauge(
    "listo_collections", "Collections in this process' memory.", multiprocess_mode="livemax"
)
LISTENER_CONNECTED = Gauge(
    "listo_listener_connected", "1 while change notifications arrive.", multiprocess_mode="livemin"
)
LOOP_RUNS = Counter(
    "listo_worker_loop_runs_total", "Runs of the worker's loops.", ["loop", "outcome"]
)
LOOP_RUNNING = Gauge(
    "listo_worker_loop_running",
    "1 while this worker has the loop's duty.",
    ["loop"],
    multiprocess_mode="livesum",
)
LOOP_SECONDS = Histogram("listo_worker_loop_seconds", "Duration of one run.", ["loop"])
LOOP_LAST_SUCCESS = Gauge(
    "listo_worker_loop_last_success_timestamp_seconds",
    "When the loop last succeeded.",
    ["loop"],
    multiprocess_mode="livemax",
)
EVENTS_PUBLISHED = Counter("listo_events_published_total", "Events written.", ["type"])

_READERS: dict[Gauge, Callable[[], float]] = {}


def read_from(gauge: Gauge, read: Callable[[], float]) -> None:
    """Have the gauge show the value of `read`, whichever process of this server is asked."""
    _READERS[gauge] = read
    if _FOLDER is None:
        gauge.set_function(read)


def sample() -> None:
    """Write this process' gauges to the folder, where the process that is asked reads them."""
    if _FOLDER is not None:
        for gauge, read in list(_READERS.items()):
            gauge.set(read())


def exposition() -> bytes:
    """Prometheus' text format, over all processes of this server. Blocks for some milliseconds."""
    if _FOLDER is None:
        return generate_latest(REGISTRY)
    sample()
    registry = CollectorRegistry()
    registry.register(Shared(Path(_FOLDER)))
    return generate_latest(registry)


read_from(RESIDENT, machine.resident)
MASTER_START.set(float(os.environ.get("LISTO_MASTER_STARTED") or time.time()))


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count one answered request and its duration."""
    REQUEST_SECONDS.labels(route, method, str(status)).observe(seconds)
