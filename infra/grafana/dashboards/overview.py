"""Whether Listo is well, and if not, the part that fails."""

from __future__ import annotations

from infra.grafana.dashboards.page import Page
from infra.grafana.dashboards.panels import (
    GREEN,
    MUST_BE_ONE,
    NONE_IS_WELL,
    RED,
    SHARE_OF_A_LIMIT,
    UP,
    YELLOW,
    Column,
    Steps,
    graph,
    stat,
    table,
)
from infra.grafana.dashboards.queries import PROBES, Series, quantile, rate, total

COUNT = f'http_request_duration_seconds_count{{job="api", {PROBES}}}'
FAILED = f'http_request_duration_seconds_count{{job="api", {PROBES}, status=~"5.."}}'
BUCKET = f'http_request_duration_seconds_bucket{{job="api", {PROBES}}}'
LOGS_OF_ROUTE = "/d/listo-logs?var-route=${__data.fields.Route:percentencode}&${__url_time_range}"
BUDGET: Steps = ((None, RED), (0, YELLOW), (0.25, GREEN))
# At 1 the budget of 30 days lasts 30 days; at 14.4 somebody is paged.
BURN: Steps = ((None, GREEN), (1, YELLOW), (14.4, RED))

WELL = (
    stat(
        "Public endpoint",
        "Whether /health answers 200 over TLS through nginx, as a client would ask it.",
        "short",
        Series('min(probe_success{job="blackbox"})', "endpoint"),
        steps=MUST_BE_ONE,
        words=UP,
    ),
    stat(
        "Replicas of the API",
        "Wanted, answering /metrics, and ready by /health/ready. Fewer ready than wanted: see the "
        "alerts below.",
        "short",
        Series('max(listo_api_replicas_desired) or count(up{job="api"})', "wanted"),
        Series('sum(up{job="api"})', "answer"),
        Series('sum(probe_success{job="ready"})', "ready"),
        span=6,
        steps=((None, RED), (1, GREEN)),
    ),
    stat(
        "Alerts",
        "Alerts that fire now and want somebody: pages and tickets. The table below names them.",
        "short",
        Series('count(ALERTS{alertstate="firing", severity="page"}) or vector(0)', "page"),
        Series('count(ALERTS{alertstate="firing", severity="ticket"}) or vector(0)', "ticket"),
        span=5,
        steps=NONE_IS_WELL,
    ),
    stat(
        "Requests",
        "Requests a second, probes and metrics left out.",
        "reqps",
        Series(total(rate(COUNT)), "requests"),
        trend=True,
        span=3,
    ),
    stat(
        "Failed",
        "Share of requests answered 5xx. The objective is at most 0.1 % over 30 days.",
        "percentunit",
        Series(f"({total(rate(FAILED))} or vector(0)) / ({total(rate(COUNT))} > 0)", "failed"),
        trend=True,
        span=3,
        steps=((None, GREEN), (0.001, YELLOW), (0.0144, RED)),
        decimals=2,
    ),
    stat(
        "Slowest 5 %",
        "Time within which 95 of 100 requests are answered, over all routes.",
        "s",
        Series(quantile(0.95, BUCKET), "p95"),
        trend=True,
        span=3,
        steps=((None, GREEN), (0.25, YELLOW), (0.5, RED)),
    ),
)

PARTS = (
    stat(
        "Parts",
        "Whether Prometheus reaches each part. The exporters stand for what they measure; whether "
        "PostgreSQL and Redis answer them is said in their own words.",
        "short",
        Series(
            'min by (job) (up{job!~"api|ready|postgres|redis|nginx"})',
            "{{job}}",
        ),
        Series("min(nginx_up)", "nginx"),
        Series("min(pg_up)", "PostgreSQL"),
        Series("min(redis_up)", "Redis"),
        span=18,
        steps=MUST_BE_ONE,
        words=UP,
    ),
    stat(
        "Certificate",
        "Time until the certificate that nginx serves expires. It is renewed in its last third.",
        "s",
        Series('min(probe_ssl_earliest_cert_expiry{job="blackbox"}) - time()', "left"),
        span=6,
        steps=((None, RED), (3 * 86400, YELLOW), (14 * 86400, GREEN)),
        decimals=1,
    ),
)

ALERTS = (
    table(
        "Firing alerts",
        "All that fires now. Watchdog always does: it proves that alerts get through. What to do "
        "is "
        "in docs/runbooks, by the alert's name.",
        (
            Column("Severity", label="severity", width=120),
            Column("Alert", label="alertname", width=260),
            Column("Job", label="job", width=140),
            Column("Instance", label="instance"),
        ),
        Series('ALERTS{alertstate="firing"}', "{{alertname}}"),
    ),
)

