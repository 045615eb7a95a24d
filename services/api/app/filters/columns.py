"""Comparisons of id, version, created_at, updated_at and owner: columns with types of their own."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from app.core.ids import parse_uuid
from app.filters.errors import FilterError
from app.filters.formats import lost_plus
from app.filters.language.syntax import Comparison, Constant, Field, Items, Variable
from app.filters.params import Caller
from app.filters.paths import NO_OWNER, SYSTEM_TYPES, field_sql

if TYPE_CHECKING:
    from app.filters.params import Params

_ORDERING = frozenset({">", ">=", "<", "<="})
_MIRRORED: Final = {"=": "=", ">": "<", ">=": "<=", "<": ">", "<=": ">="}
# A time of RFC 3339, at most to the microsecond, as PostgreSQL keeps it.
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?"
    r"(?:[Zz]|[-+][0-9]{2}:[0-9]{2})"
)


def is_column(operand: object) -> bool:
    """Whether the operand is a field that is not part of the record's data."""
    return isinstance(operand, Field) and operand.path[0] in SYSTEM_TYPES


def swap_sides(term: Comparison) -> Comparison:
    """The comparison with its sides swapped: `owner = @user.id` for `@user.id = owner`."""
    right, operator = term.right, _MIRRORED.get(term.operator)
    assert isinstance(right, Field)
    if operator is None or isinstance(term.left, Field):
        raise FilterError(
            f"{right.path[0]} cannot stand on the right of {term.operator} here.",
            position=right.position,
        )
    return Comparison(right, operator, term.left, term.position)  # type: ignore[arg-type]


def compare(term: Comparison, params: Params) -> str:
    """SQL of a comparison whose left side is a system column; never NULL."""
    assert isinstance(term.left, Field)
    sql = field_sql(term.left.path, term.left.position)
    column, operator, right = term.left.path[0], term.operator, term.right
    if operator in ("like", "ilike", "has"):
        raise FilterError(f"{operator} does not go with {column}.", position=term.position)
    _check_order(column, term)
    if isinstance(right, Items):
        return _compare_list(column, sql, term, right, params)
    if operator == "in":
        raise FilterError(
            f"`in` needs a list on its right: for {column}, constants like [1, 2].",
            position=right.position,
        )
    if isinstance(right, Field):
        return _compare_columns(column, sql, term, right)
    if isinstance(right, Variable):
        return _compare_caller(column, sql, term, right, params)
    if right.value is None and operator == "=":
        return f"({sql} = '{NO_OWNER}'::uuid)" if column == "owner" else "(false)"
    value = _column_value(column, right)
    if value == NO_OWNER and column == "owner":
        return "(false)"
    return f"({sql} {operator} {params.add(value, SYSTEM_TYPES[column])})"


def _check_order(column: str, term: Comparison) -> None:
    if column == "owner" and term.operator in _ORDERING:
        raise FilterError(f"{term.operator} does not go with owner.", position=term.position)


def _compare_list(column: str, sql: str, term: Comparison, items: Items, params: Params) -> str:
    if term.operator != "in":
        raise FilterError("A list can stand only after `in`.", position=items.position)
    values = [_column_value(column, item) for item in items.items if item.value is not None]
    if column == "owner":
        values = [value for value in values if value != NO_OWNER]
        if any(item.value is None for item in items.items):
            values.append(NO_OWNER)
    return f"({sql} = ANY({params.add(values, SYSTEM_TYPES[column] + '[]')}))"


def _compare_columns(column: str, sql: str, term: Comparison, right: Field) -> str:
    other = right.path[0]
    other_sql = field_sql(right.path, right.position)
    if SYSTEM_TYPES.get(other) != SYSTEM_TYPES[column]:
        raise FilterError(
            f"{column} cannot be compared with {'.'.join(right.path)}.", position=right.position
        )
    _check_order(other, term)
    # The id of a record is never equal to an absent owner.
    guard = " AND owner IS NOT NULL" if {column, other} == {"id", "owner"} else ""
    return f"({sql} {term.operator} {other_sql}{guard})"


def _compare_caller(
    column: str, sql: str, term: Comparison, right: Variable, params: Params
) -> str:
    if right.name != "user.id" or SYSTEM_TYPES[column] != "uuid" or term.operator != "=":
        raise FilterError(f"@{right.name} does not go with {column} here.", position=right.position)
    # The comparison is false for an anonymous caller, even if the record has no owner.
    caller = params.add(Caller.ID, "uuid")
    return f"({sql} = {caller} AND {caller} IS NOT NULL)"


def _column_value(column: str, constant: Constant) -> object:
    value, cast = constant.value, SYSTEM_TYPES[column]
    if cast == "bigint":
        if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
            raise FilterError(f"{column} is an integer.", position=constant.position)
        return value
    if cast == "uuid":
        found = parse_uuid(value) if isinstance(value, str) else None
        if found is None:
            raise FilterError(f"{column} is a UUID in quotes.", position=constant.position)
        return found
    moment = _parse_time(value) if isinstance(value, str) else None
    if moment is None:
        hint = lost_plus(value) if isinstance(value, str) else ""
        raise FilterError(
            f'{column} is a time like "2026-01-31T12:00:00Z", to the microsecond at most{hint}.',
            position=constant.position,
        )
    return moment


def _parse_time(text: str) -> datetime | None:
    if not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
