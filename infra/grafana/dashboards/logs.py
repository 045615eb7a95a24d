"""Logs in Loki: by service, by request, by route."""

from __future__ import annotations

from infra.grafana.dashboards.page import Page, of_stream, of_words, typed
from infra.grafana.dashboards.panels import graph, lines
from infra.grafana.dashboards.queries import Series

CHOSEN = '{service=~"$service", level=~"$level"}'
# A request's id goes from nginx to the API; PostgreSQL's lines do not have it.
OF_REQUEST = "| request_id=~`$request_id.*` | trace_id=~`$trace_id.*`"
ACCESS = '{service="api"} |= `"logger":"listo.access"` |= `"route":"$route`'

AMOUNT = (
    graph(
        "Lines by service",
        "Lines a second. A service that falls silent is down, or its lines do not arrive.",
        "short",
        Series(f"sum by (service) (rate({CHOSEN} [$__auto]))", "{{service}}"),
        span=8,
        stacked=True,
        logs=True,
    ),
    graph(
        "Warnings and errors",
        "Lines a second of the levels warning, error and critical, by service.",
        "short",
        Series(
            'sum by (service, level) (rate({service=~"$service", level=~"warning|error|critical"} '
            "[$__auto]))",
            "{{service}} {{level}}",
        ),
        span=8,
        stacked=True,
        logs=True,
    ),
    graph(
        "Bytes by service",
        "What Loki takes in, before it is compressed. The limit is 1 MB a second.",
        "Bps",
        Series(f"sum by (service) (bytes_rate({CHOSEN} [$__auto]))", "{{service}}"),
        span=8,
        stacked=True,
        logs=True,
    ),
)

LINES = (
    lines(
        "Lines",
        "Lines of the chosen services and levels. With a request id only that request's, of nginx "
        "and the API. Open a line to see its fields and to go on by its request id.",
        f"{CHOSEN} {OF_REQUEST} |~ `(?i)$search`",
    ),
)

ROUTE = (
    graph(
        "Slowest routes",
        "Time of 95 of 100 requests by route, from the API's access log.",
        "ms",
        Series(
            f"topk(10, quantile_over_time(0.95, {ACCESS} | json route=`route`, ms=`ms` | unwrap ms "
            f"| "
            "__error__=`` [$__auto]) by (route))",
            "{{route}}",
        ),
        logs=True,
    ),
    graph(
        "Answers by status",
        "Requests of the route a second, by status.",
        "reqps",
        Series(
            f"sum by (status) (rate({ACCESS} | json status=`status` | __error__=`` [$__auto]))",
            "{{status}}",
        ),
        stacked=True,
        logs=True,
    ),
    lines(
        "Requests of the route",
        "Access lines of the API whose route begins as typed above, /collections/{collection} say. "
        "The panels of the dashboard API lead here.",
        f"{ACCESS} {OF_REQUEST}",
    ),
)

PAGE = Page(
    uid="listo-logs",
    title="Logs",
    text="Lines of all services, found by service, level, request id, trace id, route or words.",
    rows=(("How many", AMOUNT), ("Lines", LINES), ("By route", ROUTE)),
    variables=(
        of_stream("service", "Service", "Whose lines."),
        of_words(
            "level",
            "Level",
            "Levels as the shipper names them.",
            ("debug", "info", "warning", "error", "critical", "unknown"),
        ),
        typed(
            "request_id", "Request id", "How the id begins: the header X-Request-ID of an answer."
        ),
        typed("trace_id", "Trace id", "How the id begins: the second part of traceparent."),
        typed("route", "Route", "How the route begins, as a template."),
        typed("search", "Search", "A regular expression, upper and lower case alike."),
    ),
)
