"""The commands of README, documents and runbooks for the running stack, as they stand."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest

from fixtures.pages import ROOT, commands
from infra.stack import compose

if TYPE_CHECKING:
    from fixtures.stack import Stack

LEFT_OUT = re.compile(r"\b(grafana|loki|fluent-bit)\b")
FAULTS = ("not found", "no such", "unknown", "invalid", "usage:", "permission denied", "error:")
PATIENCE = 300.0


def lines() -> list[str]:
    """Each command once; lines that a backslash or a quote continues are one command."""
    found: dict[str, None] = {}
    for block in commands("stack"):
        for line in re.sub(r"\\\n\s*", "", block.text).splitlines():
            if command := re.sub(r"(^|\s+)# .*", "", line).strip():
                found[command] = None
    return list(found)


@pytest.mark.parametrize("line", lines())
def test_a_command_of_the_pages_runs(stack: Stack, line: str) -> None:
    if "compose.debian.yaml" in compose.setting("COMPOSE_FILE") and LEFT_OUT.search(line):
        pytest.skip("of a service that Debian's images leave out")
    port = str(httpx.URL(stack.url).port or 443)
    done = subprocess.run(
        ["bash", "-c", line.replace("https://localhost", f"https://localhost:{port}")],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    # grep ends with status 1 if nothing matches, which is good news in a runbook.
    assert done.returncode in (0, 1), done.stderr
    said = [row for row in done.stderr.lower().splitlines() if any(word in row for word in FAULTS)]
    assert said == []
