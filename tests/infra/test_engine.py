"""`make engine` on a machine where an engine works: nothing is replaced, no source is added."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "infra" / "engine" / "install.sh"
PROGRAMS = {
    "docker": """
case "$*" in
    version*APIVersion*) echo "$API" ;;
    version*) echo 28.2.2 ;;
    "compose version"*) echo "$COMPOSE" ;;
    "buildx version") echo "$BUILDX" ;;
esac
""",
    "apt-get": 'echo "apt-get $*" >>"$CALLS"; exit "$APT"',
    # dpkg-query knows the name of a package that is not installed as well.
    "dpkg-query": 'printf %s "$DPKG"',
    "id": 'echo "$USER_ID"',
    "grep": 'exec /bin/grep "$@"',
}
PRESENT = {
    "API": "1.50", "COMPOSE": "2.26.1", "BUILDX": "0.13", "USER_ID": "0", "APT": "0",
    "DPKG": "not-installed",
}  # fmt: skip
MMDEBSTRAP = ["apt-get install -y -qq --no-install-recommends mmdebstrap"]


def engine(folder: Path, **changes: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The outcome of the script, and its calls of apt-get."""
    for name, text in PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    calls = folder / "calls"
    done = subprocess.run(
        ["/bin/sh", str(SCRIPT)], capture_output=True, text=True, timeout=60, check=False,
        env={**PRESENT, "PATH": str(folder), "CALLS": str(calls), **changes},
    )  # fmt: skip
    return done, calls.read_text().splitlines() if calls.exists() else []


@pytest.mark.parametrize(
    ("changes", "asked", "told"),
    [
        ({}, MMDEBSTRAP, "Docker 28.2.2 runs"),
        ({"APT": "100"}, MMDEBSTRAP, "mmdebstrap is missing"),
        ({"USER_ID": "1000"}, [], "mmdebstrap is missing"),
        ({"API": "1.44"}, MMDEBSTRAP, "Docker 28.2.2 runs"),
    ],
)
def test_an_engine_that_works_stays(
    tmp_path: Path, changes: dict[str, str], asked: list[str], told: str
) -> None:
    done, calls = engine(tmp_path, **changes)
    assert (done.returncode, done.stderr) == (0, "")
    assert told in done.stdout
    assert calls == asked


@pytest.mark.parametrize("changes", [{"API": "1.43"}, {"COMPOSE": "2.23.3"}, {"COMPOSE": ""}])
def test_an_old_engine_that_is_not_debians_is_not_replaced(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    done, calls = engine(tmp_path, **changes)
    assert done.returncode == 1
    assert "the engine that runs here is not Debian's, and nothing was changed" in done.stderr
    assert calls == []


def test_only_root_replaces_an_old_engine_of_debians(tmp_path: Path) -> None:
    done, calls = engine(tmp_path, API="1.43", DPKG="installed", USER_ID="1000")
    assert done.returncode == 1
    assert "an engine is installed as root" in done.stderr
    assert calls == []
