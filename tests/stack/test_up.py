"""`make up` on a stack that runs already."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx

from infra.stack import compose
from infra.stack.compose import ROOT

if TYPE_CHECKING:
    from fixtures.stack import Stack


def start_times(stack: Stack) -> dict[str, str]:
    """When each container started, by its name."""
    names = [one["Name"] for one in stack.containers("redis") + stack.containers("postgres")]
    lines = stack.docker("inspect", "--format", "{{.Name}} {{.State.StartedAt}}", *names)
    return dict(line.removeprefix("/").split() for line in lines.splitlines())


def test_only_a_service_with_a_changed_file_restarts(stack: Stack) -> None:
    # This run takes up all earlier changes.
    stack.up()
    before = start_times(stack)
    stack.up()
    assert start_times(stack) == before
    (ROOT / "infra" / "redis" / "redis.conf").touch()
    stack.up()
    after = start_times(stack)
    changed = [name for name in before if after[name] != before[name]]
    assert changed == [stack.containers("redis")[0]["Name"]]
    with stack.admin() as admin:
        assert admin.get("/health/ready").json()["checks"]["redis"]["ok"]


def test_an_alert_channel_outlives_an_interrupted_run(stack: Stack) -> None:
    channel = {"ALERT_WEBHOOK_URL": "https://alerts.example.org/of-the-test"}
    asked = f"http://127.0.0.1:{compose.setting('ALERTMANAGER_PORT', '9093')}/api/v2/status"
    # A run that is interrupted while images are built comes this far.
    subprocess.run(
        [sys.executable, "-c", "from infra.stack import credentials; credentials.ensure()"],
        cwd=ROOT, env={**os.environ, **channel}, check=True,
    )  # fmt: skip
    try:
        stack.up(**channel)
        status = httpx.get(asked, trust_env=False).json()
        assert "webhook_configs" in status["config"]["original"]
    finally:
        stack.up()
    status = httpx.get(asked, trust_env=False).json()
    assert "webhook_configs" not in status["config"]["original"]
