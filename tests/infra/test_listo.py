"""`./listo …`, and `make listo ARGS="…"`, in `make dev` and in the stack."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from fixtures.checkout import ROOT, Checkout

if TYPE_CHECKING:
    from pathlib import Path

CALL = "compose exec --no-TTY api listo"


@pytest.fixture
def checkout(checkout: Checkout) -> Checkout:
    for file in ("listo", "Makefile"):
        shutil.copy(ROOT / file, checkout.path)
    return checkout


def run(
    checkout: Checkout, *command: str, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=checkout.path, env=checkout.environment | environment, input=given,
        capture_output=True, text=True, check=False, start_new_session=True,
    )  # fmt: skip


def last_call(checkout: Checkout) -> str:
    """The last command that the engine was asked to run."""
    return (checkout.engine / "calls").read_text().splitlines()[-1]


def in_development(checkout: Checkout, script: str) -> None:
    (checkout.path / ".listo").mkdir(exist_ok=True)
    (checkout.path / ".listo/env").touch()
    program = checkout.path / ".venv/bin/listo"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_in_the_stack_the_exit_status_is_passed_on(checkout: Checkout) -> None:
    checkout.has(answers={"compose exec": (3, "away\n")})
    done = run(checkout, "./listo", "keys", "create", "a@example.com", LISTO_PASSWORD="secret")
    assert (done.returncode, done.stderr) == (3, "away\n")
    assert last_call(checkout) == (
        "compose exec --no-TTY --env LISTO_PASSWORD api listo keys create a@example.com"
    )


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_the_stack_serves_already(checkout: Checkout, command: str) -> None:
    checkout.has()
    done = run(checkout, "./listo", command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("listo: the stack's services serve and work already")
    assert "Traceback" not in done.stderr


def test_a_file_goes_to_the_stack_by_standard_input(checkout: Checkout, tmp_path: Path) -> None:
    file = tmp_path / "books.json"
    file.write_text('{"schema": {}}')
    assert run(checkout, "./listo", "collections", "apply", str(file), "--yes").returncode == 0
    assert last_call(checkout) == f"{CALL} collections apply - --yes --name books"
    for given in (["--name=novels"], ["--name", "Makefile"]):
        run(checkout, "./listo", "collections", "apply", str(file), *given)
        assert last_call(checkout) == f"{CALL} collections apply - {' '.join(given)}"
    refused = run(checkout, "./listo", "collections", "apply", str(file), "Makefile")
    assert (refused.returncode, refused.stderr) == (
        1,
        "listo: the stack takes one file at a time\n",
    )


def test_commands_that_move_a_project_see_the_folder_of_their_file(
    checkout: Checkout, tmp_path: Path
) -> None:
    user = f"--user {os.getuid()}:{os.getgid()}"
    seen = f"--volume {tmp_path}:/host{tmp_path} --env TMPDIR=/host{tmp_path}"
    call = f"compose run --rm --no-deps --no-TTY {user} {seen} api listo"
    for given in (
        f"dump {tmp_path}/a.tar.zst --json",
        f"restore --on-conflict skip {tmp_path}/a.tar.zst",
        f"import --from pocketbase {tmp_path}/pb_data --dry-run",
    ):
        assert run(checkout, "./listo", *given.split()).returncode == 0
        assert last_call(checkout) == f"{call} {given.replace(str(tmp_path), f'/host{tmp_path}')}"
    for given in ("dump", "dump a b", "restore --on-conflict skip"):
        refused = run(checkout, "./listo", *given.split())
        what = given.split()[0]
        assert (refused.returncode, refused.stderr) == (
            1,
            f"listo: {what} takes one file or folder\n",
        )
    assert run(checkout, "./listo", "dump", "--help").returncode == 0
    assert last_call(checkout) == f"{CALL} dump --help"


def test_make_passes_on_quoted_arguments(checkout: Checkout) -> None:
    arguments = """keys create a@example.com --name "it's mine" --scope records:read"""
    run(checkout, "make", "--silent", "listo", f"ARGS={arguments}")
    assert (
        last_call(checkout)
        == f"{CALL} keys create a@example.com --name it's mine --scope records:read"
    )


def test_in_development_the_command_has_the_settings_of_the_server(checkout: Checkout) -> None:
    in_development(checkout, 'echo "$LISTO_ENV_FILE" "$PYTHONPATH" "$@"; cat; exit 4')
    done = run(checkout, "./listo", "collections", "apply", "-", "--name", "my books", given="{}")
    assert done.stdout == f"{checkout.path}/.listo/env  collections apply - --name my books\n{{}}"
    assert done.returncode == 4


def test_the_command_works_from_another_folder(checkout: Checkout, tmp_path: Path) -> None:
    in_development(checkout, "pwd")
    done = subprocess.run(
        [checkout.path / "listo"], cwd=tmp_path, env=checkout.environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{tmp_path}\n"
