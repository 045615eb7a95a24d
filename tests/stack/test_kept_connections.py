"""No answer of a replica or of nginx on a kept connection waits for an acknowledgement."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixtures import packets

if TYPE_CHECKING:
    from fixtures.stack import Stack


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 8000), ("nginx", 8080)])
def test_no_answer_is_held_back(stack: Stack, host: str, port: int) -> None:
    # The client is in the stack's network: published ports have the engine's own proxy in front.
    client = stack.containers("api")[0]["Name"]
    done = subprocess.run(
        ["docker", "exec", "-i", client, "python3", "-", host, str(port)],
        input=Path(packets.__file__).read_bytes(),
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, b"")
