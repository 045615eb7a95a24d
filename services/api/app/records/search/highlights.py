"""Highlights: where the words of a query stand in a record's texts, and fragments around them.

PostgreSQL marks the words by control characters, in place of which texts have blanks. So offsets
are exact, and the fragments are escaped here.
"""

from __future__ import annotations

import html
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from app.collections.declared_search import CJK
from app.filters.paths import sql_literal
from app.records.search.wording import all_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.collections.declared_search import SearchIndex

START, STOP, BETWEEN = "\x02", "\x03", "\x1e"
# The characters of a text that are looked at.
_LOOKED_AT: Final = 10_000
_MOST_FRAGMENTS: Final = 3
_MOST_OFFSETS: Final = 100
# The typed words that are looked for in texts without blanks.
_MOST_TYPED: Final = 16
# The characters of a fragment, and how many of them are before the first word.
_LONG: Final = 240
_BEFORE: Final = 60
_OPTIONS: Final = f"HighlightAll=true, StartSel={START}, StopSel={STOP}"
_MARK = re.compile(f"[{START}{STOP}]")

Span = tuple[int, int]


def column(index: SearchIndex, name: str, query: str) -> str:
    """SQL of a field's text with marks; texts of a list have BETWEEN before each. `query` is SQL of
    a `tsquery`."""
    text = f"listo.search_shown({index.values[name]}, {_LOOKED_AT})"
    if index.spec.language == CJK:
        return text
    return f"listo.search_marks({index.configuration}, {text}, {query}, {sql_literal(_OPTIONS)})"


def highlights(index: SearchIndex, texts: Sequence[str], q: str) -> dict[str, list[dict[str, Any]]]:
    """By field with any of the words, its fragments: `text` is HTML with `<mark>` and nothing else
    of it, `offsets` are pairs of code points within the field's text, and `index` is the place of
    the text in a list."""
    found = {}
    by_letters = index.spec.language == CJK
    typed = _typed(q)[:_MOST_TYPED] if by_letters else []
    for name, text in zip(index.fields, texts, strict=True):
        if not by_letters and START not in text:
            continue
        parts = text.split(BETWEEN)
        made: list[dict[str, Any]] = []
        for number, part in enumerate(parts):
            plain, spans = (part, _by_letters(part, typed)) if by_letters else _spans(part)
            place = {"index": number - 1} if number else {}
            made += [{**place, **each} for each in _fragments(plain, spans)]
            if len(made) >= _MOST_FRAGMENTS:
                break
        if made:
            found[name] = made[:_MOST_FRAGMENTS]
    return found


def _spans(marked: str) -> tuple[str, list[Span]]:
    """The text without marks, and the first spans between them."""
    if START not in marked:
        return marked, []
    spans, begun = [], 0
    for before, mark in enumerate(islice(_MARK.finditer(marked), 2 * _MOST_OFFSETS)):
        place = mark.start() - before
        if mark[0] == START:
            begun = place
        else:
            spans.append((begun, place))
    return marked.replace(START, "").replace(STOP, ""), spans


def _by_letters(text: str, typed: Sequence[str]) -> list[Span]:
    """The first spans of the typed words, which have no capitals; the longest where some begin
    together. Each word is looked for by itself: the time of an expression of all of them would grow
    with their number times their length."""
    small, spans = _small(text), []
    for word in typed:
        at = small.find(word)
        for _ in range(_MOST_OFFSETS):
            if at < 0:
                break
            spans.append((at, at + len(word)))
            at = small.find(word, at + len(word))
    kept: list[Span] = []
    for begin, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not kept or begin >= kept[-1][1]:
            kept.append((begin, end))
    return kept[:_MOST_OFFSETS]


def _small(text: str) -> str:
    """The text without capitals, as long as before."""
    small = text.lower()
    if len(small) == len(text):
        return small
    return "".join(one if len(one := each.lower()) == 1 else each for each in text)


def _typed(q: str) -> list[str]:
    kept = re.sub(r'-(?:"[^"]*"?|\S+)', " ", q)
    return [_small(word) for word in all_words(kept) if word.lower() != "or"]


def _fragments(text: str, spans: list[Span]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    while spans and len(made) < _MOST_FRAGMENTS:
        begin, end = _bounds(text, spans[0])
        within = [span for span in spans if span[0] >= begin and span[1] <= end] or spans[:1]
        spans = [span for span in spans if span[0] >= max(end, within[-1][1])]
        made.append({"text": _html(text, within, begin, end), "offsets": within})
    return made


def _bounds(text: str, first: Span) -> Span:
    """Where a fragment begins and ends: between words, unless a word is very long."""
    if len(text) <= _LONG:
        return 0, len(text)
    begin = max(0, first[0] - _BEFORE)
    if begin:
        begin = max(begin, text.find(" ", begin, first[0]) + 1)
    end = max(first[1], min(len(text), begin + _LONG))
    if end < len(text):
        end = max(first[1], text.rfind(" ", first[1], end))
    return begin, end


def _html(text: str, spans: list[Span], begin: int, end: int) -> str:
    parts, place = ["…" if begin else ""], begin
    for start, stop in spans:
        parts.append(html.escape(text[place:start]))
        parts.append(f"<mark>{html.escape(text[start:stop])}</mark>")
        place = stop
    parts.append(html.escape(text[place:end]))
    parts.append("…" if end < len(text) else "")
    return "".join(parts)
