"""Rules of PocketBase, from their text to comparisons under `and` and `or`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_TOKEN = re.compile(
    r"""\s*(?://[^\n]*|
      (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    | (?P<number>-?\d+(?:\.\d+)?(?![\w.]))
    | (?P<join>&&|\|\|)
    | (?P<compare>\??(?:!=|!~|>=|<=|=|~|>|<))
    | (?P<bracket>[()])
    | (?P<name>[@A-Za-z_][\w.@:]*)
    | (?P<other>\S))""",
    re.VERBOSE | re.DOTALL,
)
_DEEPEST = 20


class Untranslatable(Exception):
    """A rule, or a part of it, cannot be said here; the message says why."""


@dataclass(frozen=True)
class Name:
    """A field or one of PocketBase's variables, as it is written."""

    text: str


@dataclass(frozen=True)
class Constant:
    """A text, a number, true, false or null."""

    value: str | int | float | bool | None
    text: str


Operand = Name | Constant


@dataclass(frozen=True)
class Token:
    """A piece of the text, and which kind it is."""

    kind: str
    text: str


def translated(rule: str, compare: Callable[[Operand, str, Operand], str]) -> str:
    """The rule as a filter, in which `compare` has said each comparison. Raises Untranslatable."""
    tokens = [
        Token(match.lastgroup, match[match.lastgroup])
        for match in _TOKEN.finditer(rule)
        if match.lastgroup is not None
    ]
    return _Parser(tokens, compare).whole()


class _Parser:
    def __init__(
        self, tokens: list[Token], compare: Callable[[Operand, str, Operand], str]
    ) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0
        self._compare = compare

    def whole(self) -> str:
        found = self._either()
        if self._at < len(self._tokens):
            raise Untranslatable(f"{self._tokens[self._at].text} is not understood")
        return found

    def _either(self) -> str:
        return self._joined("||", " or ", self._both)

    def _both(self) -> str:
        return self._joined("&&", " and ", self._condition)

    def _joined(self, sign: str, word: str, part: Callable[[], str]) -> str:
        parts = [part()]
        while self._peek() == Token("join", sign):
            self._at += 1
            parts.append(part())
        return parts[0] if len(parts) == 1 else f"({word.join(parts)})"

    def _condition(self) -> str:
        if self._peek() == Token("bracket", "("):
            self._at += 1
            self._depth += 1
            if self._depth > _DEEPEST:
                raise Untranslatable(f"it has more than {_DEEPEST} levels of parentheses")
            found = self._either()
            self._depth -= 1
            if self._next() != Token("bracket", ")"):
                raise Untranslatable("a parenthesis is not closed")
            return found
        left, operator = self._operand(), self._next()
        if operator.kind != "compare":
            raise Untranslatable(f"{operator.text or 'its end'} is not understood")
        return self._compare(left, operator.text, self._operand())

    def _operand(self) -> Operand:
        token = self._next()
        if token.kind == "text":
            quote = token.text[0]
            text = token.text[1:-1].replace(f"\\{quote}", quote)
            if "\\" in text:
                # PocketBase has rules of its own for where such a text ends.
                raise Untranslatable(f"{token.text} holds a backslash")
            return Constant(text, token.text)
        if token.kind == "number":
            value = float(token.text) if "." in token.text else int(token.text)
            return Constant(value, token.text)
        if token.kind != "name":
            raise Untranslatable(f"{token.text or 'its end'} is not understood")
        words: dict[str, Any] = {"true": True, "false": False, "null": None}
        if token.text.lower() in words:
            return Constant(words[token.text.lower()], token.text.lower())
        if self._peek() == Token("bracket", "("):
            raise Untranslatable(f"{token.text}() has no counterpart")
        return Name(token.text)

    def _peek(self) -> Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else Token("end", "")

    def _next(self) -> Token:
        token = self._peek()
        self._at += 1
        return token
