"""The dashboards without Grafana: the files in git, and the parts that explain each panel."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from prometheus_client import REGISTRY

import app.observability.metrics  # noqa: F401 - registers them
from fixtures.stack_programs import run_program
from infra.grafana.dashboards.__main__ import PAGES, differing

if TYPE_CHECKING:
    from collections.abc import Iterator

GRAFANA = Path(__file__).parents[2] / "infra" / "grafana"
RULES = GRAFANA.parent / "prometheus" / "rules"
# Users keep the addresses of dashboards.
UIDS = {
    "listo-overview", "listo-api", "listo-postgresql", "listo-redis", "listo-nginx", "listo-logs",
    "listo-worker",
}  # fmt: skip
# Metrics of Prometheus itself, of the stack, and of parts that come later.
OTHERS = {
    "up", "ALERTS", "scrape_duration_seconds", "listo_api_replicas_desired",
    "listo_queue_oldest_due_age_seconds", "process_cpu_seconds_total",
    "process_resident_memory_bytes",
}  # fmt: skip
WORDS = {
    "by", "on", "and", "or", "unless", "ignoring", "group_left", "group_right", "without", "bool",
    "offset",
}  # fmt: skip
BUILT_IN = {"__rate_interval", "__range", "__auto", "__url_time_range", "__data", "__field"}

DASHBOARDS = {
    path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "json").glob("*.json"))
}


def panels(*, rows: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    for uid, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            if rows or panel["type"] != "row":
                yield uid, panel


def targets() -> Iterator[tuple[str, dict[str, Any]]]:
    for uid, panel in panels():
        for target in panel["targets"]:
            yield f"{uid}: {panel['title']}", target


def known_metrics() -> set[str]:
    """Metrics of the API, of the exporters (by an earlier answer) and of the recording rules."""
    names = set(OTHERS)
    for metric in REGISTRY.collect():
        names.add(metric.name)
        names |= {f"{metric.name}_{end}" for end in ("total", "bucket", "count", "sum")}
    names |= set(Path(__file__).with_name("exporter_metrics.txt").read_text().split())
    for path in RULES.glob("*.yml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            names |= {rule["record"] for rule in group["rules"] if "record" in rule}
    return names


def metrics_of(expr: str) -> set[str]:
    """Names in an expression that are neither functions, keywords, labels nor strings."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expr)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|on|without|ignoring|group_left|group_right) *\([^)]*\)", "", bare)
    return {
        name
        for name in re.findall(r"(?<![\w:$])[a-zA-Z_][\w:]*(?![\w:]*\s*\()", bare)
        if name not in WORDS
    }


def test_files_are_what_the_code_renders() -> None:
    assert differing() == []


def test_addresses_do_not_change() -> None:
    assert {page.uid for page in PAGES} == set(DASHBOARDS) == UIDS
    for uid, dashboard in DASHBOARDS.items():
        assert dashboard["uid"] == uid


def test_every_dashboard_refreshes_links_and_shows_alerts() -> None:
    for dashboard in DASHBOARDS.values():
        assert dashboard["refresh"] == "30s"
        assert dashboard["description"]
        (link,) = dashboard["links"]
        assert (link["type"], link["tags"], link["keepTime"]) == ("dashboards", ["listo"], True)
        assert dashboard["tags"] == ["listo"]
        (alerts,) = dashboard["annotations"]["list"]
        assert alerts["expr"].startswith("ALERTS{")


def test_every_panel_has_help_a_unit_and_a_title_of_its_own() -> None:
    for uid, panel in panels():
        where = f"{uid}: {panel.get('title')}"
        assert panel["description"].endswith((".", "…")), where
        assert 20 < len(panel["description"]) < 300, where
        assert panel["fieldConfig"]["defaults"]["unit"], where
        assert panel["targets"], where
    for uid, dashboard in DASHBOARDS.items():
        titles = [panel["title"] for panel in dashboard["panels"] if "targets" in panel]
        # A curve may have the name of the number above it.
        assert len(titles) - len(set(titles)) <= 2, uid


