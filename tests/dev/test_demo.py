"""`make demo` beside a `make dev`."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from fixtures.background_program import API, Program
from fixtures.dev import GREETED, Run

if TYPE_CHECKING:
    from pathlib import Path

ROOT = API.parents[1]


def demo(project: Path, **environment: str) -> Program:
    """A `make demo` that has ended."""
    program = Program(
        [sys.executable, "-m", "examples.demo"],
        {"LISTO_PROJECT": str(project), "PYTHONPATH": os.pathsep.join([str(API), str(ROOT)]),
         **environment},
    )  # fmt: skip
    program.finish()
    assert "Traceback" not in program.output
    return program


def test_the_demo_loads_records_and_asks_for_them(
    project: Path, port: int, fresh_database: str
) -> None:
    settings = project / ".env"
    settings.write_text(f"PORT={port}\n")
    run = Run(project, port, PORT="", LISTO_ENV_FILE=str(settings), DATABASE_URL=fresh_database)
    run.wait_for(GREETED)
    for _ in range(2):
        # The second run finds all records there.
        shown = demo(project)
        assert shown.process.returncode == 0, shown.output
        loaded = re.findall(r"^(\w+) .* (\d+)/(\d+) ", shown.output, re.MULTILINE)
        assert [name for name, _, _ in loaded] == ["characters", "timezones", "packages"]
        assert all(done == total for _, done, total in loaded)
        answers = re.findall(
            r"^.+\?\n  GET /collections/\w+/records\?.+\n(?:    \w+ .+\n)+    [1-9]\d* ",
            shown.output,
            re.MULTILINE,
        )
        assert len(answers) == 6, shown.output
    assert run.stop() == 0
    said = demo(project, PORT=str(port))
    assert said.process.returncode == 1
    assert said.output == f"Nothing answers at http://localhost:{port}; start it first: make dev\n"
