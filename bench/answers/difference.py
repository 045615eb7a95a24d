"""The differences between two lists of exchanges, for people to read."""

from __future__ import annotations

import re
from collections import Counter
from difflib import unified_diff
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.answers.asker import Exchange

MOST_LINES = 40
_NUMBERED = re.compile(r"<\w+ [0-9.]+(?=>)")
_FOLLOWS = ("content-length:", "etag:", "++", "--")
_WIDEST = 160
_AROUND = 60
_PARTS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]\s*[\]}]|[\[{]|[\]}]|,|[^\[\]{},"]+')


Pair = tuple["Exchange | None", "Exchange | None"]


def differing(before: Sequence[Exchange], after: Sequence[Exchange]) -> list[Pair]:
    """The pairs with different answers. Requests do not count: they repeat values of answers."""
    return [
        (one, other)
        for one, other in zip_longest(before, after)
        if one is None or other is None or (one.head, one.body) != (other.head, other.body)
    ]


def told(pairs: Sequence[Pair]) -> list[str]:
    """For each change its first request, a unified diff, and the number of other answers that
    changed alike. A pair is left out where earlier pairs had all of its changed lines."""
    seen: set[str] = set()
    firsts: dict[frozenset[str], tuple[Pair, list[str]]] = {}
    alike: Counter[frozenset[str]] = Counter()
    for pair in pairs:
        lines = _diff(*pair)
        changed = _identity(lines)
        alike[changed] += 1
        if not changed <= seen:
            firsts[changed] = pair, lines
            seen |= changed
    return [_text(*first, alike[changed] - 1) for changed, first in firsts.items()]


def _identity(lines: Sequence[str]) -> frozenset[str]:
    """The lines that identify a change, without numbers of placeholders and lengths that follow."""
    changed = {_NUMBERED.sub("<", line) for line in lines if line.startswith(("-", "+"))}
    follows = {line for line in changed if line[1:].lower().startswith(_FOLLOWS)}
    return frozenset(changed - follows or changed)


def _diff(one: Exchange | None, other: Exchange | None) -> list[str]:
    lines = list(unified_diff(_lines(one), _lines(other), "before", "now", n=2, lineterm=""))
    if not lines and one is not None and other is not None:
        # Only ends of lines differ.
        return [f"-{one.body!r}", f"+{other.body!r}"]
    return lines


def _text(pair: Pair, lines: Sequence[str], more: int) -> str:
    asked = pair[1] or pair[0]
    shown = [asked.request if asked else "", *_narrow(lines[:MOST_LINES])]
    if len(lines) > MOST_LINES:
        shown.append(f"… and {len(lines) - MOST_LINES} lines more")
    if more:
        shown.append(f"… and the same change in {more} more")
    return "\n".join(shown)


def _narrow(lines: Sequence[str]) -> Iterator[str]:
    """The lines; wide ones are cut to the part around the first difference."""
    for line, other in _pairs(lines):
        pairs = enumerate(zip(line, other, strict=False))
        difference = next((at - 1 for at, (one, two) in pairs if at and one != two), len(other))
        start = max(0, min(difference, len(line)) - _AROUND) if len(line) > _WIDEST else 0
        text = line[1 + start :]
        cut = ("…" if start else "") + text[:_WIDEST] + ("…" if len(text) > _WIDEST else "")
        yield line[:1] + cut


def _pairs(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each line with its counterpart, or with nothing."""
    gone: list[str] = []
    for kind, group in groupby(lines, key=lambda line: line[:1]):
        block = list(group)
        if kind == "-":
            gone = block
            continue
        come = block if kind == "+" else []
        yield from zip_longest(gone, come[: len(gone)], fillvalue="")
        yield from zip_longest(block, gone[: len(block)], fillvalue="")
        gone = []
    yield from ((line, "") for line in gone)


def _lines(exchange: Exchange | None) -> list[str]:
    if exchange is None:
        return []
    return [*exchange.head, "", *_body(exchange.body)]


def _body(text: str) -> list[str]:
    """JSON with each member in a line of its own; any other text as it stands."""
    text = text.encode(errors="surrogateescape").decode(errors="replace")
    if not text.startswith(("{", "[")):
        return text.splitlines()
    lines, depth = [""], 0
    for part in _PARTS.findall(text):
        if part in ("{", "["):
            depth += 1
            lines[-1] += part
            lines.append("  " * depth)
        elif part in ("}", "]"):
            depth -= 1
            lines += ["  " * depth + part]
        elif part == ",":
            lines[-1] += part
            lines.append("  " * depth)
        else:
            lines[-1] += part
    return lines
