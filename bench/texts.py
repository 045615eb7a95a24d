"""Real text for benchmarks of searches: paragraphs of the documents that this machine has."""

from __future__ import annotations

import os
import random
import re
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PLACES = ("/usr/share", "/usr/lib/python3", sys.prefix, str(Path(os.__file__).parent))
_ENDINGS = (".md", ".rst", ".txt", ".py", ".pod", ".html", ".pm", ".js")
_LONGEST_FILE = 300_000
# The characters of a text.
LENGTH = 190
_SHORTEST = 60
_PARAGRAPH = re.compile(r"\n\s*\n")
_WORD = re.compile(r"\b[A-Za-z]{2,}\b")
# Prose has a word for each seven letters, tables of numbers have none.
_LETTERS_OF_A_WORD = 9


def texts(number: int) -> list[str]:
    """So many texts of some 190 characters, in no order. Where this machine has too few, the rest
    are made of two halves each."""
    found = list(islice(dict.fromkeys(_pieces()), number))
    if len(found) < 2:
        raise SystemExit(f"There are no documents in {', '.join(PLACES)}.")
    chosen = random.Random(1)  # noqa: S311 - data, not secrets
    halves = len(found)
    while len(found) < number:
        one, other = (found[chosen.randrange(halves)] for _ in range(2))
        found.append(f"{one[: LENGTH // 2]} {other[LENGTH // 2 :]}")
    chosen.shuffle(found)
    return found


def _pieces() -> Iterator[str]:
    for place in PLACES:
        for folder, _, names in sorted(os.walk(place)):
            for name in sorted(names):
                if name.endswith(_ENDINGS):
                    yield from _pieces_of(Path(folder) / name)


def _pieces_of(path: Path) -> Iterator[str]:
    try:
        text = path.read_bytes()[:_LONGEST_FILE].decode(errors="ignore").replace("\0", "")
    except OSError:
        return
    for paragraph in _PARAGRAPH.split(text):
        line = " ".join(paragraph.split())
        if len(_WORD.findall(line)) * _LETTERS_OF_A_WORD > len(line):
            for start in range(0, len(line), LENGTH):
                piece = line[start : start + LENGTH]
                if len(piece) >= _SHORTEST:
                    yield piece
