"""The engine's calls during `make up`, in a copy of this checkout with a fake engine."""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from infra.stack import credentials, silence, trial, up
from infra.stack.compose import ROOT, CannotRun
from infra.stack.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.checkout import Checkout

RESTARTS = r"^compose restart "


@pytest.mark.parametrize(
    ("file", "restarted"),
    [
        ("redis/redis.conf", "redis"),
        ("nginx/entrypoint.sh", "--timeout 1 nginx"),
        ("nginx/servers.conf", None),
        ("nginx/authority.sh", None),
        ("prometheus/prometheus.yml", None),
    ],
)
def test_a_changed_file_is_read_again(checkout: Checkout, file: str, restarted: str | None) -> None:
    checkout.up()
    path = checkout.path / "infra" / file
    checkout.change(path, path.read_text())
    checkout.up()
    assert checkout.asked(RESTARTS) == ([f"compose restart {restarted}"] if restarted else [])
    again = "nginx prometheus" if restarted is None or "nginx" not in restarted else "prometheus"
    assert checkout.asked(f"--signal HUP {again} blackbox-exporter")


@pytest.mark.parametrize("service", list(trial.TESTS))
def test_a_configuration_that_is_refused_is_told_before_anything_is_touched(
    checkout: Checkout, service: str
) -> None:
    checkout.up()
    checkout.has(answers={f"compose exec --no-TTY {service}": [1, "line 7: no such thing\n"]})
    (checkout.engine / "calls").unlink()
    done = checkout.run("up", REPLICAS="5")
    assert done.returncode == 1
    assert f"make up: {service} refuses its configuration" in done.stderr
    assert "line 7: no such thing" in done.stderr
    assert not checkout.asked("HUP|^compose (up|restart)")


@pytest.mark.parametrize("fault", ["compose ps", "ps", "volume ls"])
def test_nothing_is_done_while_the_engine_does_not_answer(checkout: Checkout, fault: str) -> None:
    checkout.up()
    (checkout.engine / "calls").unlink()
    checkout.has(answers={fault: [1, "context deadline exceeded\n"]})
    done = checkout.run("up")
    assert done.returncode == 1
    assert "context deadline exceeded" in done.stdout
    assert not checkout.asked(r"compose (up|.*down|restart|pull)")


def test_only_a_stack_that_this_run_began_is_taken_down(checkout: Checkout) -> None:
    checkout.has(answers={"compose up": [1, "no such image\n"]})
    assert checkout.run("up").returncode == 1
    assert checkout.asked("compose down")
    checkout.has(answers={})
    checkout.up()
    checkout.has(answers={"compose up": [1, "no such image\n"]})
    done = checkout.run("up")
    assert "no such image" in done.stderr
    assert not checkout.asked("compose down")


def test_the_first_password_is_told_by_the_first_run_that_succeeds(checkout: Checkout) -> None:
    checkout.has(answers={"compose up": [1, "no such image\n"]})
    checkout.run("up")
    checkout.has(answers={})
    password = (checkout.secrets / "admin_password").read_text()
    assert f"password (shown this once):  {password}" in checkout.up().stdout
    assert password not in checkout.up().stdout


SILENCE = r"^compose exec --no-TTY alertmanager amtool \S+ silence "


@pytest.mark.parametrize("command", ["up", "down"])
@pytest.mark.parametrize("fails", [False, True])
def test_alerts_of_stopped_services_are_silenced_meanwhile(
    checkout: Checkout,
    command: str,
    fails: bool,  # noqa: FBT001
) -> None:
    checkout.up()
    url = "amtool --alertmanager.url=http://127.0.0.1:9093"
    answers: dict[str, Any] = {
        f"compose exec --no-TTY alertmanager {url} silence add": [0, "5d1c-77\n"]
    }
    works = "^compose up" if command == "up" else "^compose .* down"
    if fails:
        answers |= {"compose up": [1, "no space\n"], "compose --profile": [1, "no space\n"]}
    checkout.has(answers=answers, changed=["redis"])
    (checkout.engine / "calls").unlink()
    done = checkout.run(command)
    assert (done.returncode == 0) is not fails, done.stderr
    assert "alerts about services that it stops are silenced" in done.stdout
    begun, *work, ended = checkout.asked(f"{SILENCE}|{works}")
    assert work
    assert re.search(rf"{SILENCE}add --author make {command} --duration 15m .*EdgeDown\|", begun)
    assert re.search(rf"{SILENCE}update --duration 1m 5d1c-77$", ended)


def test_silenced_alerts_exist() -> None:
    rules = (ROOT / "infra/prometheus/rules").glob("*.yml")
    known = {name for file in rules for name in re.findall(r"alert: (\w+)", file.read_text())}
    assert set(silence.ALERTS) <= known


