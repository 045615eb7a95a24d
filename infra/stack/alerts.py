"""`make alerts`: a table of the alerts of Prometheus, and whether Alertmanager silences them."""

from __future__ import annotations

import json
from typing import Any

from infra.stack import images
from infra.stack.compose import CannotRun, compose, error_output

# Both are queried inside their containers, since production does not publish their ports.
_PLACES = {
    "prometheus": "http://127.0.0.1:9090/api/v1/alerts",
    "alertmanager": "http://127.0.0.1:9093/api/v2/alerts",
}
_COLUMNS = ("STATE", "SEVERITY", "ALERT", "SINCE (UTC)", "WHAT")
# This alert always fires, so the table leaves it out: docs/runbooks/Watchdog.md.
_ALWAYS = "Watchdog"


def show() -> int:
    images.choose()
    found = _ask("prometheus")["data"]["alerts"]
    handled = {_key(one["labels"]): one["status"]["state"] for one in _ask("alertmanager")}
    watched = any(one["labels"]["alertname"] == _ALWAYS for one in found)
    rows = sorted(_row(one, handled) for one in found if one["labels"]["alertname"] != _ALWAYS)
    if rows:
        _print([_COLUMNS, *rows])
        print("\ndocs/runbooks/ALERT.md tells what to do.")
    else:
        print("No alert is pending or firing.")
    if not watched:
        raise CannotRun(f"{_ALWAYS}, which always fires, does not: see docs/runbooks/{_ALWAYS}.md")
    return 0


def _row(alert: dict[str, Any], handled: dict[str, str]) -> tuple[str, ...]:
    labels = alert["labels"]
    state = alert["state"]
    if state == "firing" and handled.get(_key(labels)) == "suppressed":
        # Either a silence or a more severe alert of the same cause holds it back.
        state = "silenced"
    since = alert["activeAt"][:16].replace("T", " ")
    summary = alert["annotations"].get("summary", "")
    return state, labels.get("severity", ""), labels["alertname"], since, summary


def _key(labels: dict[str, str]) -> str:
    return json.dumps(labels, sort_keys=True)


def _ask(service: str) -> Any:
    result = compose("exec", "--no-TTY", service, "wget", "-q", "-O", "-", _PLACES[service])
    if result.returncode:
        raise CannotRun(f"{service} does not answer: {error_output(result)}")
    return json.loads(result.stdout)


def _print(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())
