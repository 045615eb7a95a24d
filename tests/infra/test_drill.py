"""The drills of alerts: their refusals, and the places where they look."""

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
def done(monkeypatch: pytest.MonkeyPatch) -> list[drill.Drill]:
    """The drills that were done, if any."""
    ran: list[drill.Drill] = []

    def run(one: drill.Drill) -> dict[str, float | None]:
        ran.append(one)
        return dict.fromkeys(one.alerts, 1.0)

    monkeypatch.setattr(drill, "run", run)
    monkeypatch.setenv("COMPOSE_FILE", "compose.yaml")
    return ran


def test_without_a_name_they_are_listed_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], done: list[drill.Drill]
) -> None:
    monkeypatch.setattr(sys, "argv", ["drill", "--markdown"])
    assert drill.main() == 0
    assert "NoReplicaReady" in capsys.readouterr().out
    assert done == []
    made = subprocess.run(
        ["make", "-n", "drill"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert " all" not in made.stdout


def test_production_is_spared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], done: list[drill.Drill]
) -> None:
    monkeypatch.setattr(sys, "argv", ["drill", "redis"])
    assert drill.main() == 0
    assert done == [drill.DRILLS["redis"]]
    monkeypatch.setenv("COMPOSE_FILE", "compose.yaml:compose.prod.yaml")
    assert drill.main() == 1
    assert done == [drill.DRILLS["redis"]]
    assert "production" in capsys.readouterr().err


def test_what_an_earlier_fault_left_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([{"RedisDown", "Watchdog"}, {"RedisFallbacks"}, {"Watchdog"}, {"RedisDown"}])
    done: list[str] = []

    def alerts(*states: str) -> set[str]:
        done.append(" ".join(states))
        return next(said, set(drill.DRILLS["redis"].alerts))

    monkeypatch.setattr(drill, "alerts", alerts)
    monkeypatch.setattr(drill, "shell", done.append)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    measured = RUN(drill.Drill("cause", "undo", drill.DRILLS["redis"].alerts))
    assert list(measured) == ["RedisDown", "RedisFallbacks"]
    assert done == [*["pending firing"] * 3, "cause", "firing", "firing", "undo"]


def test_what_does_not_end_is_not_measured(
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
