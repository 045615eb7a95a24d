"""The syntax tree of a filter. Operands and comparisons know their character offset."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Path = tuple[str, ...]
Comparator = Literal["=", "!=", ">", ">=", "<", "<=", "in", "like", "ilike", "has"]
Name = Literal["user.id", "user.roles"]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the record, as the keys that lead to it."""

    path: Path
    position: int
    # Whether a key is in backticks, so spelled on purpose.
    quoted: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Variable:
    """A property of the caller: the id or the roles."""

    name: Name
    position: int


@dataclass(frozen=True, slots=True)
class Constant:
    """A JSON scalar: its text, so that numbers stay exact, and its value."""

    text: str
    value: str | int | float | bool | None
    position: int


@dataclass(frozen=True, slots=True)
class Items:
    """A list of scalars."""

    items: tuple[Constant, ...]
    position: int


Operand = Field | Variable | Constant | Items


@dataclass(frozen=True, slots=True)
class Comparison:
    """A condition; its position is that of the operator."""

    left: Field | Variable
    operator: Comparator
    right: Operand
    position: int


@dataclass(frozen=True, slots=True)
class Not:
    """True where `inner` is false; there is no third value."""

    inner: Expression


@dataclass(frozen=True, slots=True)
class And:
    """True where all parts are true."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True where at least one part is true."""

    parts: tuple[Expression, ...]


Expression = Comparison | Not | And | Or
