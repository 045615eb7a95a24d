"""Targets, commands, services, modules and pages that the pages name are there."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache

import pytest
import yaml

from fixtures.pages import PAGES, PLACES, ROOT, blocks, spans

PROGRAMS = {
    "curl", "docker", "gunicorn", "listo", "make", "openssl", "psql", "python", "python3", "ssh",
    "sudo", "testssl", "uvicorn",
}  # fmt: skip
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def test_commands_are_in_blocks_that_say_where_they_run() -> None:
    for block in blocks():
        assert block.place is None or block.place in PLACES, block
        if block.place is None:
            begun = {line.split()[0] for line in block.text.splitlines() if line.split()}
            assert not begun & PROGRAMS, block


def test_targets_of_make_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [
        (page, word) for page, span in spans("make") for word in span.split()[1:2] if word.islower()
    ]
    for block in blocks():
        if block.place is not None:
            found = re.findall(r"^(?:sudo )?make ([a-z-]+)", block.text, re.MULTILINE)
            named += [(str(block), target) for target in found]
    assert named
    assert [(page, target) for page, target in named if target not in targets] == []


def test_services_of_compose_are_there() -> None:
    services = set(yaml.safe_load((ROOT / "compose.yaml").read_text())["services"])
    verbs = "exec|logs|kill|restart|run|start|stop|unpause|pause|up"
    for page in PAGES:
        for call in re.findall(rf"docker compose (?:{verbs})\b([^`|\n]*)", page.read_text()):
            words = re.findall(r"(?<![-\w/=.:'\"])[a-z][a-z-]+(?![\w/=.:'\"])", call)
            names = [word for word in words if word in services or word.isupper()]
            assert names or "SERVICE" in call or not words, (page.name, call)


@cache
def has_help(*words: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *words, "--help"], capture_output=True, check=False
    )
    return done.returncode == 0


def calls() -> list[str]:
    """Commands like `admin create`, without options and names."""
    found = (re.match(r"listo((?: [a-z][a-z-]*)*)", span) for _, span in spans("listo"))
    return sorted({call[1].strip() for call in found if call})


@pytest.mark.parametrize("call", calls())
def test_commands_of_listo_are_there(call: str) -> None:
    assert has_help(*call.split()), call


def test_links_lead_somewhere() -> None:
    lost = []
    for page in PAGES:
        for target in LINK.findall(page.read_text()):
            path, _, anchor = target.partition("#")
            if "://" in path:
                continue
            linked = page.parent / path if path else page
            there = linked.exists() and (not anchor or anchor in anchors(linked.read_text()))
            if not there:
                lost.append((page.name, target))
    assert lost == []


def anchors(text: str) -> set[str]:
    """The anchors that web pages of repositories give to headings."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
