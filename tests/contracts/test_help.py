"""`make help`, in a pipe and on a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_pipe_gets_80_columns_without_colours() -> None:
    text = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    described = re.findall(r"^([a-z-]+):.*?## (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target, description in described:
        assert f"  make {target} " in text
        assert description in " ".join(text.split())


def test_a_terminal_gets_colours_unless_it_says_no() -> None:
    for environment, colourful in (({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)):
        reader, writer = pty.openpty()
        with subprocess.Popen(
            ["make", "help"], cwd=ROOT, stdout=writer, env={**os.environ, **environment}
        ):
            os.close(writer)
            shown = b""
            # At the end of its output, reading from a terminal raises an error; a pipe would
            # return no bytes.
            with suppress(OSError):
                while read := os.read(reader, 4096):
                    shown += read
        os.close(reader)
        assert (b"\x1b[" in shown) is colourful
