"""Two checkouts on one machine: neither takes the other's stack for its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.checkout import Checkout

PROJECT = "com.docker.compose.project"
FOLDER = "com.docker.compose.project.working_dir"
VOLUME = "com.docker.compose.volume"
CHANGES = r"compose (up|restart|.*down)"


def test_data_without_its_passwords_is_left_alone(checkout: Checkout, tmp_path: Path) -> None:
    checkout.has(volumes=[{"name": "listo_postgres", PROJECT: "listo", VOLUME: "postgres"}])
    done = checkout.run("up", SECRETS_DIR=str(tmp_path / "secrets"))
    assert done.returncode == 1
    assert f"its passwords are not in {tmp_path / 'secrets'}" in done.stdout
    assert not (tmp_path / "secrets").exists()
    assert not checkout.asked(CHANGES)


@pytest.mark.parametrize("command", ["up", "down", "destroy", "destroy-now"])
def test_containers_of_another_checkout_are_left_alone(checkout: Checkout, command: str) -> None:
    checkout.has(ps=[{"name": "listo-api-1", PROJECT: "listo", FOLDER: "/elsewhere"}])
    done = checkout.run(command)
    assert done.returncode == 1
    assert "/elsewhere" in done.stdout + done.stderr
    assert not checkout.asked(CHANGES)


@pytest.mark.parametrize(
    ("containers", "volumes", "whose"),
    [
        ([], [], None),
        ([{PROJECT: "listo-ci", FOLDER: "HERE"}], [], "listo-ci"),
        # `make down` leaves this state.
        ([], [{PROJECT: "listo-ci", VOLUME: "postgres"}], "listo-ci"),
        ([], [{PROJECT: "listo-ci", VOLUME: "redis"}], None),
        ([], [{PROJECT: "listo", VOLUME: "postgres"}], None),
        (
            [{PROJECT: "shop", FOLDER: "/srv/shop"}],
            [{PROJECT: "shop", VOLUME: "postgres"}],
            None,
        ),
    ],
)
def test_secrets_stay_while_another_project_may_need_them(
    checkout: Checkout,
    containers: list[dict[str, str]],
    volumes: list[dict[str, str]],
    whose: str | None,
) -> None:
    checkout.up()
    here = {"HERE": str(checkout.path)}
    checkout.has(
        ps=[{**one, FOLDER: here.get(one[FOLDER], one[FOLDER])} for one in containers],
        volumes=volumes,
    )
    done = checkout.run("destroy-now")
    assert done.returncode == 0, done.stderr
    assert checkout.secrets.exists() is (whose is not None)
    told = f"stay, for {whose}." if whose else "Gone: containers, data and the secrets in .listo."
    assert told in done.stdout


@pytest.mark.parametrize("fault", ["ps", "volume ls"])
def test_nothing_is_destroyed_on_a_guess(checkout: Checkout, fault: str) -> None:
    checkout.up()
    checkout.has(answers={fault: [1, "context deadline exceeded\n"]})
    done = checkout.run("destroy-now")
    assert done.returncode == 1
    assert "context deadline exceeded" in done.stderr
    assert checkout.secrets.exists()
    assert not checkout.asked(r"compose .*down")


def test_an_end_of_input_is_no_yes(checkout: Checkout) -> None:
    checkout.environment.pop("COMPOSE_FILE")
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb", buffering=0) as keyboard, os.fdopen(theirs) as terminal:
        keyboard.write(b"\x04")
        done = subprocess.run(
            [sys.executable, "-m", "infra.stack", "destroy"], cwd=checkout.path, stdin=terminal,
            capture_output=True, text=True, timeout=60, check=False, env=checkout.environment,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.endswith("Nothing was done.\n")
    # The command asks before all else.
    assert not (checkout.path / ".env").exists()
    assert not checkout.asked("^(compose|pull|image) ")
