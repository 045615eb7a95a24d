"""Prometheus' configuration, by its own tools; alerts, their tests and their runbooks agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.stack_programs import run_program

ROOT = Path(__file__).parents[2]
HERE = ROOT / "infra/prometheus"
RUNBOOKS = ROOT / "docs/runbooks"
SUITES = sorted((HERE / "tests").glob("*.yml"))
# The jobs of every kind of stack; jobs of only some kinds are found by name.
ALWAYS = {"api", "ready", "worker", "nginx", "blackbox", "postgres", "redis", "node"} | {
    "prometheus",
    "alertmanager",
}


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


RULES: list[dict[str, Any]] = [
    rule
    for path in sorted((HERE / "rules").glob("*.yml"))
    for group in _read(path)["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})


def _identity(name: str, labels: dict[str, Any]) -> tuple[str, ...]:
    """The labels that tell alerts of one name apart."""
    return (name, *(str(labels.get(label, "")) for label in ("severity", "window", "cause")))


def test_prometheus_accepts_its_configuration() -> None:
    done = run_program("promtool", ["check", "config", "prometheus.yml"], mounts=[HERE], cwd=HERE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout


def test_the_prober_accepts_its_configuration() -> None:
    arguments = ["--config.check", f"--config.file={HERE / 'blackbox.yml'}"]
    done = run_program("blackbox_exporter", arguments, mounts=[HERE], cwd=HERE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("suite", SUITES, ids=[path.stem for path in SUITES])
def test_alerts_fire_when_they_should_and_not_otherwise(suite: Path) -> None:
    arguments = ["test", "rules", f"tests/{suite.name}"]
    done = run_program("promtool", arguments, mounts=[HERE], cwd=HERE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_both_ways() -> None:
    fires: set[tuple[str, ...]] = set()
    silent: set[str] = set()
    for suite in SUITES:
        for case in _read(suite)["tests"]:
            for check in case["alert_rule_test"]:
                name = check["alertname"]
                fires |= {_identity(name, one["exp_labels"]) for one in check["exp_alerts"]}
                silent |= set() if check["exp_alerts"] else {name}
    assert {_identity(rule["alert"], rule["labels"]) for rule in ALERTS} == fires
    # The watchdog must never be silent.
    assert set(NAMES) - silent == {"Watchdog"}


@pytest.mark.parametrize(
    "rule", ALERTS, ids=["-".join(_identity(rule["alert"], rule["labels"])) for rule in ALERTS]
)
def test_an_alert_says_what_and_where_to_look(rule: dict[str, Any]) -> None:
    severity = rule["labels"]["severity"]
    assert severity in {"page", "ticket"} or (severity, rule["alert"]) == ("none", "Watchdog")
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert 10 < len(notes["summary"]) < 140
    assert notes["description"].rstrip().endswith(".")
    assert notes["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"


def test_runbooks_are_those_of_the_alerts() -> None:
    assert sorted(path.stem for path in RUNBOOKS.glob("*.md")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_runbook_says_what_it_means_three_commands_and_how_to_end_it(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert len(text.splitlines()) <= 40
    means, commands, end = re.split(r"\n## First\n|\n## How to end it\n", text)
    assert len(means.split()) > 20
    assert len(re.findall(r"```sh\n(.*?)```", commands, re.DOTALL)[0].strip().splitlines()) == 3
    assert end.count("\n- ") >= 3
    for linked in re.findall(r"\]\((\w+)\.md\)", text):
        assert linked in NAMES


def test_the_table_has_every_alert() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\]\(runbooks/\w+\.md\)", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE
    )
    assert sorted(set(rows)) == NAMES


def test_a_job_is_missed_only_if_every_stack_has_it() -> None:
    jobs = {job["job_name"] for job in _read(HERE / "prometheus.yml")["scrape_configs"]}
    missing = next(rule["expr"] for rule in ALERTS if rule["alert"] == "TargetMissing")
    assert set(re.findall(r'absent\(up\{job="([\w-]+)"\}\)', missing)) == ALWAYS
    optional = set(re.findall(r'job=~"([^"]+)"', missing)[0].split("|"))
    assert jobs == ALWAYS | optional
    for job in _read(HERE / "prometheus.yml")["scrape_configs"]:
        assert job["job_name"] not in optional or "dns_sd_configs" in job
