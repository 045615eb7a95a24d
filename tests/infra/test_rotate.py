"""`make rotate` and `make alerts`, in a copy of this checkout with a fake engine."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import yaml

from infra.stack import rotate

if TYPE_CHECKING:
    from fixtures.checkout import Checkout

# The call that tries the roles' passwords; its answer: the API's password differs from the file.
BEHIND = {"exec --env PASSWORD_owner": [0, "app\n"]}
REPLACED = r"^stop listo-api"


def secret(checkout: Checkout, name: str) -> str:
    return (checkout.secrets / name).read_text()


def test_every_secret_is_rotated_or_tells_its_source(checkout: Checkout) -> None:
    named = yaml.safe_load((checkout.path / "compose.yaml").read_text())["secrets"]
    # These two secrets belong to the builder of images.
    assert {*named} - {"ca", "pip"} <= {*rotate.ROTATIONS, *rotate.FOLLOWING}
    checkout.up()
    for name, source in rotate.FOLLOWING.items():
        refused = checkout.run("rotate", SECRET=name)
        assert refused.returncode == 1
        assert f"{name} follows from {source}" in refused.stderr
    for name in ("", "nonsense"):
        refused = checkout.run("rotate", SECRET=name)
        assert refused.returncode == 1
        assert "postgres_app_password, " in refused.stderr


def test_a_stack_that_does_not_run_keeps_its_secrets(checkout: Checkout) -> None:
    checkout.up()
    checkout.run("down")
    former = secret(checkout, "jwt_secret")
    refused = checkout.run("rotate", SECRET="jwt_secret")
    assert (refused.returncode, secret(checkout, "jwt_secret")) == (1, former)
    assert "the stack does not run: `make up` first" in refused.stderr


@pytest.mark.parametrize(
    "name",
    ["postgres_owner_password", "postgres_backup_password", "redis_listo_password",
     "redis_monitor_password", "grafana_secret_key", "grafana_admin_password", "admin_password"],
)  # fmt: skip
def test_a_rotated_secret_is_another_one_and_is_not_printed(checkout: Checkout, name: str) -> None:
    checkout.up()
    former = secret(checkout, name)
    done = checkout.run("rotate", SECRET=name)
    assert done.returncode == 0, done.stderr
    fresh = secret(checkout, name)
    assert fresh != former
    assert fresh not in done.stdout + done.stderr + "".join(checkout.asked())
    if name == "redis_listo_password":
        users = secret(checkout, "redis_users")
        assert len(re.findall("#", users)) == 2
        assert fresh in secret(checkout, "redis_url")


def test_all_replicas_accept_a_new_secret_before_any_signs_with_it(checkout: Checkout) -> None:
    checkout.up()
    former = secret(checkout, "jwt_secret")
    assert checkout.run("rotate", SECRET="jwt_secret").returncode == 0
    assert secret(checkout, "jwt_secret_previous") == former
    assert secret(checkout, "jwt_secret") != former
    assert len(checkout.asked(REPLACED)) == 6
    assert checkout.run("rotate", SECRET="jwt_secret_previous").returncode == 0
    assert secret(checkout, "jwt_secret_previous") == ""


def test_a_full_disk_leaves_the_former_secret(checkout: Checkout) -> None:
    """The service and the file keep the former secret."""
    checkout.up()
    for name in ("admin_password", "grafana_admin_password"):
        former = secret(checkout, name)
        (checkout.engine / "calls").unlink()
        folder = checkout.secrets / f".{name}.new"
        folder.mkdir()
        refused = checkout.run("rotate", SECRET=name)
        folder.rmdir()
        assert refused.returncode == 1
        assert f"{folder}: Is a directory" in refused.stderr
        assert not checkout.asked("reset-")
        assert secret(checkout, name) == former


@pytest.mark.parametrize("name", ["admin_password", "grafana_admin_password"])
def test_a_password_that_the_service_refuses_is_not_kept(checkout: Checkout, name: str) -> None:
    checkout.up()
    former = secret(checkout, name)
    refusal = [1, "no\n"]
    checkout.has(answers={
        "exec --env LISTO_PASSWORD": refusal, "compose exec --no-TTY grafana": refusal,
    })  # fmt: skip
    assert checkout.run("rotate", SECRET=name).returncode == 1
    assert secret(checkout, name) == former


def test_the_api_logs_in_as_another_role_while_its_password_changes(checkout: Checkout) -> None:
    checkout.up()
    checkout.has(answers=BEHIND)
    (checkout.engine / "stdin").unlink()
    checkout.up()
    assert len(checkout.asked(REPLACED)) == 6
    inputs = (checkout.engine / "stdin").read_text()
    steps = ("CREATE ROLE listo_app_next", "ALTER ROLE listo_app PASSWORD", "DROP ROLE")
    places = [inputs.index(step) for step in steps]
    assert places == sorted(places)
    password = secret(checkout, "postgres_app_password")
    assert password not in inputs + "".join(checkout.asked())
    url = f"postgresql://listo_app:{password}@postgres:5432/listo"
    assert secret(checkout, "database_url") == url


def test_an_interrupted_rotation_leaves_both_ways_in(checkout: Checkout) -> None:
    checkout.up()
    checkout.has(answers={**BEHIND, "compose run": [1, "no\n"]})
    assert checkout.run("up").returncode == 1
    password = secret(checkout, "postgres_app_password")
    url = f"postgresql://listo_app_next:{password}@postgres:5432/listo"
    assert secret(checkout, "database_url") == url
    checkout.has(answers=BEHIND)
    # The run keeps the value that some services may have already.
    assert checkout.run("rotate", SECRET="postgres_app_password").returncode == 0
    assert secret(checkout, "postgres_app_password") == password


def test_a_lost_password_is_made_anew_unless_all_are_lost(checkout: Checkout) -> None:
    checkout.up()
    label = "com.docker.compose"
    checkout.has(volumes=[{"name": "listo_postgres", f"{label}.project": "listo"}])
    (checkout.secrets / "postgres_app_password").unlink()
    checkout.up()
    assert secret(checkout, "postgres_app_password")
    for path in checkout.secrets.glob("postgres_*"):
        path.unlink()
    refused = checkout.run("up")
    assert refused.returncode == 1
    assert "make up NEW_SECRETS=1" in refused.stdout
    assert "destroy" not in refused.stdout
    checkout.up(NEW_SECRETS="1")


def alert(name: str, state: str, severity: str) -> dict[str, object]:
    return {
        "labels": {"alertname": name, "severity": severity}, "state": state,
        "activeAt": "2026-11-29T21:16:46.1Z", "annotations": {"summary": f"{name} it is"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("alerts", "lines"),
    [
        ([], ["No alert is pending or firing."]),
        (
            [alert("RedisDown", "firing", "page"), alert("DiskFull", "pending", "ticket")],
            [
                "STATE    SEVERITY  ALERT      SINCE (UTC)       WHAT",
                "firing   page      RedisDown  2026-11-29 21:16  RedisDown it is",
                "pending  ticket    DiskFull   2026-11-29 21:16  DiskFull it is",
            ],
        ),
        (
            [alert("EdgeDown", "firing", "page")],
            [
                "STATE     SEVERITY  ALERT     SINCE (UTC)       WHAT",
                "silenced  page      EdgeDown  2026-11-29 21:16  EdgeDown it is",
            ],
        ),
    ],
)
def test_alerts_are_a_table(
    checkout: Checkout, alerts: list[dict[str, object]], lines: list[str]
) -> None:
    checkout.up()
    watchdog = alert("Watchdog", "firing", "none")
    silenced = [
        {**one, "status": {"state": "suppressed"}}
        for one in alerts
        if one["labels"] == {"alertname": "EdgeDown", "severity": "page"}
    ]
    ask = "compose exec --no-TTY {} wget"
    told = {
        ask.format("prometheus"): [0, json.dumps({"data": {"alerts": [*alerts, watchdog]}})],
        ask.format("alertmanager"): [0, json.dumps(silenced)],
    }
    checkout.has(answers=told)
    done = checkout.run("alerts")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[: len(lines)] == lines


def test_alerts_without_prometheus_are_told_in_one_line(checkout: Checkout) -> None:
    checkout.up()
    checkout.has(answers={"compose exec --no-TTY prometheus": [1, "service is not running\n"]})
    done = checkout.run("alerts")
    assert done.returncode == 1
    assert "make alerts: prometheus does not answer: service is not running" in done.stderr
