"""From a filter's text to its syntax tree."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedEOF, UnexpectedInput
from lark.exceptions import VisitError

from app.filters.errors import FilterError
from app.filters.syntax import (
    And,
    Comparison,
    Expression,
    Field,
    Items,
    Literal_,
    Not,
    Or,
    Path,
    Variable,
)

MAX_LENGTH = 4096
MAX_DEPTH = 20
MAX_TERMS = 100
MAX_ITEMS = 500
MAX_DIGITS = 400
MAX_EXPONENT = 308

_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)$")
_PATH = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*|`(?:[^`]|``)*`)")

# How the parser's terminals are called in messages.
_WORDS = {
    "NAME": "a field", "QUOTED": "a field", "VARIABLE": "@user.id or @user.roles",
    "STRING": "a string", "NUMBER": "a number", "TRUE": "true", "FALSE": "false", "NULL": "null",
    "OPERATOR": "a comparison (= != > >= < <=)", "WORD_OPERATOR": "in, like, ilike or has",
    "LPAR": "(", "RPAR": ")", "LSQB": "[", "RSQB": "]", "COMMA": "a comma", "DOT": "a dot",
    "AND": "and", "OR": "or", "NOT": "not", "IS": "is", "$END": "the end",
}  # fmt: skip


@lru_cache(maxsize=1)
def _lark() -> Lark:
    grammar = (FilePath(__file__).parent / "grammar.lark").read_text()
    return Lark(grammar, parser="lalr", lexer="contextual", propagate_positions=False)


@lru_cache(maxsize=1024)
def parse_filter(text: str) -> Expression:
    """The syntax tree of `text`. Raises FilterError (400) with the position of the fault."""
    if len(text) > MAX_LENGTH:
        raise FilterError(
            f"The filter is longer than {MAX_LENGTH} characters.", position=MAX_LENGTH
        )
    _check_nesting(text)
    try:
        tree = _lark().parse(text)
        expression: Expression = _Build().transform(tree)
    except VisitError as error:
        if isinstance(error.orig_exc, FilterError):
            raise error.orig_exc from None
        raise
    except UnexpectedInput as error:
        raise _explain(text, error) from None
    terms = _terms(expression)
    if terms > MAX_TERMS:
        raise FilterError(f"The filter has {terms} comparisons, at most {MAX_TERMS} are allowed.")
    return expression


def parse_path(text: str, position: int = 0) -> Path:
    """The keys that a dotted path names; backticks quote any key, doubled inside."""
    keys, at = [], 0
    while True:
        match = _PATH.match(text, at)
        if match is None:
            raise FilterError(
                f"Expected a field at position {position + at}.", position=position + at
            )
        keys.append(_key(match[0], position + at))
        at = match.end()
        if at == len(text):
            return tuple(keys)
        if text[at] != ".":
            raise FilterError(
                f"Expected a dot at position {position + at}.", position=position + at
            )
        at += 1


def _key(text: str, position: int) -> str:
    key = text[1:-1].replace("``", "`") if text.startswith("`") else text
    _check_text(key, position)
    return key


def _check_text(text: str, position: int) -> None:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise FilterError(
            f"A character at position {position} cannot be stored.", position=position
        )


class _Build(Transformer[Token, Any]):
    """Makes our tree from lark's, from the leaves up."""

    def start(self, children: list[Any]) -> Any:
        return children[0]

    def path(self, tokens: list[Token]) -> Field:
        keys = tuple(_key(str(token), token.start_pos or 0) for token in tokens)
        return Field(keys, tokens[0].start_pos or 0)

    def variable(self, tokens: list[Token]) -> Variable:
        name, position = str(tokens[0])[1:], tokens[0].start_pos or 0
        if name not in ("user.id", "user.roles"):
            raise FilterError(
                f"There is no variable @{name}, only @user.id and @user.roles.", position=position
            )
        return Variable(name, position)  # type: ignore[arg-type]

    def scalar(self, tokens: list[Token]) -> Literal_:
        token = tokens[0]
        position = token.start_pos or 0
        text = str(token)
        if token.type == "NUMBER":
            _check_number(text, position)
        elif token.type != "STRING":
            text = text.lower()
        try:
            value = json.loads(text)
        except ValueError:
            raise FilterError(
                f"The string at position {position} has an escape that JSON does not know.",
                position=position,
            ) from None
        if isinstance(value, str):
            _check_text(value, position)
            text = json.dumps(value, ensure_ascii=False)
        return Literal_(text, value, position)

    def items(self, children: list[Any]) -> Items:
        items = tuple(child for child in children if child is not None)
        if len(items) > MAX_ITEMS:
            raise FilterError(f"A list has at most {MAX_ITEMS} items, this one {len(items)}.")
        return Items(items, items[0].position if items else 0)

    def compared(self, children: list[Any]) -> Comparison:
        left, operator, right = children
        return Comparison(left, str(operator).lower(), right, operator.start_pos)  # type: ignore[arg-type]

    def compared_not(self, children: list[Any]) -> Not:
        return Not(self.compared(children))

    def absent(self, children: list[Any]) -> Comparison:
        left = children[0]
        return Comparison(left, "=", Literal_("null", None, left.position), left.position)

    def present(self, children: list[Any]) -> Not:
        return Not(self.absent(children))

    def negated(self, children: list[Any]) -> Not:
        return Not(children[0])

    def both(self, children: list[Any]) -> Expression:
        return children[0] if len(children) == 1 else And(tuple(children))

    def either(self, children: list[Any]) -> Expression:
        return children[0] if len(children) == 1 else Or(tuple(children))


def _check_nesting(text: str) -> None:
    """Bounds the depth before anything recurses: by parentheses, and by `not` after `not`."""
    depth = 0
    nots = 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|`[^`]*`|[()]|\w+|[^\s\w]', text):
        token = match[0].lower()
        depth += (token == "(") - (token == ")")
        nots = nots + 1 if token == "not" else nots if token == "(" else 0
        if depth + nots > MAX_DEPTH:
            raise FilterError(
                f"The filter is nested deeper than {MAX_DEPTH} levels.", position=match.start()
            )


def _check_number(text: str, position: int) -> None:
    exponent = _EXPONENT.search(text)
    too_large = exponent is not None and abs(int(exponent[1])) > MAX_EXPONENT
    if too_large or len(text) > MAX_DIGITS:
        raise FilterError(f"The number at position {position} is out of range.", position=position)


def _terms(expression: Expression) -> int:
    if isinstance(expression, Not):
        return _terms(expression.inner)
    if isinstance(expression, And | Or):
        return sum(_terms(part) for part in expression.parts)
    return 1


def _explain(text: str, error: UnexpectedInput) -> FilterError:
    position = error.pos_in_stream if error.pos_in_stream is not None else len(text)
    if isinstance(error, UnexpectedCharacters):
        expected = error.allowed or set()
    else:
        expected = getattr(error, "expected", set()) or getattr(error, "accepts", set()) or set()
    token = getattr(error, "token", None)
    at_end = isinstance(error, UnexpectedEOF) or (token is not None and token.type == "$END")
    if at_end:
        position = len(text)
    names = sorted({_WORDS.get(name, name.lower()) for name in expected})
    wanted = (
        f" Expected {', '.join(names[:-1])}{' or ' if len(names) > 1 else ''}{names[-1]}."
        if names
        else ""
    )
    rest = text[position : position + 20]
    found = "ends too early" if at_end else f"is not understood from {rest!r} on"
    return FilterError(f"The filter {found} (position {position}).{wanted}", position=position)
