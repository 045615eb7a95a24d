"""From a syntax tree to SQL: bound values, two-valued logic, conditions that indexes can serve.

A field of the record is `coalesce(data->'a'->'b', 'null')`, so that absent and null are one and no
comparison is ever NULL. jsonb has a total order: [] < null < strings < numbers < booleans < arrays
< objects; a comparison keeps to one type of it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from app.core.ids import parse_uuid
from app.filters.errors import FilterError
from app.filters.syntax import And, Comparison, Field, Items, Literal_, Not, Or, Variable

if TYPE_CHECKING:
    from collections.abc import Collection as Some
    from collections.abc import Sequence

    from app.filters.fields import Fields
    from app.filters.syntax import Expression, Path

SYSTEM_TYPES: Final = {
    "id": "uuid",
    "version": "bigint",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "owner": "uuid",
}

# An absent owner, which sorts first like null does; and an id that nobody has.
NIL: Final = UUID(int=0)
NOBODY: Final = UUID(int=(1 << 128) - 1)


class Caller(Enum):
    """Values that are known only when a request comes."""

    ID = "id"
    ID_JSON = "id as JSON"
    ROLES_JSON = "roles as JSON"


_ORDERING = {">", ">=", "<", "<="}


class Params:
    """The values that a statement binds, numbered from `start`."""

    def __init__(self, start: int = 1) -> None:
        self._start = start
        self._values: list[object] = []

    def add(self, value: object, cast: str) -> str:
        """Bind `value`; returns the SQL that stands for it."""
        if isinstance(value, Caller) and value in self._values:
            return f"${self._start + self._values.index(value)}::{cast}"
        self._values.append(value)
        return f"${self._start + len(self._values) - 1}::{cast}"

    def copy(self) -> Params:
        copied = Params(self._start)
        copied._values = list(self._values)
        return copied

    def bind(self, actor_id: UUID | None, roles: Some[str]) -> Sequence[object]:
        """The values for one caller."""
        return [self._resolve(value, actor_id, roles) for value in self._values]

    @staticmethod
    def _resolve(value: object, actor_id: UUID | None, roles: Some[str]) -> object:
        if value is Caller.ID:
            return actor_id or NOBODY
        if value is Caller.ID_JSON:
            return "null" if actor_id is None else f'"{actor_id}"'
        if value is Caller.ROLES_JSON:
            return json.dumps(sorted(roles))
        return value


def sql_literal(text: str) -> str:
    """`text` as an SQL string constant, for keys that must stand in index expressions."""
    return "'" + text.replace("'", "''") + "'"


def field_sql(path: Path) -> str:
    """The SQL of a field, the same wherever it is used, so that indexes on it are found."""
    if path[0] in SYSTEM_TYPES:
        if len(path) > 1:
            raise FilterError(f"{path[0]} has no fields of its own.")
        return f"coalesce(owner, '{NIL}'::uuid)" if path[0] == "owner" else path[0]
    steps = "".join(f"->{sql_literal(key)}" for key in path)
    return f"coalesce(data{steps}, 'null'::jsonb)"


def compile_filter(expression: Expression, fields: Fields, params: Params) -> str:
    """SQL that is true or false for each record. Raises FilterError with the position."""
    return _Compiler(fields, params).condition(expression)


class _Compiler:
    def __init__(self, fields: Fields, params: Params) -> None:
        self.fields = fields
        self.params = params

    def condition(self, expression: Expression) -> str:
        if isinstance(expression, And):
            return "(" + " AND ".join(self.condition(part) for part in expression.parts) + ")"
        if isinstance(expression, Or):
            return "(" + " OR ".join(self.condition(part) for part in expression.parts) + ")"
        if isinstance(expression, Not):
            return f"(NOT {self.condition(expression.inner)})"
        return self.comparison(expression)

    def comparison(self, term: Comparison) -> str:
        if term.operator == "!=":
            equal = Comparison(term.left, "=", term.right, term.position)
            return f"(NOT {self.comparison(equal)})"
        left = term.left
        if isinstance(left, Field) and left.path[0] in SYSTEM_TYPES:
            return self.system(term, left)
        if isinstance(term.right, Field) and term.right.path[0] in SYSTEM_TYPES:
            return self.flipped(term, term.right)
        return self.json(term)

    # --- fields of the record, and the caller's id and roles, all as jsonb

    def json(self, term: Comparison) -> str:
        sql, types = self.operand(term.left)
        match term.operator:
            case "=":
                return self.equal(term, sql, types)
            case "in":
                return self.contained(term, sql)
            case "has":
                return self.has(term, sql, types)
            case "like" | "ilike":
                return self.like(term, sql, types)
            case _:
                return self.ordered(term, sql, types)

    def operand(self, operand: Any) -> tuple[str, frozenset[str]]:
        """The SQL of an operand and the JSON types that it may have."""
        if isinstance(operand, Field):
            sql = self.path(operand)
            return sql, self.fields.types(operand.path, operand.position)
        if isinstance(operand, Variable):
            if operand.name == "user.id":
                return self.params.add(Caller.ID_JSON, "jsonb"), frozenset({"string", "null"})
            return self.params.add(Caller.ROLES_JSON, "jsonb"), frozenset({"array"})
        if isinstance(operand, Items):
            raise FilterError("A list goes with in.", position=operand.position)
        return self.params.add(operand.text, "jsonb"), frozenset({_json_type(operand.value)})

    def path(self, field: Field) -> str:
        try:
            return field_sql(field.path)
        except FilterError as error:
            raise FilterError(error.detail, position=field.position) from None

    def equal(self, term: Comparison, sql: str, types: frozenset[str]) -> str:
        if isinstance(term.right, Literal_) and term.right.value is None:
            return f"({sql} = 'null'::jsonb)"
        right, right_types = self.operand(term.right)
        if isinstance(term.right, Variable) and "null" in right_types:
            # Nobody is nobody's equal: an anonymous caller does not own what has no owner.
            return f"({sql} = {right} AND {right} <> 'null'::jsonb)"
        if isinstance(term.left, Variable) and "null" in types:
            return f"({sql} = {right} AND {sql} <> 'null'::jsonb)"
        return f"({sql} = {right})"

    def contained(self, term: Comparison, sql: str) -> str:
        right = term.right
        if isinstance(right, Items):
            values = [item.text for item in right.items]
            return f"({sql} = ANY({self.params.add(values, 'jsonb[]')}))"
        if isinstance(right, Literal_):
            raise FilterError("in goes with a list, like [1, 2].", position=right.position)
        array, types = self.operand(right)
        guard = "" if types == {"array"} else f"jsonb_typeof({array}) = 'array' AND "
        # An array would be looked for as a subset, so only scalars count as elements.
        return (
            f"({guard}jsonb_typeof({sql}) NOT IN ('array', 'object')"
            f" AND {array} @> jsonb_build_array({sql}))"
        )

    def has(self, term: Comparison, sql: str, types: frozenset[str]) -> str:
        right = term.right
        if isinstance(right, Items):
            raise FilterError("has goes with one value.", position=right.position)
        if isinstance(right, Literal_):
            element = self.params.add(f"[{right.text}]", "jsonb")
        else:
            value, _ = self.operand(right)
            element = f"jsonb_build_array({value})"
        condition = f"{sql} @> {element}"
        if isinstance(right, Field):
            condition += f" AND jsonb_typeof({self.path(right)}) NOT IN ('array', 'object')"
        if types <= {"array", "null"}:
            return f"({condition})"
        return f"({condition} AND jsonb_typeof({sql}) = 'array')"

    def like(self, term: Comparison, sql: str, types: frozenset[str]) -> str:
        right = term.right
        if not isinstance(right, Literal_) or not isinstance(right.value, str):
            raise FilterError(f"{term.operator} goes with a string.", position=right.position)
        trailing = len(right.value) - len(right.value.rstrip("\\"))
        if trailing % 2:
            raise FilterError("The pattern ends in a lone backslash.", position=right.position)
        if "string" not in types:
            return "false"
        pattern = self.params.add(right.value, "text")
        text = f"({sql} #>> '{{}}') {term.operator.upper()} {pattern}"
        if types == {"string"}:
            return f"({text})"
        if types <= {"string", "null"}:
            return f"({sql} > 'null'::jsonb AND {text})"
        return f"(jsonb_typeof({sql}) = 'string' AND {text})"

    def ordered(self, term: Comparison, sql: str, types: frozenset[str]) -> str:
        right, operator = term.right, term.operator
        if isinstance(right, Field):
            other, other_types = self.operand(right)
            guard = f"jsonb_typeof({sql}) = jsonb_typeof({other})"
            scalar = f"jsonb_typeof({sql}) IN ('string', 'number')"
            return f"({sql} {operator} {other} AND {guard} AND {scalar})"
        if not isinstance(right, Literal_) or _json_type(right.value) not in ("string", "number"):
            raise FilterError(
                f"{operator} goes with a number or a string.", position=right.position
            )
        wanted = _json_type(right.value)
        if wanted not in types:
            return "false"
        condition = f"{sql} {operator} {self.params.add(right.text, 'jsonb')}"
        if types <= {wanted, "null"}:
            # A range on the same expression, so the planner's statistics hold for all of it.
            bounded = operator in (">", ">=") or "null" not in types
            return f"({condition})" if bounded else f"({condition} AND {sql} > 'null'::jsonb)"
        return f"({condition} AND jsonb_typeof({sql}) = '{wanted}')"

    # --- id, version, created_at, updated_at, owner: columns with types of their own

    def flipped(self, term: Comparison, field: Field) -> str:
        turned = {"=": "=", ">": "<", ">=": "<=", "<": ">", "<=": ">="}.get(term.operator)
        if turned is None or isinstance(term.left, Field):
            raise FilterError(
                f"{field.path[0]} can only be compared with a constant or @user.id.",
                position=field.position,
            )
        return self.system(Comparison(field, turned, term.left, term.position), field)  # type: ignore[arg-type]

    def system(self, term: Comparison, field: Field) -> str:
        column, sql = field.path[0], self.path(field)
        right, operator = term.right, term.operator
        cast = SYSTEM_TYPES[column]
        if operator in ("like", "ilike", "has") or (operator in _ORDERING and column == "owner"):
            raise FilterError(f"{operator} does not go with {column}.", position=term.position)
        if isinstance(right, Items):
            if operator != "in":
                raise FilterError("A list goes with in.", position=right.position)
            values = [_typed(column, cast, item) for item in right.items]
            return f"({sql} = ANY({self.params.add(values, cast + '[]')}))"
        if operator == "in":
            raise FilterError("in goes with a list, like [1, 2].", position=right.position)
        if isinstance(right, Field):
            return self.two_columns(column, operator, right)
        if isinstance(right, Variable):
            if right.name != "user.id" or cast != "uuid" or operator != "=":
                raise FilterError(
                    f"@{right.name} does not go with {column}.", position=right.position
                )
            # Nobody is nobody's equal: an anonymous caller does not own what has no owner.
            return f"({sql} = {self.params.add(Caller.ID, 'uuid')})"
        value = self.params.add(_typed(column, cast, right), cast)
        return f"({sql} {operator} {value})"

    def two_columns(self, column: str, operator: str, right: Field) -> str:
        other = right.path[0]
        if SYSTEM_TYPES.get(other) != SYSTEM_TYPES[column] or operator == "in":
            raise FilterError(
                f"{column} cannot be compared with {'.'.join(right.path)}.", position=right.position
            )
        return f"({field_sql((column,))} {operator} {self.path(right)})"


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def _typed(column: str, cast: str, literal: Literal_) -> object:
    value = literal.value
    if cast == "uuid":
        if value is None and column == "owner":
            return NIL
        found = parse_uuid(value) if isinstance(value, str) else None
        if found is None:
            raise FilterError(f"{column} is a UUID.", position=literal.position)
        return found
    if cast == "bigint":
        if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
            raise FilterError(f"{column} is an integer.", position=literal.position)
        return value
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise FilterError(f"{column} is a time like 2026-01-31T12:00:00Z.", position=literal.position)
