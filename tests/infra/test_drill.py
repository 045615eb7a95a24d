"""Drills of alerts: when they are refused, and the alerts that they wait for."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.prometheus import drill

ROOT = Path(__file__).parents[2]
RUN = drill.run


@pytest.fixture(autouse=True)
def runs(monkeypatch: pytest.MonkeyPatch) -> list[drill.Drill]:
    """The drills that ran, if any."""
    made: list[drill.Drill] = []

    def run(one: drill.Drill) -> dict[str, float | None]:
        made.append(one)
        return dict.fromkeys(one.alerts, 1.0)

    monkeypatch.setattr(drill, "run", run)
    monkeypatch.setenv("COMPOSE_FILE", "compose.yaml")
    return made


def test_without_a_name_the_drills_are_only_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], runs: list[drill.Drill]
) -> None:
    monkeypatch.setattr(sys, "argv", ["drill", "--markdown"])
    assert drill.main() == 0
    assert "NoReplicaReady" in capsys.readouterr().out
    assert runs == []
    made = subprocess.run(
        ["make", "-n", "drill"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert " all" not in made.stdout


def test_drills_are_refused_in_production(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], runs: list[drill.Drill]
) -> None:
    monkeypatch.setattr(sys, "argv", ["drill", "redis"])
    assert drill.main() == 0
    assert runs == [drill.DRILLS["redis"]]
    monkeypatch.setenv("COMPOSE_FILE", "compose.yaml:compose.prod.yaml")
    assert drill.main() == 1
    assert runs == [drill.DRILLS["redis"]]
    assert "production" in capsys.readouterr().err


def test_a_drill_waits_until_alerts_of_an_earlier_fault_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    active = iter([{"RedisDown", "Watchdog"}, {"RedisFallbacks"}, {"Watchdog"}, {"RedisDown"}])
    calls: list[str] = []

    def alerts(*states: str) -> set[str]:
        calls.append(" ".join(states))
        return next(active, set(drill.DRILLS["redis"].alerts))

    monkeypatch.setattr(drill, "alerts", alerts)
    monkeypatch.setattr(drill, "shell", calls.append)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    measured = RUN(drill.Drill("cause", "undo", drill.DRILLS["redis"].alerts))
    assert list(measured) == ["RedisDown", "RedisFallbacks"]
    assert calls == [*["pending firing"] * 3, "cause", "firing", "firing", "undo"]


def test_a_drill_whose_alert_stays_active_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drill, "alerts", lambda *_: {"RedisDown"})
    monkeypatch.setattr(drill, "run", RUN)
    monkeypatch.setattr(drill, "PATIENCE", -1)
    monkeypatch.setattr(sys, "argv", ["drill", "redis"])
    assert drill.main() == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "still active, so not measured: RedisDown" in said.err