@pytest.mark.parametrize("command", ["up", "down", "destroy-now"])
def test_only_one_command_works_at_a_time(checkout: Checkout, command: str) -> None:
    checkout.up()
    (checkout.engine / "calls").unlink()
    with (checkout.state / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = checkout.run(command)
    assert done.returncode == 1
    assert (
        f"make {command}: another `make up`, `down`, `rotate` or `destroy` is at work"
        in done.stderr
    )
    assert not checkout.asked(r"compose (up|.*down|pull)")
    assert checkout.secrets.exists()
    assert checkout.run(command).returncode == 0


def test_a_service_that_still_starts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make up` waits for as long as the health check allows, and no longer."""
    states = iter(["starting", "starting", "healthy"])
    started: dict[str, object] = {
        "Service": "postgres", "Name": "listo-postgres-1", "State": "running",
    }  # fmt: skip
    monkeypatch.setattr(up, "START_SECONDS", -1)
    monkeypatch.setattr(up, "containers", lambda: [{**started, "Health": next(states)}])
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        up._wait(process, Table())
        assert next(states, None) is None
        monkeypatch.setattr(up, "containers", lambda: [{**started, "Health": "unhealthy"}])
        with pytest.raises(CannotRun, match=r"not all is well .* postgres \(unhealthy\)"):
            up._wait(process, Table())


def test_an_engine_that_is_too_busy_to_answer_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[list[dict[str, object]] | CannotRun] = [
        CannotRun("no answer within 30 s"),
        [{"Service": "redis", "Name": "listo-redis-1", "State": "running", "Health": "healthy"}],
    ]

    def asked() -> list[dict[str, object]]:
        answer = answers.pop(0)
        if isinstance(answer, CannotRun):
            raise answer
        return answer

    monkeypatch.setattr(up, "containers", asked)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        up._wait(process, Table())
    assert not answers


@pytest.mark.parametrize(("settings", "policy"), [({}, "missing"), ({"FRESH": "1"}, "always")])
def test_images_that_are_there_need_no_registry(
    checkout: Checkout, settings: dict[str, str], policy: str
) -> None:
    checkout.up(**settings)
    (pull,) = checkout.asked("compose pull")
    assert pull.endswith(f"--policy {policy}")


def test_services_can_read_their_files_whatever_the_umask_was(checkout: Checkout) -> None:
    infra = checkout.path / "infra"
    private = checkout.path / "private"
    private.touch(0o600)
    (infra / "nginx" / "elsewhere").symlink_to(private)
    (infra / "nginx" / "nowhere").symlink_to("absent")
    subprocess.run(["chmod", "-R", "go-rwx", infra], check=True)
    assert "readable for the services" in checkout.up().stdout
    done = subprocess.run(
        ["find", infra, "!", "-perm", "-044", "-o", "-type", "d", "!", "-perm", "-011"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == ""
    assert private.stat().st_mode & 0o777 == 0o600
    assert (infra / "nginx/authority.sh").stat().st_mode & 0o777 == 0o755
    assert "readable for the services" not in checkout.up().stdout


@pytest.mark.parametrize("api", ["1.41", "1.43", "unknown"])
def test_an_engine_that_is_too_old_is_told(checkout: Checkout, api: str) -> None:
    checkout.has(answers={"version": [0, f"24.0.7 {api}\n"]})
    done = checkout.run("up")
    assert done.returncode == 1
    assert "Docker 24.0.7; 25.0 or newer is needed" in done.stdout


def test_without_docker_all_else_is_looked_at(checkout: Checkout) -> None:
    (checkout.engine / "docker").unlink()
    done = checkout.run("up", PATH=str(checkout.engine))
    assert done.returncode == 1
    assert "There is no `docker` here." in done.stdout
    assert "disk" in done.stdout
    assert "the lines above say why" in done.stderr


def test_production_has_its_ports_whatever_is_set(checkout: Checkout, tmp_path: Path) -> None:
    checkout.has(containers=[
        {"ID": "1", "Name": "listo-nginx-1", "Service": "nginx", "State": "running",
         "Health": "healthy", "ExitCode": 0, "Started": "2026-01-01T00:00:00+00:00",
         "Publishers": [{"PublishedPort": 80}, {"PublishedPort": 443}]},
    ])  # fmt: skip
    done = checkout.run(
        "up", COMPOSE_FILE="compose.yaml:compose.prod.yaml", HTTP_PORT="8081", HTTPS_PORT="8082",
        SECRETS_DIR=str(tmp_path / "secrets"), DOMAIN="api.listo.test",
    )  # fmt: skip
    assert "80 is ours already" in done.stdout
    assert "443 is ours already" in done.stdout
    assert "8081" not in done.stdout


def test_a_folder_that_cannot_be_made_is_told_in_one_line(checkout: Checkout) -> None:
    (checkout.path / "file").touch()
    done = checkout.run("up", SECRETS_DIR=str(checkout.path / "file" / "secrets"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"make up: {checkout.path}/file: File exists"
    assert credentials.UNTOLD.name not in {path.name for path in checkout.state.iterdir()}


def test_a_folder_with_other_files_is_refused_and_stays_open(
    checkout: Checkout, tmp_path: Path
) -> None:
    """With `SECRETS_DIR=/etc` nobody else on the host could read the files there."""
    folder = tmp_path / "etc"
    (folder / "ssl").mkdir(parents=True)
    folder.chmod(0o755)
    refused = checkout.run("up", SECRETS_DIR=str(folder))
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        f"make up: SECRETS_DIR={folder} must hold secrets only, and has folders in it"
    )
    assert folder.stat().st_mode & 0o777 == 0o755
