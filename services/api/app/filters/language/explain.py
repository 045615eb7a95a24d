"""Explains to the author of a filter why the filter does not parse."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lark import UnexpectedCharacters, UnexpectedToken

from app.filters.errors import FilterError

if TYPE_CHECKING:
    from lark import UnexpectedInput

# The names of the parser's terminals in messages, in the order in which messages list them.
_NAMES = {
    "NAME": "a field",
    "QUOTED": "a field",
    "VARIABLE": "@user.id",
    "STRING": "a string in double quotes",
    "NUMBER": "a number",
    "TRUE": "true",
    "FALSE": "false",
    "NULL": "null",
    "OPERATOR": "= != > >= < <=",
    "WORD_OPERATOR": "in, like, ilike, has",
    "IS": "is",
    "_NOT": "not",
    "_AND": "and",
    "_OR": "or",
    "DOT": "a dot",
    "COMMA": "a comma",
    "LSQB": "a list",
    "LPAR": "(",
    "RSQB": "]",
    "RPAR": ")",
    "$END": "the end",
}
# Where all of these are expected, a message says "a constant" instead.
_VALUE = frozenset({"STRING", "NUMBER", "TRUE", "FALSE", "NULL"})
_HINTS = {
    '"': "the string is not closed, or has a control character",
    "'": "strings are in double quotes",
    "`": "the backtick is not closed",
    "-": "times and other strings are in double quotes",
}
# Operators of other languages, and their spelling here.
_SPELLINGS = {
    "==": "=",
    "===": "=",
    "!==": "!=",
    "<>": "!=",
    "=!": "!=",
    "=>": ">=",
    "=<": "<=",
    "&": "and",
    "&&": "and",
    "|": "or",
    "||": "or",
    "!": "not",
    "~": "like",
}
_SIGNS = re.compile(r"[=!<>&|~]+")
_AROUND = 30


def explain(text: str, error: UnexpectedInput) -> FilterError:
    """The problem that says where the parser stopped, what it found and what could stand there."""
    expected: set[str] = set()
    at_end = False
    if isinstance(error, UnexpectedToken):
        expected = set(error.accepts or error.expected or ())
        at_end = error.token.type == "$END"
    elif isinstance(error, UnexpectedCharacters):
        expected = set(error.allowed or ())
    position = len(text) if at_end else min(error.pos_in_stream or 0, len(text))
    if at_end:
        found = "the filter ends"
    else:
        hint = _hint(text, position)
        found = f"found {text[position]!r}" + (f" ({hint})" if hint else "")
    return FilterError(
        f"Expected {_list(expected)} at position {position}{_line(text, position)},"
        f" but {found}: {_excerpt(text, position)}",
        position=position,
    )


def _hint(text: str, position: int) -> str | None:
    start = len(text[:position].rstrip("=!<>&|~"))
    signs = _SIGNS.match(text, start)
    if signs is not None and signs[0] in _SPELLINGS:
        return f"{signs[0]} is written {_SPELLINGS[signs[0]]} here"
    return _HINTS.get(text[position])


def _list(expected: set[str]) -> str:
    names = [name for terminal, name in _NAMES.items() if terminal in expected]
    if expected >= _VALUE:
        scalars = {_NAMES[terminal] for terminal in _VALUE}
        names = [name for name in names if name not in scalars]
        names.append("a constant")
    names = list(dict.fromkeys(names)) or ["something else"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _line(text: str, position: int) -> str:
    number = text.count("\n", 0, position)
    return f" (line {number + 1})" if "\n" in text else ""


def _excerpt(text: str, position: int) -> str:
    """The part of the line around the error, with the place marked."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    before, behind = text[start:position], text[position:end]
    head = "…" + before[-_AROUND:] if len(before) > _AROUND else before
    tail = behind[:_AROUND] + "…" if len(behind) > _AROUND else behind
    return f"{head}⟨here⟩{tail}"
