"""The syntax tree of a filter. Every node knows its character offset, for messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Path = tuple[str, ...]
Comparator = Literal["=", "!=", ">", ">=", "<", "<=", "in", "like", "ilike", "has"]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the record, as the keys that lead to it."""

    path: Path
    position: int


@dataclass(frozen=True, slots=True)
class Variable:
    """Something about the caller."""

    name: Literal["user.id", "user.roles"]
    position: int


@dataclass(frozen=True, slots=True)
class Literal_:  # noqa: N801 - `Literal` is taken
    """A JSON scalar: its text, so that numbers stay exact, and its value."""

    text: str
    value: str | int | float | bool | None
    position: int


@dataclass(frozen=True, slots=True)
class Items:
    """A list of scalars."""

    items: tuple[Literal_, ...]
    position: int


Operand = Field | Variable | Literal_ | Items


@dataclass(frozen=True, slots=True)
class Comparison:
    left: Field | Variable
    operator: Comparator
    right: Operand
    position: int


@dataclass(frozen=True, slots=True)
class Not:
    inner: Expression


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Expression, ...]


Expression = Comparison | Not | And | Or
