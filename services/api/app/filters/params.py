"""The values that a compiled statement binds, some of them known only when a request comes."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING

from app.filters.errors import FilterError
from app.filters.paths import sql_literal

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from app.core.actor import Actor


class Caller(Enum):
    """Values that depend on the caller."""

    ID = ("caller_id", "uuid")
    ID_JSON = ("caller_id_json", "jsonb")
    ROLES_JSON = ("caller_roles_json", "jsonb")

    def __init__(self, column: str, kind: str) -> None:
        self.column = column
        self.kind = kind


class Params:
    """Values in the order of their numbers, which start at `start`."""

    def __init__(self, start: int = 1) -> None:
        self._start = start
        self._values: list[object] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: object, cast: str) -> str:
        """Bind `value`; returns the SQL that stands for it. A Caller is bound once."""
        if isinstance(value, Caller) and value in self._values:
            return f"${self._start + self._values.index(value)}::{cast}"
        self._values.append(value)
        return f"${self._start + len(self._values) - 1}::{cast}"

    def copy(self) -> Params:
        """A copy, to which values can be added without changing the original."""
        copied = Params(self._start)
        copied._values = list(self._values)
        return copied

    def bind(self, actor_id: UUID | None, roles: Collection[str]) -> list[object]:
        """The values for one caller, as asyncpg takes them; an anonymous caller has no id."""
        return [
            _resolve(value, actor_id, roles) if isinstance(value, Caller) else value
            for value in self._values
        ]


class RowParams(Params):
    """Values of a statement whose rows have different callers: a Caller is a column of the rows."""

    def __init__(self) -> None:
        super().__init__()
        # The values that the statement needs of each caller, in the order of its columns.
        self.callers: list[Caller] = []

    def add(self, value: object, cast: str) -> str:
        if not isinstance(value, Caller):
            return super().add(value, cast)
        if value not in self.callers:
            self.callers.append(value)
        return value.column

    def columns(self, actors: Sequence[Actor]) -> list[object]:
        """For each value in `callers`, the array of all actors' values."""
        return [[_resolve(each, one.id, one.roles) for one in actors] for each in self.callers]


class Literals(Params):
    """Values that stand in the SQL itself, for the definition of an index."""

    def add(self, value: object, cast: str) -> str:
        """The value as an SQL constant. Raises FilterError (400) for a Caller."""
        if isinstance(value, Caller):
            raise FilterError("The filter of an index knows no caller.")
        if isinstance(value, list):
            each = cast.removesuffix("[]")
            return f"ARRAY[{', '.join(self.add(item, each) for item in value)}]::{cast}"
        return f"{sql_literal(str(value))}::{cast}"


def _resolve(value: Caller, actor_id: UUID | None, roles: Collection[str]) -> object:
    if value is Caller.ID:
        return actor_id
    if value is Caller.ID_JSON:
        return "null" if actor_id is None else f'"{actor_id}"'
    return json.dumps(sorted(roles))
