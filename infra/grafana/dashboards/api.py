"""The API: its requests, its failures, its refusals, and its waits."""

from __future__ import annotations

from infra.grafana.dashboards.page import Page, of_labels
from infra.grafana.dashboards.panels import (
    GREEN,
    MUST_BE_ONE,
    RED,
    SHARE_OF_A_LIMIT,
    UP,
    YELLOW,
    graph,
    heat,
    stat,
    to_dashboard,
)
from infra.grafana.dashboards.queries import PROBES, Series, events, quantile, rate, total

HERE = 'job="api", instance=~"$replica"'
ROUTED = f'{HERE}, handler=~"$route", {PROBES}'
COUNT = f"http_request_duration_seconds_count{{{ROUTED}}}"
BUCKET = f"http_request_duration_seconds_bucket{{{ROUTED}}}"
LOGS = to_dashboard(
    "Log lines of ${__field.labels.handler}",
    "/d/listo-logs?var-route=${__field.labels.handler:percentencode}&${__url_time_range}",
)


def here(metric: str, more: str = "") -> str:
    """`metric` of the chosen replicas."""
    return f"{metric}{{{HERE}{', ' + more if more else ''}}}"


REQUESTS = (
    graph(
        "Requests by route",
        "The ten busiest routes. A click on a curve leads to the route's log lines.",
        "reqps",
        Series(f"topk(10, {total(rate(COUNT), 'method', 'handler')})", "{{method}} {{handler}}"),
        link=LOGS,
    ),
    graph(
        "Errors by route",
        "Answers of 5xx and 4xx by route and status, the ten most frequent.",
        "reqps",
        Series(
            "topk(10, "
            + total(
                rate(f'http_request_duration_seconds_count{{{ROUTED}, status=~"[45].."}}'),
                "handler", "status",
            )
            + ') or on() label_replace(vector(0), "status", "none", "", "")',
            "{{status}} {{handler}}",
        ),
        link=LOGS,
    ),
    graph(
        "Latency by route",
        "Time within which 95 of 100 requests of a route are answered, the ten slowest routes.",
        "s",
        Series(f"topk(10, {quantile(0.95, BUCKET, 'handler')})", "{{handler}}"),
        link=LOGS,
        steps=((None, GREEN), (0.5, RED)),
    ),
    graph(
        "Latency over all",
        "Time within which 50, 95 and 99 of 100 requests are answered.",
        "s",
        Series(quantile(0.5, BUCKET), "p50"),
        Series(quantile(0.95, BUCKET), "p95"),
        Series(quantile(0.99, BUCKET), "p99"),
        steps=((None, GREEN), (0.5, RED)),
    ),
    heat(
        "Durations",
        "How many requests took how long. Two bands mean two kinds of work, or two causes.",
        Series(f"sum by (le) (increase({BUCKET}[$__rate_interval]))", "{{le}}"),
    ),
    graph(
        "In progress",
        "Requests in work by what they are, and how many may be. The limit falls below "
        "MAX_CONCURRENT_REQUESTS while requests wait a second for the event loop or for a "
        "connection, and then the least important are refused first.",
        "short",
        Series(total(here("listo_requests_in_progress"), "importance"), "{{importance}}"),
        Series(total(here("listo_concurrency_limit")), "limit"),
    ),
)  # fmt: skip

REFUSALS = (
    graph(
        "Shed before work began",
        "Refused for what the server could not take: too many at once, too slow, too large a body, "
        "headers or address.",
        "reqps",
        Series(events(here("listo_requests_shed_total"), "reason"), "{{reason}}"),
        span=8,
    ),
    graph(
        "Shed for overload, by importance",
        "Requests beyond the present limit. Reads of strangers go first, then log-ins, other "
        "reads, writes, and last the writes with an idempotency key.",
        "reqps",
        Series(
            events(here("listo_requests_shed_total", 'reason="concurrency"'), "importance"),
            "{{importance}}",
        ),
        span=8,
    ),
    graph(
        "Over a rate limit",
        "Answers 429 by policy. Many logins refused may be somebody guessing passwords.",
        "reqps",
        Series(events(here("listo_rate_limited_total"), "policy"), "{{policy}}"),
        span=8,
    ),
    graph(
        "Credentials refused",
        "Wrong passwords, expired or malformed tokens, unknown keys, refresh tokens used twice.",
        "reqps",
        Series(events(here("listo_authentication_failures_total"), "kind"), "{{kind}}"),
        span=8,
    ),
    graph(
        "Refused by a rule",
        "Requests that a collection's rule did not allow, by operation.",
        "reqps",
        Series(events(here("listo_rule_rejections_total"), "operation"), "{{operation}}"),
        span=8,
    ),
    graph(
        "Filters and cursors refused",
        "Filters that do not parse or cost too much, and cursors of another list or of nobody.",
        "reqps",
        Series(events(here("listo_filter_rejections_total")), "filters"),
        Series(events(here("listo_cursor_rejections_total")), "cursors"),
        span=8,
    ),
)

