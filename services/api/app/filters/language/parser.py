"""Parses a filter's text into its syntax tree."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, cast

from lark import Lark, UnexpectedInput

from app.filters.errors import FilterError
from app.filters.language.explain import explain
from app.filters.language.syntax import Comparison, Not
from app.filters.language.tree import TreeBuilder, check_steps, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.filters.language.syntax import Expression, Path

MAX_LENGTH = 4096
MAX_DEPTH = 20
MAX_TERMS = 100

_STEP = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|`(?:[^`]|``)*`")
# Tokens that are, or can contain, a parenthesis or a `not`. The quantifiers are possessive and an
# unclosed quote extends to the end, so that thousands of quotes do not each search the rest.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|`[^`]*+`?|\w+|\S', re.DOTALL)


@lru_cache(maxsize=1)
def _lark() -> Lark:
    grammar = (files("app.filters.language") / "grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        transformer=TreeBuilder(),
        # With Unicode's rules a dotless i would match an i.
        g_regex_flags=re.ASCII,
    )


# A tree can take 300 KB.
@lru_cache(maxsize=128)
def parse_filter(text: str) -> Expression:
    """The syntax tree of `text`. Raises FilterError (400) with the position of the error."""
    if len(text) > MAX_LENGTH:
        raise FilterError(
            f"A filter has at most {MAX_LENGTH} characters, this one has {len(text)}.",
            position=MAX_LENGTH,
        )
    _check_depth(text)
    try:
        expression = cast("Expression", _lark().parse(text))
    except UnexpectedInput as error:
        raise explain(text, error) from None
    for number, term in enumerate(terms(expression)):
        if number == MAX_TERMS:
            raise FilterError(
                f"A filter has at most {MAX_TERMS} comparisons.", position=term.position
            )
    return expression


def parse_path(text: str, position: int = 0) -> Path:
    """The keys that a dotted path names; backticks quote any key, and are doubled inside.

    Raises FilterError (400); its position is counted from `position` on.
    """
    keys, at = [], 0
    while True:
        match = _STEP.match(text, at)
        if match is None:
            at += position
            raise FilterError(f"Expected a field at position {at}.", position=at)
        keys.append(key_of(match[0], position + at))
        check_steps(len(keys), position)
        at = match.end()
        if at == len(text):
            return tuple(keys)
        if text[at] != ".":
            at += position
            raise FilterError(f"Expected a dot or a comma at position {at}.", position=at)
        at += 1


def split_list(text: str) -> list[tuple[int, str]]:
    """The parts between commas outside of backticks, each with its start."""
    if not text:
        return []
    parts, start, quoted = [], 0, False
    for at, character in enumerate(text):
        quoted ^= character == "`"
        if character == "," and not quoted:
            parts.append((start, text[start:at]))
            start = at + 1
    return [*parts, (start, text[start:])]


def terms(expression: Expression) -> Iterator[Comparison]:
    """The comparisons of an expression, from left to right."""
    if isinstance(expression, Comparison):
        yield expression
    elif isinstance(expression, Not):
        yield from terms(expression.inner)
    else:
        for part in expression.parts:
            yield from terms(part)


def _check_depth(text: str) -> None:
    """Bound the levels that `(` and `not` open, before anything walks the tree."""
    if text.count("(") + text.lower().count("not") <= MAX_DEPTH:
        return
    levels: list[int] = []
    pending = depth = 0
    for match in _TOKEN.finditer(text):
        word = match[0].lower()
        if word == "not":
            pending += 1
        elif word == "(":
            levels.append(pending + 1)
            depth += pending + 1
            pending = 0
        else:
            pending = 0
            if word == ")" and levels:
                depth -= levels.pop()
        if depth + pending > MAX_DEPTH:
            raise FilterError(
                f"A filter is nested at most {MAX_DEPTH} levels deep, by ( and not.",
                position=match.start(),
            )
