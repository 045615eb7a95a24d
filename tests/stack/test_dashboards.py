"""Every panel's query, run against the stack's Prometheus, returns data.

The queries are those of the files that Grafana reads. test_logs.py runs the panels that ask Loki,
where the stack has Loki.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.stack import Stack

FILES = Path(__file__).parents[2] / "infra" / "grafana" / "json"
# The budgets are recorded every five minutes; all else is there after two scrapes.
PATIENCE = 420
# Panels whose data comes from a missing part, with the reason.
LATER = {("listo-worker", "Oldest due work"): "webhooks and jobs, which fill queues, come later"}
VARIABLES = {
    "$__rate_interval": "1m",
    "$__range": "10m",
    "$__interval": "30s",
    "$replica": ".*",
    "$route": ".*",
}


class Query(NamedTuple):
    """One query of one panel."""

    page: str
    panel: str
    expr: str
    instant: bool

    @property
    def name(self) -> str:
        return f"{self.page}: {self.panel}: {self.expr}"


def queries() -> list[Query]:
    """Every query to Prometheus in the files, variables filled in as Grafana does."""
    found = []
    for path in sorted(FILES.glob("*.json")):
        page = json.loads(path.read_text())
        for panel in page["panels"]:
            if (page["uid"], panel["title"]) in LATER:
                continue
            for target in panel.get("targets", ()):
                if target["datasource"]["uid"] == "prometheus":
                    expr = target["expr"]
                    for name, value in VARIABLES.items():
                        expr = expr.replace(name, value)
                    instant = target.get("instant", False)
                    found.append(Query(page["uid"], panel["title"], expr, instant))
    return found


def ask(client: httpx.Client, query: Query) -> list[dict[str, Any]]:
    """The series of a query. Raises AssertionError if Prometheus refuses it."""
    if query.instant:
        response = client.get("/api/v1/query", params={"query": query.expr})
    else:
        now = time.time()
        response = client.get(
            "/api/v1/query_range",
            params={"query": query.expr, "start": now - 600, "end": now, "step": 15},
        )
    assert response.status_code == 200, f"{query.name}: {response.text}"
    result: list[dict[str, Any]] = response.json()["data"]["result"]
    return result


def has_data(series: list[dict[str, Any]]) -> bool:
    """Whether there is a number among the values; 0 counts, NaN does not."""
    return any(
        math.isfinite(float(value))
        for one in series
        for _, value in one.get("values") or [one["value"]]
    )


@pytest.fixture(scope="module")
def prometheus(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.prometheus, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def _traffic(stack: Stack) -> Iterator[None]:
    """Requests now and then, some of them wrong, few enough to stay below every limit."""
    stop = threading.Event()

    def send(client: httpx.Client, name: str) -> None:
        wrong = {"email": "nobody@example.com", "password": "not the one"}
        for number in count():
            if stop.wait(1):
                return
            try:
                if number % 20 == 0:
                    client.post("/auth/login", json=wrong)
                client.post(f"/collections/{name}/records", json={"n": 1})
                client.get(f"/collections/{name}/records")
                client.get(f"/collections/{name}/records", params={"filter": "n >"})
                client.get("/collections/none/records")
            except httpx.TransportError:
                # Another test has just disturbed the stack.
                continue

    with stack.collection(cache={"list": "10s"}) as name, stack.admin() as client:
        thread = threading.Thread(target=send, args=(client, name), daemon=True)
        thread.start()
        yield
        stop.set()
        thread.join(30)


@pytest.mark.usefixtures("_traffic")
def test_every_panel_has_data(prometheus: httpx.Client) -> None:
    empty = queries()
    assert len(empty) > 150
    deadline = time.monotonic() + PATIENCE
    while empty and time.monotonic() < deadline:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda query: ask(prometheus, query), empty))
        empty = [
            query for query, series in zip(empty, answers, strict=True) if not has_data(series)
        ]
        if empty:
            time.sleep(5)
    assert not empty, "no data:\n" + "\n".join(query.name for query in empty)


@pytest.mark.usefixtures("_traffic")
def test_variables_offer_something(stack: Stack, prometheus: httpx.Client) -> None:
    for path in FILES.glob("*.json"):
        for variable in json.loads(path.read_text())["templating"]["list"]:
            if variable.get("datasource", {}).get("uid") != "prometheus":
                continue
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert found is not None, variable
            stack.wait(
                partial(_has_values, prometheus, label=found[2], of=found[1]),
                f"{path.name}: ${variable['name']} offers nothing",
            )


def _has_values(prometheus: httpx.Client, *, label: str, of: str) -> bool:
    answer = prometheus.get(f"/api/v1/label/{label}/values", params={"match[]": of})
    return bool(answer.json()["data"])
