"""Two checkouts on one machine: neither takes the other's stack for its own."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from fixtures import acme
from fixtures.acme import docker

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.skipif(bool(acme.why_not()), reason=str(acme.why_not()))


@pytest.fixture
def project() -> Iterator[str]:
    name = f"listo-test-{uuid4().hex[:8]}"
    yield name
    label = f"label=com.docker.compose.project={name}"
    for kind, remove in (("container", ("rm", "--force")), ("volume", ("rm",))):
        listed = docker(kind, "ls", *(("--all",) if kind == "container" else ()),
                        "--quiet", "--filter", label)  # fmt: skip
        for one in listed.split():
            docker(kind, *remove, one)


def listo(
    project: str, secrets: Path, command: str, *, checkout: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.stack", command],
        cwd=checkout, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "COMPOSE_PROJECT_NAME": project, "SECRETS_DIR": str(secrets),
             "COMPOSE_FILE": "compose.yaml:compose.debian.yaml"},
    )  # fmt: skip


def test_data_without_its_passwords_is_left_alone(project: str, tmp_path: Path) -> None:
    label = f"com.docker.compose.project={project}"
    docker("volume", "create", "--label", label, f"{project}_postgres")
    result = listo(project, tmp_path / "secrets", "up")
    assert result.returncode == 1
    assert f"its passwords are not in {tmp_path / 'secrets'}" in result.stdout
    assert not (tmp_path / "secrets").exists()
    assert f"{project}_postgres" in docker("volume", "ls", "--quiet").split()


@pytest.mark.parametrize("command", ["up", "down", "destroy-now"])
def test_containers_of_another_checkout_are_left_alone(
    project: str, tmp_path: Path, command: str
) -> None:
    name = docker(
        "create", "--label", f"com.docker.compose.project={project}",
        "--label", "com.docker.compose.project.working_dir=/elsewhere", acme.BASE, "true",
    ).strip()  # fmt: skip
    result = listo(project, tmp_path / "secrets", command)
    assert result.returncode == 1
    assert "/elsewhere" in result.stdout + result.stderr
    assert name in docker("container", "ls", "--all", "--no-trunc", "--quiet").split()


@pytest.mark.parametrize("left", ["container", "volume"])
def test_secrets_stay_while_another_project_of_the_checkout_needs_them(
    project: str, tmp_path: Path, left: str
) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "infra", checkout / "infra")
    for file in ("compose.yaml", "compose.debian.yaml"):
        shutil.copy(ROOT / file, checkout)
    secrets = checkout / ".listo" / "stack" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "jwt_secret").write_text("x")
    label = f"com.docker.compose.project={project}"
    if left == "container":
        docker("create", "--label", label, "--label",
               f"com.docker.compose.project.working_dir={checkout}", acme.BASE, "true")  # fmt: skip
    else:
        # As `make down` leaves it.
        (checkout / ".listo/stack/projects").mkdir()
        (checkout / ".listo/stack/projects" / project).touch()
        docker("volume", "create", "--label", label, f"{project}_postgres")
    result = listo(f"{project}-ci", secrets, "destroy-now", checkout=checkout)
    assert result.returncode == 0, result.stderr
    assert f"The secrets in .listo stay, for {project}." in result.stdout
    assert (secrets / "jwt_secret").exists()
    if left == "volume":
        docker("volume", "rm", f"{project}_postgres")
        result = listo(f"{project}-ci", secrets, "destroy-now", checkout=checkout)
        assert "the secrets in .listo" in result.stdout
        assert not secrets.exists()


def test_an_end_of_input_is_no_yes(project: str, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb", buffering=0) as keyboard, os.fdopen(theirs) as terminal:
        keyboard.write(b"\x04")
        done = subprocess.run(
            [sys.executable, "-m", "infra.stack", "destroy"],
            cwd=ROOT, stdin=terminal, capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "COMPOSE_PROJECT_NAME": project, "SECRETS_DIR": str(tmp_path)},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.endswith("Nothing was done.\n")
