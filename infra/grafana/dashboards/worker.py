"""The worker: its loops, its process, and the queues that it empties."""

from __future__ import annotations

from infra.grafana.dashboards.page import Page
from infra.grafana.dashboards.panels import (
    GREEN,
    MUST_BE_ONE,
    NONE_IS_WELL,
    RED,
    UP,
    YELLOW,
    graph,
    stat,
)
from infra.grafana.dashboards.queries import Series, events, quantile, rate, total

HERE = '{job="worker"}'
FAILED = 'listo_worker_loop_runs_total{outcome="failed"}'

STATE = (
    stat(
        "Workers",
        "Whether each worker answers Prometheus. Any number may run; each duty is done by one.",
        "short",
        Series(f"up{HERE}", "{{instance}}"),
        span=6,
        steps=MUST_BE_ONE,
        words=UP,
    ),
    stat(
        "Since a loop last succeeded",
        "Loops run every minute. Five minutes without success raise an alert; building an index "
        "may "
        "take an hour.",
        "s",
        Series(
            "time() - max by (loop) (listo_worker_loop_last_success_timestamp_seconds)", "{{loop}}"
        ),
        span=12,
        steps=((None, GREEN), (180, YELLOW), (300, RED)),
        decimals=0,
    ),
    stat(
        "Failed runs",
        "Runs that failed in the time shown. The worker's log says why.",
        "short",
        Series(f"round(sum(increase({FAILED}[$__range]))) or vector(0)", "failed"),
        span=6,
        steps=NONE_IS_WELL,
    ),
)

LOOPS = (
    graph(
        "Runs",
        "Runs of each loop a minute, by how they ended. Lost: another worker has taken over.",
        "opm",
        Series(
            f"60 * {total(rate('listo_worker_loop_runs_total'), 'loop', 'outcome')}",
            "{{loop}} {{outcome}}",
        ),
        span=6,
    ),
    graph(
        "In hand",
        "Which worker has which loop in hand. Most runs are over in between two looks.",
        "short",
        Series("listo_worker_loop_running", "{{loop}} {{instance}}"),
        span=6,
    ),
    graph(
        "Time of a run",
        "Time within which 95 of 100 runs of a loop end.",
        "s",
        Series(quantile(0.95, "listo_worker_loop_seconds_bucket", "loop"), "{{loop}}"),
        span=6,
    ),
    graph(
        "Time spent",
        "Share of the time that each loop is at work. At one it never rests.",
        "percentunit",
        Series(total(rate("listo_worker_loop_seconds_sum"), "loop"), "{{loop}}"),
        span=6,
    ),
)

QUEUES = (
    graph(
        "Events written",
        "Events that services write for others to be told of, by type, over all replicas.",
        "ops",
        Series(events("listo_events_published_total", "type"), "{{type}}"),
    ),
    graph(
        "Oldest due work",
        "How long the oldest work of each queue has been due. Filled by webhooks and jobs.",
        "s",
        Series("max by (queue) (listo_queue_oldest_due_age_seconds)", "{{queue}}"),
        steps=((None, GREEN), (60, YELLOW), (300, RED)),
    ),
)

PROCESS = (
    graph(
        "Processor",
        "Share of one processor that a worker uses.",
        "percentunit",
        Series(rate(f"process_cpu_seconds_total{HERE}"), "{{instance}}"),
        span=8,
    ),
    graph(
        "Memory",
        "Memory that a worker holds.",
        "bytes",
        Series(f"process_resident_memory_bytes{HERE}", "{{instance}}"),
        span=8,
    ),
    graph(
        "Connections to PostgreSQL",
        "Open and in use. Each loop works on one and renews its lease on another.",
        "short",
        Series(f"listo_database_pool_connections{HERE}", "open {{instance}}"),
        Series(f"listo_database_pool_in_use_connections{HERE}", "in use {{instance}}"),
        span=8,
    ),
)

PAGE = Page(
    uid="listo-worker",
    title="Worker and webhooks",
    text="What is done beside requests: the worker's loops and the queues that it works off.",
    rows=(("State", STATE), ("Loops", LOOPS), ("Queues", QUEUES), ("Process", PROCESS)),
)
