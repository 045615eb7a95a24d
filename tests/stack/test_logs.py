"""Lines on their way from every service through the shipper into Loki, asked for by Grafana.

The tests need images of Grafana, Loki and Fluent Bit; the stack of Debian packages has none.
"""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from fixtures.stack import SECRETS
from infra.stack import compose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixtures.stack import Stack

FILES = Path(__file__).parents[2] / "infra" / "grafana" / "json"
PARTS = ("grafana", "loki", "fluent-bit")
PATIENCE = 60.0
VARIABLES = {
    "$__auto": "1m",
    "$service": ".+",
    "$level": ".+",
    "$request_id": "",
    "$trace_id": "",
    "$route": "",
    "$search": "",
}
# Panels of events that are rare, or should be absent.
SELDOM = {"Tried on another replica", "Warnings and errors of nginx", "Warnings and errors"}


@pytest.fixture(scope="module", autouse=True)
def _parts(stack: Stack) -> None:
    missing = [name for name in PARTS if not stack.containers(name)]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here: their images need a registry")


@pytest.fixture(scope="module")
def grafana() -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"http://127.0.0.1:{compose.setting('GRAFANA_PORT', '3000')}",
        auth=("admin", (SECRETS / "grafana_admin_password").read_text().strip()),
        trust_env=False,
        timeout=30,
    ) as client:
        yield client


def find(grafana: httpx.Client, query: str) -> list[dict[str, Any]]:
    """Streams or series of the last ten minutes."""
    now = time.time_ns()
    answer = grafana.get(
        "/api/datasources/proxy/uid/loki/loki/api/v1/query_range",
        params={
            "query": query, "start": now - 600 * 10**9, "end": now, "limit": 1000, "step": 15,
        },
    )  # fmt: skip
    assert answer.status_code == 200, f"{query}: {answer.text}"
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return result


def soon(find_it: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """The first result of `find_it` that is not empty; otherwise its last one."""
    deadline = time.monotonic() + patience
    while not (found := find_it()) and time.monotonic() < deadline:
        time.sleep(1)
    return found


def test_a_request_is_found_by_its_id_from_nginx_to_the_api(
    stack: Stack, grafana: httpx.Client
) -> None:
    request_id = f"log-{uuid4().hex}"
    with stack.client() as client:
        client.get("/collections/none/records", headers={"X-Request-ID": request_id})

    def services() -> set[str]:
        streams = find(grafana, f'{{service=~".+"}} | request_id="{request_id}"')
        found = {stream["stream"]["service"] for stream in streams}
        return found if found >= {"nginx", "api"} else set()

    assert soon(services) >= {"nginx", "api"}


def test_lines_are_stored_as_they_were_written(stack: Stack, grafana: httpx.Client) -> None:
    request_id = f"log-{uuid4().hex}"
    with stack.client() as client:
        client.get("/collections/none/records", headers={"X-Request-ID": request_id})
    query = f'{{service="api"}} | request_id="{request_id}"'
    streams = soon(lambda: find(grafana, query))
    lines = [json.loads(value[1]) for stream in streams for value in stream["values"]]
    assert [line["request_id"] for line in lines] == [request_id]
    assert lines[0]["route"] == "/collections/{collection}/records"


def test_every_service_has_lines(stack: Stack, grafana: httpx.Client) -> None:
    wanted = {"api", "worker", "nginx", "postgres", "redis", "prometheus", "alertmanager"}

    def services() -> set[str]:
        answer = grafana.get("/api/datasources/proxy/uid/loki/loki/api/v1/label/service/values")
        found = set(answer.json().get("data") or ())
        return found if found >= wanted else set()

    assert soon(services) >= wanted


def test_labels_are_service_and_level(grafana: httpx.Client) -> None:
    labels = grafana.get("/api/datasources/proxy/uid/loki/loki/api/v1/labels").json()["data"]
    assert set(labels) == {"service", "level"}
    values = grafana.get("/api/datasources/proxy/uid/loki/loki/api/v1/label/level/values").json()
    assert set(values["data"]) <= {"debug", "info", "warning", "error", "critical", "unknown"}


def test_none_of_many_lines_is_lost_while_loki_is_away(stack: Stack, grafana: httpx.Client) -> None:
    prefix = f"log-{uuid4().hex[:12]}"
    (loki,) = stack.containers("loki")
    stack.docker("pause", loki["ID"])
    try:
        with stack.admin() as client:
            for number in range(300):
                name = f"{prefix}-{number:04d}"
                client.get("/collections/none/records", headers={"X-Request-ID": name})
    finally:
        stack.docker("unpause", loki["ID"])
    query = f'{{service="api"}} | request_id=~"{prefix}-.*"'

    def all_there() -> int:
        found = {
            json.loads(value[1])["request_id"]
            for stream in find(grafana, query)
            for value in stream["values"]
        }
        return len(found) if len(found) == 300 else 0

    assert soon(all_there, patience=120) == 300
    dropped = stack.query("sum(fluentbit_output_dropped_records_total)")
    assert [one["value"][1] for one in dropped] in ([], ["0"])


def test_the_dashboards_are_there(grafana: httpx.Client) -> None:
    for path in FILES.glob("*.json"):
        answer = grafana.get(f"/api/dashboards/uid/{path.stem}")
        assert answer.status_code == 200, path.stem
        assert answer.json()["meta"]["provisioned"] is True
        assert answer.json()["meta"]["folderUid"] == "listo"


def test_the_datasources_are_well(grafana: httpx.Client) -> None:
    for uid in ("prometheus", "loki"):
        answer = grafana.get(f"/api/datasources/uid/{uid}/health")
        assert answer.json()["status"] == "OK", answer.text


def test_nobody_gets_in_by_a_default_password(grafana: httpx.Client) -> None:
    for auth in (("admin", "admin"), ("admin", ""), None):
        answer = httpx.get(f"{grafana.base_url}/api/org", auth=auth, trust_env=False)
        assert answer.status_code == 401, auth


def test_every_panel_of_logs_has_data(stack: Stack, grafana: httpx.Client) -> None:
    with stack.client() as client:
        for _ in range(5):
            client.get("/collections/none/records")
    for path in sorted(FILES.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                if target["datasource"]["uid"] != "loki":
                    continue
                query = target["expr"]
                for name, value in VARIABLES.items():
                    query = query.replace(name, value)
                found = soon(
                    partial(find, grafana, query),
                    patience=0 if panel["title"] in SELDOM else PATIENCE,
                )
                assert found or panel["title"] in SELDOM, f"{path.stem}: {panel['title']}"
