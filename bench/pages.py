"""Tables and plots in docs: measured results are written between two markers of a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bench.plot import svg
from bench.stage import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.plot import Panel

DOCS = ROOT / "docs"
PAGE = DOCS / "performance.md"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    head = [columns, ["---"] * len(columns)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [*head, *rows])


def write(name: str, text: str, panels: Sequence[Panel], page: Path = PAGE) -> None:
    """Replace what is between the markers `name` of the page, and write the plot beside the page.

    Raises ValueError if the page lacks the markers.
    """
    before = page.read_text()
    begin, end = f"<!-- {name}: written by make bench-{name} WRITE=1 -->", f"<!-- end {name} -->"
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    picture = page.with_name(f"{name}.svg")
    whole = f"{begin}\n\n{text}\n\n![the same as a plot]({picture.name})\n\n{end}"
    after, found = pattern.subn(lambda _: whole, before)
    if found != 1:
        raise ValueError(f"{page} has not one place between {begin} and {end}")
    page.write_text(after)
    picture.write_text(svg(panels))