DATABASE = (
    graph(
        "Connections in use",
        "Connections to PostgreSQL that each replica's processes have in use, and how many its "
        "pools "
        "may open (DATABASE_POOL_SIZE times processes).",
        "short",
        Series(total(here("listo_database_pool_in_use_connections"), "instance"), "{{instance}}"),
        Series(
            f"max({total(here('listo_database_pool_max_connections'), 'instance')})", "may open"
        ),
        span=8,
    ),
    graph(
        "Share of the pools in use",
        "At one, requests wait for a connection, and are answered 503 after five seconds.",
        "percentunit",
        Series(
            total(here("listo_database_pool_in_use_connections"), "instance")
            + " / "
            + total(here("listo_database_pool_max_connections"), "instance"),
            "{{instance}}",
        ),
        span=8,
        steps=SHARE_OF_A_LIMIT,
        top=1,
    ),
    graph(
        "Faults of the database",
        "Statements that PostgreSQL or the way to it failed, by kind. Each was answered 503.",
        "short",
        Series(events(here("listo_database_faults_total"), "kind"), "{{kind}}"),
        span=8,
    ),
)

INSIDE = (
    graph(
        "Passwords waiting",
        "Passwords that wait to be hashed or checked. PASSWORD_HASH_CONCURRENCY are worked on at "
        "once in each process.",
        "short",
        Series(total(here("listo_password_hash_queue"), "instance"), "{{instance}}"),
        span=8,
    ),
    graph(
        "Time for a password",
        "Hashing one password, waiting included. It is slow on purpose; more than a second means a "
        "queue.",
        "s",
        Series(quantile(0.5, here("listo_password_hash_seconds_bucket")), "p50"),
        Series(quantile(0.95, here("listo_password_hash_seconds_bucket")), "p95"),
        span=8,
        steps=((None, GREEN), (1, RED)),
    ),
    graph(
        "Look-ups answered from memory",
        "Share of look-ups of definitions and credentials that needed no statement.",
        "percentunit",
        Series(
            total(rate(here("listo_cache_lookups_total", 'outcome="hit"')), "cache")
            + " / ("
            + total(rate(here("listo_cache_lookups_total")), "cache")
            + " > 0)",
            "{{cache}}",
        ),
        span=8,
        steps=((None, RED), (0.5, YELLOW), (0.9, GREEN)),
        top=1,
    ),
)

REPLICAS = (
    stat(
        "Answers",
        "Whether each replica answers Prometheus.",
        "short",
        Series(f"up{{{HERE}}}", "{{instance}}"),
        span=6,
        steps=MUST_BE_ONE,
        words=UP,
    ),
    stat(
        "Ready",
        "Whether each replica says that it can serve: PostgreSQL reached, migrations applied.",
        "short",
        Series('probe_success{job="ready"}', "{{instance}}"),
        span=6,
        steps=MUST_BE_ONE,
        words=UP,
    ),
    stat(
        "Hears changes",
        "Whether every process of a replica gets PostgreSQL's notifications. If not, it remembers "
        "nothing and asks each time.",
        "short",
        Series(f"min by (instance) ({here('listo_listener_connected')})", "{{instance}}"),
        span=6,
        steps=MUST_BE_ONE,
        words={"0": ("no", RED), "1": ("yes", GREEN)},
    ),
    stat(
        "Collections",
        "Collections that a process of the replica has in memory.",
        "short",
        Series(f"max by (instance) ({here('listo_collections')})", "{{instance}}"),
        span=6,
    ),
    graph(
        "Memory",
        "Memory of the workers of each replica.",
        "bytes",
        Series(total(here("listo_resident_memory_bytes"), "instance"), "{{instance}}"),
        span=6,
    ),
    graph(
        "Up for",
        "Time since each server started. Its workers are replaced now and then, which does not "
        "show.",
        "s",
        Series(
            f"time() - max by (instance) ({here('listo_master_start_time_seconds')})",
            "{{instance}}",
        ),
        span=6,
    ),
    graph(
        "Time to ask for metrics",
        "How long a replica takes to answer /metrics. A busy process shows here first.",
        "s",
        Series(f"scrape_duration_seconds{{{HERE}}}", "{{instance}}"),
        span=6,
    ),
    graph(
        "Idempotency keys",
        "Writes that carried a key, by what became of it.",
        "reqps",
        Series(events(here("listo_idempotency_keys_total"), "outcome"), "{{outcome}}"),
        span=6,
    ),
)

PAGE = Page(
    uid="listo-api",
    title="API",
    text=(
        "The replicas of the API by route: rate, errors, latency, refusals, and what they wait for."
    ),
    rows=(
        ("Requests", REQUESTS),
        ("Refusals", REFUSALS),
        ("Database", DATABASE),
        ("Passwords and memory", INSIDE),
        ("Replicas", REPLICAS),
    ),
    variables=(
        of_labels(
            "replica",
            "Replica",
            "One or several replicas.",
            'label_values(up{job="api"}, instance)',
        ),
        of_labels(
            "route",
            "Route",
            "One or several routes, as templates.",
            'label_values(http_request_duration_seconds_count{job="api"}, handler)',
        ),
    ),
)
