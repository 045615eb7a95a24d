"""The panels that dashboards are made of: each panel has a unit and a line of help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common as build
from grafana_foundation_sdk.builders.dashboard import DashboardLink, FieldColor, ThresholdsConfig
from grafana_foundation_sdk.builders.heatmap import (
    HeatmapColorOptions,
    HeatmapTooltip,
    YAxisConfig,
)
from grafana_foundation_sdk.builders.heatmap import Panel as Heatmap
from grafana_foundation_sdk.builders.logs import Panel as Logs
from grafana_foundation_sdk.builders.prometheus import Dataquery as PrometheusQuery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as Graph
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from infra.grafana.dashboards import queries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.grafana.dashboards.queries import Series

GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"
# A colour applies from its value upwards; None is below every value.
Steps = tuple[tuple[float | None, str], ...]
PLAIN: Steps = ((None, BLUE),)
NONE_IS_WELL: Steps = ((None, GREEN), (1e-9, RED))
MUST_BE_ONE: Steps = ((None, RED), (1, GREEN))
SHARE_OF_A_LIMIT: Steps = ((None, GREEN), (0.7, YELLOW), (0.9, RED))
UP: Mapping[str, tuple[str, str]] = {"0": ("down", RED), "1": ("up", GREEN)}

STAT_HEIGHT, GRAPH_HEIGHT = 4, 8


def _thresholds(steps: Steps) -> ThresholdsConfig:
    return (
        ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=value, color=color) for value, color in steps])
    )


def _mapping(words: Mapping[str, tuple[str, str]]) -> ValueMap:
    return ValueMap(
        options={
            value: ValueMappingResult(text=text, color=color)
            for value, (text, color) in words.items()
        }
    )


def to_dashboard(title: str, url: str) -> DashboardLink:
    return DashboardLink(title).type(DashboardLinkType.LINK).url(url)


def stat(  # noqa: PLR0913 - a panel's facts
    title: str,
    text: str,
    unit: str,
    *series: Series,
    span: int = 4,
    steps: Steps = PLAIN,
    words: Mapping[str, tuple[str, str]] | None = None,
    trend: bool = False,
    decimals: int | None = None,
    by_name: bool = False,
) -> Stat:
    """The present value of each series; `trend` adds its curve, `by_name` shows only its legend."""
    panel = (
        Stat()
        .title(title)
        .description(text)
        .datasource(queries.PROMETHEUS)
        .unit(unit)
        .span(span)
        .height(STAT_HEIGHT)
        .thresholds(_thresholds(steps))
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.AREA if trend else common.BigValueGraphMode.NONE)
        .justify_mode(common.BigValueJustifyMode.AUTO)
        .orientation(common.VizOrientation.AUTO)
        .reduce_options(build.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
    )
    if by_name:
        panel.text_mode(common.BigValueTextMode.NAME)
    elif len(series) > 1 or "{{" in series[0].legend:
        panel.text_mode(common.BigValueTextMode.VALUE_AND_NAME)
    else:
        panel.text_mode(common.BigValueTextMode.VALUE)
    if words is not None:
        panel.mappings([_mapping(words)])
    if decimals is not None:
        panel.decimals(decimals)
    find = queries.in_prometheus if trend else queries.now_in_prometheus
    for query in find(series):
        panel.with_target(query)
    return panel


def graph(  # noqa: PLR0913 - a panel's facts
    title: str,
    text: str,
    unit: str,
    *series: Series,
    span: int = 12,
    steps: Steps | None = None,
    stacked: bool = False,
    top: float | None = None,
    least: float | None = 0,
    link: DashboardLink | None = None,
    logs: bool = False,
) -> Graph:
    """Curves over time; `steps` are drawn as lines, `top` fixes the axis."""
    panel = (
        Graph()
        .title(title)
        .description(text)
        .datasource(queries.LOKI if logs else queries.PROMETHEUS)
        .unit(unit)
        .span(span)
        .height(GRAPH_HEIGHT)
        .line_width(1)
        .fill_opacity(30 if stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
        .tooltip(
            build.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
        .legend(
            build.VizLegendOptions()
            .show_legend(show_legend=True)
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .calcs(["mean", "max", "lastNotNull"])
        )
    )
    if least is not None:
        panel.axis_soft_min(least)
    if top is not None:
        panel.max(top)
    if stacked:
        panel.stacking(build.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if steps is not None:
        panel.thresholds(_thresholds(steps)).thresholds_style(
            build.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    if link is not None:
        panel.data_links([link])
    for query in queries.in_loki(series) if logs else queries.in_prometheus(series):
        panel.with_target(query)
    return panel


def heat(title: str, text: str, series: Series, *, unit: str = "s", span: int = 12) -> Heatmap:
    """The number of observations in each bucket of a histogram."""
    return (
        Heatmap()
        .title(title)
        .description(text)
        .datasource(queries.PROMETHEUS)
        .span(span)
        .height(GRAPH_HEIGHT)
        .calculate(calculate=False)
        .y_axis(YAxisConfig().unit(unit))
        .unit("short")
        .color(HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .tooltip(
            HeatmapTooltip().mode(common.TooltipDisplayMode.SINGLE).y_histogram(y_histogram=True)
        )
        .with_target(
            PrometheusQuery()
            .datasource(queries.PROMETHEUS)
            .expr(series.expr)
            .legend_format(series.legend)
            .format(PromQueryFormat.HEATMAP)
            .range()
        )
    )


class Column:
    """A column of a table: a label, or the value of the query that `value` numbers."""

    def __init__(  # noqa: PLR0913 - a column's facts
        self,
        title: str,
        *,
        label: str | None = None,
        value: int = 0,
        unit: str | None = None,
        steps: Steps | None = None,
        width: int | None = None,
        link: tuple[str, str] | None = None,
        zero: str | None = None,
    ) -> None:
        self.title, self.unit, self.steps, self.width, self.link = title, unit, steps, width, link
        self.zero = zero
        self._label, self._value = label, value

    def field(self, queries_in_all: int) -> str:
        """The name of the field before it is renamed."""
        if self._label is not None:
            return self._label
        return f"Value #{chr(ord('A') + self._value)}" if queries_in_all > 1 else "Value"

    def properties(self) -> list[DynamicConfigValue]:
        found: list[DynamicConfigValue] = []
        if self.unit is not None:
            found.append(DynamicConfigValue(id_val="unit", value=self.unit))
        if self.width is not None:
            found.append(DynamicConfigValue(id_val="custom.width", value=self.width))
        if self.steps is not None:
            found.append(
                DynamicConfigValue(id_val="thresholds", value=_thresholds(self.steps).build())
            )
            found.append(
                DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"})
            )
        if self.zero is not None:
            words = _mapping({"0": (self.zero, "text")})
            found.append(DynamicConfigValue(id_val="mappings", value=[words]))
        if self.link is not None:
            title, url = self.link
            found.append(DynamicConfigValue(id_val="links", value=[{"title": title, "url": url}]))
        return found


def table(
    title: str,
    text: str,
    columns: tuple[Column, ...],
    *series: Series,
    span: int = 24,
    sort: str | None = None,
) -> Table:
    """A row for each set of labels, with the values of all queries side by side."""
    names = {column.field(len(series)): column.title for column in columns}
    panel = (
        Table()
        .title(title)
        .description(text)
        .datasource(queries.PROMETHEUS)
        .unit("short")
        .span(span)
        .height(GRAPH_HEIGHT)
        .filterable(filterable=True)
        .with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            DataTransformerConfig(
                id_val="filterFieldsByName", options={"include": {"names": list(names)}}
            )
        )
        .with_transformation(
            DataTransformerConfig(
                id_val="organize",
                options={
                    "renameByName": names,
                    "indexByName": {name: place for place, name in enumerate(names)},
                    "excludeByName": {},
                },
            )
        )
    )
    for column in columns:
        if properties := column.properties():
            panel.override_by_name(column.title, properties)
    if sort is not None:
        panel.sort_by([build.TableSortByFieldState().display_name(sort).desc(desc=True)])
    for place, query in enumerate(queries.now_in_prometheus(series, table=True)):
        panel.with_target(query.ref_id(chr(ord("A") + place)))
    return panel


def lines(title: str, text: str, expr: str, *, span: int = 24, height: int = 12) -> Logs:
    """Log lines, the newest first."""
    panel = (
        Logs()
        .title(title)
        .description(text)
        .datasource(queries.LOKI)
        .unit("short")
        .span(span)
        .height(height)
        .show_time(show_time=True)
        .wrap_log_message(wrap_log_message=False)
        .enable_log_details(enable_log_details=True)
        .sort_order(common.LogsSortOrder.DESCENDING)
        .dedup_strategy(common.LogsDedupStrategy.NONE)
    )
    for query in queries.in_loki([queries.Series(expr, "")]):
        panel.with_target(query)
    return panel