OBJECTIVES = (
    stat(
        "Budget left: availability",
        "What is left of the requests that may fail in 30 days (0.1 %). Below zero the objective "
        "is missed.",
        "percentunit",
        Series("slo:availability_budget:remaining30d", "left"),
        span=6,
        steps=BUDGET,
        decimals=1,
    ),
    stat(
        "Budget left: latency",
        "What is left of the requests that may take longer than 0.5 s in 30 days (1 %). Batches, "
        "exports and changes of collections do not count.",
        "percentunit",
        Series("slo:latency_budget:remaining30d", "left"),
        span=6,
        steps=BUDGET,
        decimals=1,
    ),
    stat(
        "Burn rate: availability",
        "How fast the last hour spends the budget: 1 is exactly used up in 30 days, 14.4 pages.",
        "short",
        Series("slo:availability_errors:ratio1h / 0.001", "burn"),
        span=6,
        steps=BURN,
        decimals=2,
    ),
    stat(
        "Burn rate: latency",
        "How fast the last hour spends the budget of slow requests.",
        "short",
        Series("slo:latency_errors:ratio1h / 0.01", "burn"),
        span=6,
        steps=BURN,
        decimals=2,
    ),
    graph(
        "Burn rate, availability",
        "Failed requests, as multiples of what 30 days allow. An alert needs a long and a short "
        "window above its line.",
        "short",
        Series("slo:availability_errors:ratio5m / 0.001", "5 minutes"),
        Series("slo:availability_errors:ratio1h / 0.001", "1 hour"),
        Series("slo:availability_errors:ratio6h / 0.001", "6 hours"),
        steps=BURN,
    ),
    graph(
        "Burn rate, latency",
        "Requests slower than 0.5 s, as multiples of what 30 days allow.",
        "short",
        Series("slo:latency_errors:ratio5m / 0.01", "5 minutes"),
        Series("slo:latency_errors:ratio1h / 0.01", "1 hour"),
        Series("slo:latency_errors:ratio6h / 0.01", "6 hours"),
        steps=BURN,
    ),
)

TRAFFIC = (
    graph(
        "Requests by replica",
        "Each replica's share. Even shares are the rule; one that stands out is slow or new.",
        "reqps",
        Series(total(rate(COUNT), "instance"), "{{instance}}"),
        stacked=True,
    ),
    graph(
        "Answers by status",
        "All answers of the API by their class. 4xx are the clients' own, 5xx ours.",
        "reqps",
        Series(
            "sum by (class) (label_replace(" + rate(COUNT) + ', "class", "${1}xx", "status", '
            '"(.).."))',
            "{{class}}",
        ),
        stacked=True,
    ),
    table(
        "Top routes",
        "The ten routes with the most requests in the time shown. A click on a route shows its log "
        "lines.",
        (
            Column("Method", label="method", width=90),
            Column("Route", label="handler", link=("Log lines", LOGS_OF_ROUTE)),
            Column("Requests", value=0, unit="reqps", width=130),
            Column(
                "Failed", value=1, unit="percentunit", width=110,
                steps=((None, GREEN), (0.001, YELLOW), (0.01, RED)),
            ),
            Column(
                "p95", value=2, unit="s", width=110,
                steps=((None, GREEN), (0.25, YELLOW), (0.5, RED)),
            ),
        ),
        Series(f"topk(10, {total(rate(COUNT, '$__range'), 'method', 'handler')})", ""),
        Series(
            f"({total(rate(FAILED, '$__range'), 'method', 'handler')} or "
            f"0 * {total(rate(COUNT, '$__range'), 'method', 'handler')}) / "
            f"{total(rate(COUNT, '$__range'), 'method', 'handler')} and "
            f"topk(10, {total(rate(COUNT, '$__range'), 'method', 'handler')})",
            "",
        ),
        Series(
            f"{quantile(0.95, BUCKET, 'method', 'handler', window='$__range')} and "
            f"topk(10, {total(rate(COUNT, '$__range'), 'method', 'handler')})",
            "",
        ),
        sort="Requests",
    ),
)  # fmt: skip

ROOM = (
    graph(
        "Host: processors and memory",
        "Share of the host's processor time and memory that is in use.",
        "percentunit",
        Series(
            '1 - avg(rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))', "processors"
        ),
        Series("1 - min(node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)", "memory"),
        span=8,
        steps=SHARE_OF_A_LIMIT,
        top=1,
    ),
    graph(
        "Host: disks",
        "Share of each file system that is used. PostgreSQL stops when its own is full.",
        "percentunit",
        Series("1 - device:node_filesystem_avail:ratio", "{{device}}"),
        span=8,
        steps=SHARE_OF_A_LIMIT,
        top=1,
    ),
    graph(
        "Waiting for the host",
        "Share of the time in which something waited for processors, memory or disks "
        "(pressure stall information).",
        "percentunit",
        Series(rate("node_pressure_cpu_waiting_seconds_total"), "processors"),
        Series(rate("node_pressure_memory_waiting_seconds_total"), "memory"),
        Series(rate("node_pressure_io_waiting_seconds_total"), "disks"),
        span=8,
    ),
)

PAGE = Page(
    uid="listo-overview",
    title="Overview",
    text="Is it well, and if not, what is it? From here a dashboard of each part leads on.",
    rows=(
        ("Is it well?", WELL),
        ("Parts", PARTS),
        ("What is it?", ALERTS),
        ("Objectives", OBJECTIVES),
        ("Traffic", TRAFFIC),
        ("Room", ROOM),
    ),
)
