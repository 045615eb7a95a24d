"""The values that a compiled statement binds, some of them known only when a request comes."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID


class Caller(Enum):
    """Values that depend on the caller."""

    ID = "id"
    ID_JSON = "id as JSON"
    ROLES_JSON = "roles as JSON"


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
        """The values for one caller, as asyncpg takes them; an anonymous one has no `actor_id`."""
        return [
            _resolve(value, actor_id, roles) if isinstance(value, Caller) else value
            for value in self._values
        ]


def _resolve(value: Caller, actor_id: UUID | None, roles: Collection[str]) -> object:
    if value is Caller.ID:
        return actor_id
    if value is Caller.ID_JSON:
        return "null" if actor_id is None else f'"{actor_id}"'
    return json.dumps(sorted(roles))
