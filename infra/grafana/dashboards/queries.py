"""The queries to Prometheus and Loki, and their datasources, named as in provisioning."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from grafana_foundation_sdk.builders.loki import Dataquery as LokiQuery
from grafana_foundation_sdk.builders.prometheus import Dataquery as PrometheusQuery
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.loki import LokiQueryType
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

if TYPE_CHECKING:
    from collections.abc import Iterable

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
LOKI = DataSourceRef(type_val="loki", uid="loki")

# Leaves out requests that no user sent, as the objectives do (prometheus/rules).
PROBES = 'handler!~"/health|/health/ready|/metrics"'


class Series(NamedTuple):
    """One query; `legend` may name labels: `{{instance}}`."""

    expr: str
    legend: str


def rate(series: str, window: str = "$__rate_interval") -> str:
    return f"rate({series}[{window}])"


def total(expr: str, *labels: str) -> str:
    return f"sum by ({', '.join(labels)}) ({expr})" if labels else f"sum({expr})"


def events(series: str, *labels: str, window: str = "$__rate_interval") -> str:
    """A counter's events per second: 0 before the first event, when the counter has no series."""
    nothing = "vector(0)"
    for label in labels:
        nothing = f'label_replace({nothing}, "{label}", "none", "", "")'
    return f"{total(rate(series, window), *labels)} or on() {nothing}"


def quantile(share: float, histogram: str, *labels: str, window: str = "$__rate_interval") -> str:
    """A quantile of `histogram`, which is given with its selector: `name_bucket{…}`."""
    return f"histogram_quantile({share}, {total(rate(histogram, window), 'le', *labels)})"


def in_prometheus(series: Iterable[Series]) -> list[PrometheusQuery]:
    return [
        PrometheusQuery().datasource(PROMETHEUS).expr(one.expr).legend_format(one.legend).range()
        for one in series
    ]


def now_in_prometheus(series: Iterable[Series], *, table: bool = False) -> list[PrometheusQuery]:
    """Queries for the present value of each series."""
    form = PromQueryFormat.TABLE if table else PromQueryFormat.TIME_SERIES
    return [
        PrometheusQuery()
        .datasource(PROMETHEUS)
        .expr(one.expr)
        .legend_format(one.legend)
        .format(form)
        .instant()
        for one in series
    ]


def in_loki(series: Iterable[Series]) -> list[LokiQuery]:
    return [
        LokiQuery()
        .datasource(LOKI)
        .expr(one.expr)
        .legend_format(one.legend)
        .query_type(LokiQueryType.RANGE)
        .max_lines(500)
        for one in series
    ]
