"""Builds the syntax tree from the parser's reductions, and bounds the tree's leaves."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from lark import Transformer

from app.core.json import MAX_DEPTH, MAX_EXPONENT
from app.filters.errors import FilterError
from app.filters.language.syntax import And, Comparison, Constant, Field, Items, Not, Or, Variable

if TYPE_CHECKING:
    from lark import Token

    from app.filters.language.syntax import Comparator, Expression, Name, Operand

MAX_ITEMS = 500
MAX_DIGITS = 400
# The limit of a path: a record has no deeper values.
MAX_STEPS = MAX_DEPTH
VARIABLES = ("user.id", "user.roles")

_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)$")


class TreeBuilder(Transformer["Token", Any]):
    """The parser calls a method at each reduction, so no method recurses, however deep the text."""

    def start(self, children: list[Expression]) -> Expression:
        return children[0]

    def path(self, tokens: list[Token]) -> Field:
        check_steps(len(tokens), _at(tokens[0]))
        keys = tuple(key_of(token, _at(token)) for token in tokens)
        quoted = any(token.type == "QUOTED" for token in tokens)
        return Field(keys, _at(tokens[0]), quoted)

    def variable(self, tokens: list[Token]) -> Variable:
        name = tokens[0][1:]
        if name not in VARIABLES:
            raise FilterError(
                f"There is no variable @{name}, only @user.id and @user.roles.",
                position=_at(tokens[0]),
            )
        return Variable(cast("Name", name), _at(tokens[0]))

    def scalar(self, tokens: list[Token]) -> Constant:
        token, position = tokens[0], _at(tokens[0])
        if token.type == "STRING":
            return _string(token, position)
        if token.type == "NUMBER":
            _check_number(token, position)
            return Constant(str(token), json.loads(token), position)
        text = token.lower()
        return Constant(text, json.loads(text), position)

    def items(self, children: list[Any]) -> Items:
        bracket, *given = children
        items = tuple(item for item in given if item is not None)
        if len(items) > MAX_ITEMS:
            raise FilterError(
                f"A list has at most {MAX_ITEMS} items, this one has {len(items)}.",
                position=items[MAX_ITEMS].position,
            )
        return Items(items, _at(bracket))

    def compared(self, children: list[Any]) -> Comparison:
        left, operator, right = children
        return _comparison(left, operator.lower(), right, _at(operator))

    def compared_not(self, children: list[Any]) -> Not:
        return Not(self.compared(children))

    def absent(self, children: list[Any]) -> Comparison:
        left, operator, _ = children
        return _comparison(left, "=", Constant("null", None, _at(operator)), _at(operator))

    def present(self, children: list[Any]) -> Not:
        return Not(self.absent(children))

    def negated(self, children: list[Expression]) -> Not:
        return Not(children[0])

    def both(self, children: list[Expression]) -> Expression:
        return And(tuple(children))

    def either(self, children: list[Expression]) -> Expression:
        return Or(tuple(children))


def check_steps(number: int, position: int) -> None:
    if number > MAX_STEPS:
        raise FilterError(
            f"A field is named in at most {MAX_STEPS} steps: records are no deeper.",
            position=position,
        )


def key_of(text: str, position: int) -> str:
    """The key that a step of a path names, without its backticks."""
    key = text[1:-1].replace("``", "`") if text.startswith("`") else str(text)
    _check_characters(key, position)
    return key


def _at(token: Token) -> int:
    return token.start_pos or 0


def _comparison(left: Field | Variable, operator: str, right: Operand, position: int) -> Comparison:
    return Comparison(left, cast("Comparator", operator), right, position)


def _string(token: Token, position: int) -> Constant:
    try:
        value = json.loads(token)
    except json.JSONDecodeError as error:
        at = position + error.pos
        raise FilterError(
            f"The string has an escape at position {at} that JSON does not know.", position=at
        ) from None
    _check_characters(value, position)
    return Constant(json.dumps(value, ensure_ascii=False), value, position)


def _check_characters(text: str, position: int) -> None:
    # PostgreSQL cannot store these characters.
    if "\x00" in text:
        raise FilterError(f"U+0000 at position {position} can be in no record.", position=position)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise FilterError(
            f"The lone surrogate at position {position} can be in no record.", position=position
        )


def _check_number(text: str, position: int) -> None:
    exponent = _EXPONENT.search(text)
    if len(text) > MAX_DIGITS:
        raise FilterError(
            f"The number at position {position} has more than {MAX_DIGITS} digits.",
            position=position,
        )
    if exponent is not None and abs(int(exponent[1])) > MAX_EXPONENT:
        raise FilterError(
            f"The number at position {position} has an exponent beyond ±{MAX_EXPONENT}.",
            position=position,
        )
