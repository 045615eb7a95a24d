"""Alertmanager's configuration from settings: receivers of alerts, and suppressed alerts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from fixtures.stack_programs import run_program
from infra.alertmanager.render import Refused, configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
EMAIL = {
    "ALERT_EMAIL_TO": "ops@example.com",
    "ALERT_EMAIL_FROM": "listo@example.com",
    "SMTP_ADDRESS": "mail.example.com:587",
}
SMTP_PASSWORD, SLACK_URL = 'not: the "password" #1', "https://hooks.slack.com/services/T/B/x"
FILES = Path(tempfile.gettempdir(), f"listo-alerts-{os.getpid()}")
LOGIN = {"SMTP_USERNAME": "listo", "SMTP_PASSWORD_FILE": f"{FILES}/smtp_password"}
WEBHOOK = {"ALERT_WEBHOOK_URL": "https://example.com/alerts"}
SLACK = {"ALERT_SLACK_URL_FILE": f"{FILES}/slack_url", "ALERT_SLACK_CHANNEL": "#ops"}
WATCHDOG = {"WATCHDOG_WEBHOOK_URL": "https://example.com/alive"}
EVERYTHING = {**EMAIL, **LOGIN, **WEBHOOK, **SLACK, **WATCHDOG}


@pytest.fixture(autouse=True, scope="module")
def files() -> Iterator[None]:
    FILES.mkdir(exist_ok=True)
    (FILES / "smtp_password").write_text(f"{SMTP_PASSWORD}\n")
    (FILES / "slack_url").write_text(f"{SLACK_URL}\n")
    (FILES / "empty").write_text("\n")
    yield
    shutil.rmtree(FILES, ignore_errors=True)


def _channels(settings: dict[str, str]) -> dict[str, list[str]]:
    return {
        receiver["name"]: [key.removesuffix("_configs") for key in receiver if key != "name"]
        for receiver in configuration(settings)["receivers"]
    }


def _receiver(tmp_path: Path, settings: dict[str, str], *labels: str) -> str:
    path = tmp_path / "alertmanager.yml"
    path.write_text(json.dumps(configuration(settings)))
    arguments = ["config", "routes", "test", f"--config.file={path}", *labels]
    done = run_program("amtool", arguments, mounts=[tmp_path])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "settings",
    [{}, WEBHOOK, SLACK, EMAIL, EMAIL | LOGIN, WATCHDOG, EVERYTHING],
    ids=["nothing", "webhook", "slack", "email", "email-login", "watchdog", "everything"],
)
def test_alertmanager_accepts_the_configuration(tmp_path: Path, settings: dict[str, str]) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text(json.dumps(configuration(settings)))
    done = run_program("amtool", ["check-config", str(path)], mounts=[tmp_path])
    assert done.returncode == 0, done.stdout + done.stderr


def test_by_default_everybody_gets_everything_but_the_watchdog() -> None:
    everybody = ["webhook", "slack", "email"]
    assert _channels(EVERYTHING) == {
        "nobody": [],
        "watchdog": ["webhook"],
        "page": everybody,
        "ticket": everybody,
    }


def test_severities_go_where_the_settings_say() -> None:
    chosen = _channels({**EVERYTHING, "ALERT_PAGE": "slack, webhook", "ALERT_TICKET": "email"})
    assert chosen["page"] == ["slack", "webhook"]
    assert chosen["ticket"] == ["email"]


def test_with_nothing_set_up_nobody_is_called() -> None:
    assert set(map(tuple, _channels({}).values())) == {()}


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=DatabaseDown", "severity=page"], "page"),
        (["alertname=ReplicaDown", "severity=ticket"], "ticket"),
        (["alertname=Watchdog", "severity=none"], "watchdog"),
        (["alertname=Other"], "nobody"),
    ],
)
def test_each_severity_goes_to_its_receiver(
    tmp_path: Path, labels: list[str], receiver: str
) -> None:
    assert _receiver(tmp_path, EVERYTHING, *labels) == receiver


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ALERT_PAGE": "pager"}, "no channel 'pager'"),
        ({**WEBHOOK, "ALERT_PAGE": "slack"}, "set ALERT_SLACK_URL"),
        ({"ALERT_EMAIL_TO": "ops@example.com"}, "needs ALERT_EMAIL_FROM"),
        ({**EMAIL, "SMTP_USERNAME": "listo"}, "go together"),
        ({**EMAIL, "SMTP_REQUIRE_TLS": "maybe"}, "true or false"),
        ({"ALERT_WEBHOOK_URL": "example.com"}, "http://"),
        ({**WEBHOOK, "ALERT_WEBHOOK_URL_FILE": "/run/secrets/url"}, "not both"),
        ({"ALERT_WEBHOOK_URL_FILE": f"{FILES}/none"}, "ALERT_WEBHOOK_URL_FILE: "),
        ({"ALERT_WEBHOOK_URL_FILE": f"{FILES}/none"}, "No such file"),
        ({"ALERT_WEBHOOK_URL_FILE": f"{FILES}/empty"}, "is empty"),
        ({"ALERT_WEBHOOK_URL_FILE": f"{FILES}/smtp_password"}, "ALERT_WEBHOOK_URL_FILE does not"),
        ({**EMAIL, **LOGIN, "SMTP_PASSWORD_FILE": f"{FILES}/none"}, "SMTP_PASSWORD_FILE: "),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(Refused, match=re.escape(said)):
        configuration(settings)


def test_files_are_read_on_the_host() -> None:
    """Alertmanager's container sees none of the files."""
    page = next(one for one in configuration(EVERYTHING)["receivers"] if one["name"] == "page")
    assert page["email_configs"][0]["auth_password"] == SMTP_PASSWORD
    assert page["slack_configs"][0]["api_url"] == SLACK_URL
    assert str(FILES) not in json.dumps(configuration(EVERYTHING))