def test_every_curve_has_a_legend() -> None:
    for uid, panel in panels():
        if panel["type"] in {"timeseries", "stat", "heatmap"}:
            legends = [target["legendFormat"] for target in panel["targets"]]
            assert all(legends), f"{uid}: {panel['title']}"
            assert len(set(legends)) == len(legends), f"{uid}: {panel['title']}"


def test_datasources_are_those_of_provisioning() -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/listo.yaml").read_text())
    uids = {one["uid"]: one["type"] for one in provisioned["datasources"]}
    for where, target in targets():
        source = target["datasource"]
        assert source["uid"] in {"prometheus", "loki"}, where
        assert uids[source["uid"]] == source["type"], where
    for dashboard in DASHBOARDS.values():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                assert variable["datasource"]["uid"] in uids


def test_panels_lie_side_by_side_without_gaps() -> None:
    for uid, dashboard in DASHBOARDS.items():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, f"{uid}: {panel['title']}"
            assert max(x for x, _ in cells) < 24
            taken |= cells
        assert len({y for _, y in taken}) * 24 == len(taken), uid
        numbers = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(numbers)) == len(numbers)


def test_every_metric_exists_somewhere() -> None:
    known = known_metrics()
    for where, target in targets():
        if target["datasource"]["uid"] == "prometheus":
            unknown = metrics_of(target["expr"]) - known
            assert not unknown, f"{where}: {unknown}"


def test_the_check_of_metrics_sees_them() -> None:
    expr = 'sum by (a, b) (rate(x_total{job="y"}[5m])) / on (c) group_right () (max(slo:z:1h) > 0)'
    assert metrics_of(expr) == {"x_total", "slo:z:1h"}


def test_links_lead_to_dashboards_and_their_variables() -> None:
    for uid, dashboard in DASHBOARDS.items():
        for target, query in re.findall(r"/d/([\w-]+)\?([^\"]*)", json.dumps(dashboard)):
            assert target in DASHBOARDS, uid
            offered = {one["name"] for one in DASHBOARDS[target]["templating"]["list"]}
            assert set(re.findall(r"var-(\w+)=", query)) <= offered, uid


def test_variables_that_are_used_exist() -> None:
    for uid, dashboard in DASHBOARDS.items():
        offered = {one["name"] for one in dashboard["templating"]["list"]}
        queries = " ".join(
            target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
        )
        used = set(re.findall(r"\$\{?([a-z_]\w*)", queries)) - BUILT_IN
        assert used == offered, uid


def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    rules = []
    for number, (_, target) in enumerate(targets()):
        if target["datasource"]["uid"] == "prometheus":
            expr = re.sub(r"\$__(rate_interval|range)", "5m", target["expr"])
            rules.append({"record": f"panel:{number}", "expr": expr})
    path = tmp_path / "panels.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = run_program("promtool", ["check", "rules", str(path)], mounts=[tmp_path])
    assert done.returncode == 0, done.stderr


def test_there_is_no_default_password() -> None:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(GRAFANA / "grafana.ini")
    assert settings["security"]["admin_password"] == "$__file{/run/secrets/grafana_admin_password}"
    assert settings["security"]["secret_key"].startswith("$__file{/run/secrets/")
    assert settings["auth.anonymous"]["enabled"] == "false"
    assert settings["users"]["allow_sign_up"] == "false"


def test_provisioning_finds_the_files() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/listo.yaml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] == "/etc/listo/grafana/json"
    assert provider["allowUiUpdates"] is False
    assert provider["folderUid"] == "listo"
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(GRAFANA / "grafana.ini")
    home = settings["dashboards"]["default_home_dashboard_path"]
    assert (GRAFANA / "json" / Path(home).name).is_file()
    assert settings["paths"]["provisioning"] == "/etc/listo/grafana/provisioning"
