"""The commands of README and documents that need no stack, run as they stand on the page."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from fixtures.background_program import Program, free_port
from fixtures.dev import GREETED
from fixtures.pages import ROOT, Block, commands
from fixtures.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

# The demo has a test of its own, which takes its time.
DEMO = "make demo"
SERVERS = ("uvicorn ", "gunicorn ", "listo serve", "listo worker")
# Variables of these tests' shell that a reader's shell does not have.
NOT_READERS = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PORT", "PYTHONPATH")


class Reader:
    """A person who copies commands from a page into a shell, in a checkout without data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = str(free_port())
        environment = {name: value for name, value in os.environ.items() if name not in NOT_READERS}
        path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        self.environment = environment | {"PATH": path, "PORT": self.port}

    def with_port(self, text: str) -> str:
        """The text with the port that is free here."""
        return re.sub(r"\b8000\b", self.port, text)

    def execute(self, text: str, folder: str = ".", **environment: str) -> str:
        """The output of the commands; each must succeed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.with_port(text)],
            cwd=self.folder / folder, env=self.environment | environment,
            input="y\n", capture_output=True, text=True, timeout=PATIENCE * 2, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        return done.stdout

    def start(self, line: str, folder: str = ".", **environment: str) -> Program:
        """A command that ends with Ctrl-C."""
        return Program(
            ["bash", "-c", f"exec env {self.with_port(line)}"],
            self.environment | environment, self.folder / folder,
        )  # fmt: skip


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    folder = tmp_path_factory.mktemp("reader") / "listo"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in files.split("\0"):
        if name and (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            # The copy keeps its time of change, by which make sees that all is installed.
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    return Reader(folder)


def blocks_of(page: str) -> list[Block]:
    return [block for block in commands("dev") if block.page == page]


@pytest.fixture
def dev_server(reader: Reader) -> Iterator[Program]:
    run = reader.start("make dev")
    try:
        run.wait_for(GREETED)
        yield run
    finally:
        status = run.stop(signal.SIGINT)
    # make ends with these statuses where a signal ended its program.
    assert status in (0, 2, 130, -signal.SIGINT), run.output


def test_the_readme_works_from_its_first_line_to_its_last(
    reader: Reader, dev_server: Program
) -> None:
    first, *rest = blocks_of("README.md")
    assert first.text == "make dev\n"
    readme = (ROOT / "README.md").read_text()
    files = re.findall(r"`(\w+\.yaml)` holds.*?\n```yaml\n(.*?)```", readme, re.DOTALL)
    for name, text in files:
        (reader.folder / name).write_text(text)
    assert rest[0].text == f"{DEMO}\n"
    printed = {str(block): reader.execute(block.text) for block in rest[1:]}
    curls = next(text for block, text in zip(rest[1:], printed.values(), strict=True)
                 if "curl" in block.text)  # fmt: skip
    *_, found = re.findall(r'\{"items":.*\}', curls)
    assert [book["title"] for book in json.loads(found)["items"]] == ["Moby Dick"], curls
    assert '"code":' not in curls, "a problem was answered"
    assert files, "the file that `collections apply` takes is gone from the README"
    # The file says the same as the PUT before it.
    assert "would change" not in printed[str(rest[-1])], printed
    assert "Traceback" not in dev_server.output


def test_an_extension_starts_as_its_page_says(reader: Reader) -> None:
    (block,) = blocks_of("docs/extensions.md")
    (line,) = block.text.splitlines()
    run = reader.start(line)
    try:
        run.wait_for(GREETED)
        paths = httpx.get(f"http://127.0.0.1:{reader.port}/openapi.json").json()["paths"]
        assert any(path.startswith("/loans") for path in paths)
    finally:
        run.stop(signal.SIGINT)


def test_the_servers_of_the_page_for_operators_start(reader: Reader, database_url: str) -> None:
    """From `services/api` with DATABASE_URL and JWT_SECRET set, as the page says."""
    blocks = blocks_of("docs/operations.md")
    settings = {
        "DATABASE_URL": database_url, "JWT_SECRET": "0123456789abcdefghijklmnopqrstuv",
        "WEB_CONCURRENCY": "1",
    }  # fmt: skip
    for line in "".join(block.text for block in blocks).splitlines():
        if not line.startswith(SERVERS):
            reader.execute(line, "services/api", **settings)
            continue
        run = reader.start(line, "services/api", **settings)
        try:
            if "worker" in line:
                run.wait_for('"level":"INFO"')
            else:
                run.wait_ready(f"http://127.0.0.1:{reader.port}/health/ready")
        finally:
            status = run.stop(signal.SIGTERM)
        assert status in (0, -signal.SIGTERM), (line, run.output)
        assert "Traceback" not in run.output


ALONE = [
    block for block in commands("dev")
    if block.page not in ("README.md", "docs/extensions.md", "docs/operations.md")
]  # fmt: skip


@pytest.mark.parametrize("block", ALONE, ids=str)
def test_commands_that_need_nothing_else_succeed(reader: Reader, block: Block) -> None:
    reader.execute(block.text)
