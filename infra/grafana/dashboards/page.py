"""A dashboard: rows of panels, links to the other dashboards, alerts as annotations."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    CustomVariable,
    Dashboard,
    DashboardLink,
    QueryVariable,
    Row,
    TextBoxVariable,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from infra.grafana.dashboards import queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel, VariableModel

TAG = "listo"
WIDTH = 24


@dataclass(frozen=True)
class Page:
    """One dashboard; `uid` is part of addresses that people keep, so it never changes."""

    uid: str
    title: str
    text: str
    rows: Sequence[tuple[str, Sequence[Builder[Panel]]]]
    variables: Sequence[Builder[VariableModel]] = field(default=())
    since: str = "now-1h"

    def rendered(self) -> str:
        """The file that Grafana reads. Raises ValueError if a row's panels leave a gap."""
        page = (
            Dashboard(self.title)
            .uid(self.uid)
            .description(self.text)
            .tags([TAG])
            .timezone("browser")
            .refresh("30s")
            .time(self.since, "now")
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .readonly()
            .link(_dashboards_link())
            .annotation(_alert_annotations())
        )
        for variable in self.variables:
            page.with_variable(variable)
        for title, panels in self.rows:
            page.with_row(Row(title))
            for panel in panels:
                page.with_panel(panel)
        content: dict[str, Any] = json.loads(json.dumps(page.build(), cls=JSONEncoder))
        # Without a placement the links are visible; the library's only placement is a menu.
        for part in (*content["links"], *content["annotations"]["list"]):
            del part["placement"]
        content["templating"].setdefault("list", [])
        for number, panel_json in enumerate(content["panels"], 1):
            panel_json["id"] = number
        _check_layout(self.title, content["panels"])
        return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _check_layout(title: str, panels: list[dict[str, Any]]) -> None:
    lines: dict[int, int] = {}
    for panel in panels:
        place = panel["gridPos"]
        lines[place["y"]] = lines.get(place["y"], 0) + place["w"]
    if odd := {y: width for y, width in lines.items() if width != WIDTH}:
        raise ValueError(f"{title}: panels do not fill the lines {odd}")


def _dashboards_link() -> DashboardLink:
    return (
        DashboardLink("Listo")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(as_dropdown=False)
        .include_vars(include_vars=False)
        .keep_time(keep_time=True)
    )


def _alert_annotations() -> AnnotationQuery:
    return (
        AnnotationQuery()
        .name("Alerts")
        .datasource(queries.PROMETHEUS)
        .enable(enable=True)
        .icon_color("red")
        .expr('ALERTS{alertstate="firing", severity=~"page|ticket"}')
        .step("30s")
        .title_format("{{alertname}}")
        .text_format("{{severity}} {{job}} {{instance}}")
        .tag_keys("severity")
    )


def of_labels(name: str, label: str, text: str, query: str) -> QueryVariable:
    """A choice of a label's values in Prometheus: a single value, several, or by default all."""
    return (
        QueryVariable(name)
        .label(label)
        .description(text)
        .datasource(queries.PROMETHEUS)
        .query({"query": query, "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def of_stream(name: str, label: str, text: str) -> QueryVariable:
    """A choice of values of a label in Loki."""
    return (
        of_labels(name, label, text, "")
        .datasource(queries.LOKI)
        .query({"label": name, "stream": "", "type": 1, "refId": name})
        .all_value(".+")
    )


def of_words(name: str, label: str, text: str, words: Sequence[str]) -> CustomVariable:
    return (
        CustomVariable(name)
        .label(label)
        .description(text)
        .values(", ".join(words))
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".+")
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def typed(name: str, label: str, text: str) -> TextBoxVariable:
    """A text box, empty at first."""
    return (
        TextBoxVariable(name)
        .label(label)
        .description(text)
        .default_value("")
        .current(VariableOption(selected=True, text="", value=""))
    )
