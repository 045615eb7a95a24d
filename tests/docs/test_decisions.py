"""Every decision has a number of its own, a date and a status, as docs/conventions.md says."""

from __future__ import annotations

import re
from datetime import date

import pytest

from fixtures.pages import ROOT

DECISIONS = {path.name: path.read_text() for path in (ROOT / "docs/decisions").iterdir()}
HEAD = re.compile(
    r"# (?P<number>\d+)\. .+\n\n"
    r"Status: (?:accepted|superseded by \[(?P<later>\d+)\]\((?P<file>[\w.-]+)\)), "
    r"(?P<day>\d{4}-\d\d-\d\d)\.\n\n"
)


def fault(name: str, decisions: dict[str, str]) -> str | None:
    """The reason why that file breaks the form of a decision."""
    head = HEAD.match(decisions[name])
    if head is None:
        return "no title, or no status with its date"
    if name[:5] != f"{int(head['number']):04}-":
        return "another number than its file's"
    try:
        date.fromisoformat(head["day"])
    except ValueError:
        return "no date"
    if head["later"] is None:
        return None
    later = int(head["later"])
    there = head["file"] in decisions and head["file"].startswith(f"{later:04}-")
    return None if there and later > int(head["number"]) else "superseded by none that came later"


@pytest.mark.parametrize("name", sorted(DECISIONS))
def test_a_decision_has_a_date_and_a_status(name: str) -> None:
    assert fault(name, DECISIONS) is None


def test_decisions_are_numbered_one_by_one() -> None:
    numbers = [int(name[:4]) for name in sorted(DECISIONS)]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("Status: accepted, 2026-11-24.", None),
        ("Status: superseded by [2](0002-b.md), 2026-11-24.", None),
        ("Status: superseded by [1](0001-a.md), 2026-11-24.", "superseded by none"),
        ("Status: superseded by [3](0003-c.md), 2026-11-24.", "superseded by none"),
        ("Status: superseded by [2](0001-a.md), 2026-11-24.", "superseded by none"),
        ("Status: accepted, 2026-13-24.", "no date"),
        ("Status: accepted.", "no title"),
        ("A text that begins at once.", "no title"),
    ],
)
def test_the_test_sees_what_is_wrong(status: str, expected: str | None) -> None:
    text = "# 1. A title\n\n" + status + "\n\nA text.\n"
    found = fault("0001-a.md", {"0001-a.md": text, "0002-b.md": ""})
    assert found is None if expected is None else expected in (found or "")
    assert fault("0002-a.md", {"0002-a.md": text}) is not None
