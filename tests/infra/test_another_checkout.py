"""Two checkouts on one machine: neither takes the other's stack for its own."""

from __future__ import annotations

import os
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


def listo(project: str, secrets: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.stack", command],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
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