def test_the_command_prints_the_configuration_or_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra.alertmanager.render"],
        env=EVERYTHING, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    rendered = yaml.safe_load(done.stdout)
    assert rendered == configuration(EVERYTHING)
    refused = subprocess.run(
        [sys.executable, "-m", "infra.alertmanager.render"],
        env={"ALERT_PAGE": "pager"}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr.count("\n") == 1


def _held_back(cause: dict[str, str], other: dict[str, str]) -> bool:
    def matches(matcher: str, alert: dict[str, str]) -> bool:
        label, pattern = re.fullmatch(r'(\w+)=~?"(.*)"', matcher).groups()  # type: ignore[union-attr]
        return re.fullmatch(pattern, alert.get(label, "")) is not None

    def applies(rule: dict[str, Any]) -> bool:
        return (
            all(matches(matcher, cause) for matcher in rule["source_matchers"])
            and all(matches(matcher, other) for matcher in rule["target_matchers"])
            and all(cause.get(label) == other.get(label) for label in rule.get("equal", ()))
        )

    return any(applies(rule) for rule in configuration({})["inhibit_rules"])


def test_what_follows_from_a_cause_is_held_back() -> None:
    down = {"alertname": "DatabaseDown", "severity": "page"}
    for name in ("NoReplicaReady", "DatabaseUnreachable", "ErrorBudgetBurn"):
        assert _held_back(down, {"alertname": name, "severity": "page"})
    assert not _held_back(down, {"alertname": "DiskFull", "severity": "page"})
    assert not _held_back(down, {"alertname": "RedisDown", "severity": "ticket"})


def test_a_page_holds_back_its_own_ticket_and_no_other() -> None:
    page = {"alertname": "DiskFull", "severity": "page", "device": "/dev/sda1"}
    assert _held_back(page, {**page, "severity": "ticket"})
    assert not _held_back(page, {**page, "severity": "ticket", "device": "/dev/sdb1"})
    replica = {"alertname": "ReplicaDown", "severity": "ticket", "instance": "10.0.0.2:8000"}
    assert _held_back(replica, {**replica, "alertname": "ReplicaNotReady"})
    assert not _held_back(
        replica, {**replica, "alertname": "ReplicaNotReady", "instance": "10.0.0.3:8000"}
    )


def test_alerts_that_are_held_back_exist() -> None:
    names = set(re.findall(r"- alert: (\w+)", "".join(
        path.read_text() for path in (ROOT / "infra/prometheus/rules").glob("*.yml")
    )))  # fmt: skip
    for rule in configuration({})["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            if matcher.startswith("alertname"):
                assert set(matcher.split('"')[1].split("|")) <= names
