"""nginx, TLS, and the public endpoint as a client meets it."""

from __future__ import annotations

from infra.grafana.dashboards.page import Page
from infra.grafana.dashboards.panels import (
    GREEN,
    MUST_BE_ONE,
    RED,
    UP,
    YELLOW,
    Column,
    graph,
    stat,
    table,
)
from infra.grafana.dashboards.queries import Series, rate

EDGE = '{job="blackbox"}'
ACCESS = '{service="nginx"} |= `"logger":"nginx.access"`'

STATE = (
    stat(
        "nginx",
        "Whether nginx shows its status to the exporter.",
        "short",
        Series("min(nginx_up)", "nginx"),
        steps=MUST_BE_ONE,
        words=UP,
    ),
    stat(
        "Public endpoint",
        "Whether /health answers 200 over TLS.",
        "short",
        Series(f"min(probe_success{EDGE})", "endpoint"),
        steps=MUST_BE_ONE,
        words=UP,
    ),
    stat(
        "Answered probes",
        "Share of the probes in the time shown that were answered.",
        "percentunit",
        Series(f"min(avg_over_time(probe_success{EDGE}[$__range]))", "answered"),
        steps=((None, RED), (0.99, YELLOW), (0.999, GREEN)),
        decimals=2,
    ),
    stat(
        "Certificate",
        "Time until the certificate that is served expires.",
        "s",
        Series(f"min(probe_ssl_earliest_cert_expiry{EDGE}) - time()", "left"),
        steps=((None, RED), (3 * 86400, YELLOW), (14 * 86400, GREEN)),
        decimals=1,
    ),
    stat(
        "TLS",
        "The version of TLS that the probe and nginx agreed on.",
        "short",
        Series(f"probe_tls_version_info{EDGE}", "{{version}}"),
        by_name=True,
    ),
    stat(
        "Answer of the probe",
        "The status that the last probe got.",
        "none",
        Series(f"max(probe_http_status_code{EDGE})", "status"),
        steps=((None, RED), (200, GREEN), (300, RED)),
    ),
)

CONNECTIONS = (
    graph(
        "Requests",
        "Requests that nginx took, probes and refused ones included.",
        "reqps",
        Series(f"sum({rate('nginx_http_requests_total')})", "requests"),
        span=8,
    ),
    graph(
        "Connections",
        "Waiting ones are kept open for a client's next request. Reading: a request's head comes "
        "in. "
        "Writing: an answer is awaited or goes out.",
        "short",
        Series("sum(nginx_connections_reading)", "reading"),
        Series("sum(nginx_connections_writing)", "writing"),
        Series("sum(nginx_connections_waiting)", "waiting"),
        span=8,
        stacked=True,
    ),
    graph(
        "New connections",
        "Accepted connections, and those dropped because worker_connections was reached.",
        "ops",
        Series(f"sum({rate('nginx_connections_accepted')})", "accepted"),
        Series(
            f"sum({rate('nginx_connections_accepted')}) - sum({rate('nginx_connections_handled')})",
            "dropped",
        ),
        span=8,
    ),
)

PROBE = (
    graph(
        "Phases of the probe",
        "Where a request's time goes: finding the address, connecting, TLS, the API's work, the "
        "answer.",
        "s",
        Series(f"sum by (phase) (probe_http_duration_seconds{EDGE})", "{{phase}}"),
        stacked=True,
    ),
    graph(
        "Readiness as seen from outside",
        "Whether each replica answers 200 at /health/ready, asked by the prober.",
        "short",
        Series('probe_success{job="ready"}', "{{instance}}"),
        top=1,
    ),
    table(
        "Certificate",
        "The certificate in use. A renewal changes its serial and drops no connection.",
        (
            Column("Subject", label="subject"),
            Column("Issuer", label="issuer"),
            Column("Names", label="subjectalternative"),
            Column("Serial", label="serialnumber"),
            Column("Expires", value=1, unit="dateTimeAsIso", width=200),
        ),
        Series(f"probe_ssl_last_chain_info{EDGE}", ""),
        Series(
            f"1000 * probe_ssl_earliest_cert_expiry{EDGE} * on (instance) group_right () "
            f"probe_ssl_last_chain_info{EDGE}",
            "",
        ),
    ),
)

LOG = (
    graph(
        "Answers by status",
        "All responses by status class, including those that nginx gave itself. Source: access "
        "log.",
        "reqps",
        Series(
            f"sum by (class) (rate({ACCESS} | json status=`status` | label_format "
            "class=`{{substr 0 1 .status}}xx` | __error__=`` [$__auto]))",
            "{{class}}",
        ),
        stacked=True,
        logs=True,
    ),
    graph(
        "Time until answered",
        "Time from a request's first byte to its response's last, as 50th, 95th and 99th "
        "percentiles. Source: access log.",
        "s",
        *(
            Series(
                f"quantile_over_time({share}, {ACCESS} | json seconds=`seconds` | unwrap seconds | "
                "__error__=`` [$__auto]) by (service)",
                name,
            )
            for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
        ),
        logs=True,
    ),
    graph(
        "Tried on another replica",
        "Requests that a second replica answered, because the first did not: from the access log.",
        "reqps",
        Series(
            f"sum(rate({ACCESS} | json upstream=`upstream` | upstream=~`.+,.+` [$__auto]))",
            "tried again",
        ),
        logs=True,
    ),
    graph(
        "Warnings and errors of nginx",
        "Lines of nginx' error log, by level.",
        "short",
        Series(
            'sum by (level) (rate({service="nginx", level=~"warning|error|critical"} '
            '!= `"logger":"nginx.access"` [$__auto]))',
            "{{level}}",
        ),
        logs=True,
    ),
)

PAGE = Page(
    uid="listo-nginx",
    title="nginx and TLS",
    text="The edge: connections, the certificate, and how a client meets the public endpoint.",
    rows=(("State", STATE), ("Connections", CONNECTIONS), ("Probe", PROBE), ("Access log", LOG)),
)
