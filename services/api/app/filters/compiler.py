"""Compiles a syntax tree to SQL with bound values, two-valued logic, and conditions for indexes.

jsonb has a total order: [] < null < strings < numbers < booleans < arrays < objects. A comparison
must match values of one type only. Where the schema allows, a range on the same expression
ensures this, elsewhere jsonb_typeof does. The planner has statistics for the range only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from app.filters import columns
from app.filters.errors import FilterError
from app.filters.language.syntax import And, Comparison, Constant, Field, Items, Not, Or, Variable
from app.filters.params import Caller
from app.filters.paths import elements_sql, field_sql

if TYPE_CHECKING:
    from app.filters.fields import Fields
    from app.filters.formats import Format
    from app.filters.language.syntax import Expression, Operand
    from app.filters.params import Params

_NULL: Final = "'null'::jsonb"
_NESTED: Final = frozenset({"array", "object"})
_COMPARABLE: Final = frozenset({"string", "number"})


def compile_filter(expression: Expression, fields: Fields, params: Params) -> str:
    """SQL in parentheses that is true or false for each record; adds the values to `params`.

    Filters of the same shape give the same text. Raises FilterError or UnknownField (400) with
    the position of the error.
    """
    return _Compiler(fields, params).condition(expression)


class _Compiler:
    def __init__(self, fields: Fields, params: Params) -> None:
        self.fields = fields
        self.params = params

    def condition(self, expression: Expression) -> str:
        match expression:
            case And(parts):
                return "(" + " AND ".join(self.condition(part) for part in parts) + ")"
            case Or(parts):
                return "(" + " OR ".join(self.condition(part) for part in parts) + ")"
            case Not(inner):
                return f"(NOT {self.condition(inner)})"
            case Comparison():
                return self.term(expression)

    def term(self, term: Comparison) -> str:
        if term.operator == "!=":
            equal = Comparison(term.left, "=", term.right, term.position)
            return f"(NOT {self.term(equal)})"
        if columns.is_column(term.left):
            return columns.compare(term, self.params)
        if columns.is_column(term.right):
            return columns.compare(columns.swap_sides(term), self.params)
        return f"({self.comparison(term)})"

    def comparison(self, term: Comparison) -> str:
        match term.operator:
            case "in":
                return self.contained(term)
            case "has":
                return self.has(term)
            case "like" | "ilike":
                return self.like(term)
            case "=":
                return self.equal(term)
            case _:
                return self.ordered(term)

    def types(self, operand: Operand) -> frozenset[str]:
        """The JSON types that a scalar operand may have."""
        if isinstance(operand, Field):
            return self.fields.types(operand.path, operand.position)
        if isinstance(operand, Constant):
            return frozenset({_json_type(operand)})
        if isinstance(operand, Items):
            raise FilterError("A list can stand only after `in`.", position=operand.position)
        if operand.name == "user.roles":
            raise FilterError(
                "Write @user.roles before `has` or after `in`.", position=operand.position
            )
        return frozenset({"string", "null"})

    def format(self, term: Comparison) -> Format | None:
        """The format by which the term's values are compared: that of a field in it, or None."""
        left, right = term.left, term.right
        sides = [(left, term.operator == "has"), (right, term.operator == "in")]
        found: list[tuple[Format, Field]] = []
        for side, holds_elements in sides:
            if isinstance(side, Field):
                self.types(side)
                format_of = self.fields.items_format if holds_elements else self.fields.format
                found += [(each, side) for each in [format_of(side.path)] if each]
        if len({each.name for each, _ in found}) > 1:
            (one, _), (other, field) = found
            raise FilterError(
                f"A {one.name} cannot be compared with a {other.name}.", position=field.position
            )
        return found[0][0] if found else None

    def scalar(self, operand: Operand, format_: Format | None) -> str:
        """The SQL of a scalar operand. Callers must use it: PostgreSQL refuses unused values."""
        self.types(operand)
        if isinstance(operand, Field):
            return field_sql(operand.path, operand.position, format_)
        if isinstance(operand, Constant):
            return self.params.add(_read(operand, format_), "jsonb")
        return self.params.add(Caller.ID_JSON, "jsonb")

    def array(self, operand: Operand, operator: str, format_: Format | None) -> str:
        """The SQL of an operand that holds elements."""
        if isinstance(operand, Field):
            self.types(operand)
            return elements_sql(operand.path, format_)
        if isinstance(operand, Variable) and operand.name == "user.roles":
            return self.params.add(Caller.ROLES_JSON, "jsonb")
        raise FilterError(
            "`in` needs a list on its right: a field or @user.roles, or constants like [1, 2]."
            if operator == "in"
            else "`has` needs a list on its left: a field or @user.roles.",
            position=operand.position,
        )

    def equal(self, term: Comparison) -> str:
        format_ = self.format(term)
        left = self.scalar(term.left, format_)
        if isinstance(term.right, Constant) and term.right.value is None:
            return f"{left} = {_NULL}"
        return f"{left} = {self.scalar(term.right, format_)}{self.unless_anonymous(term)}"

    def unless_anonymous(self, term: Comparison) -> str:
        """SQL that keeps an anonymous @user.id from matching a null field or a null in a list."""
        if any(isinstance(side, Variable) and side.name == "user.id" for side in _sides(term)):
            return f" AND {self.params.add(Caller.ID_JSON, 'jsonb')} <> {_NULL}"
        return ""

    def contained(self, term: Comparison) -> str:
        format_ = self.format(term)
        if isinstance(term.right, Items):
            left = self.scalar(term.left, format_)
            items = [_read(item, format_) for item in term.right.items]
            return f"{left} = ANY({self.params.add(items, 'jsonb[]')}){self.unless_anonymous(term)}"
        array = self.array(term.right, "in", format_)
        return self.element(array, term.left, format_) + self.unless_anonymous(term)

    def has(self, term: Comparison) -> str:
        format_ = self.format(term)
        array = self.array(term.left, "has", format_)
        if isinstance(term.right, Constant):
            # A GIN index serves the condition in this form.
            return f"{array} @> {self.params.add(f'[{_read(term.right, format_)}]', 'jsonb')}"
        return self.element(array, term.right, format_) + self.unless_anonymous(term)

    def element(self, array: str, operand: Operand, format_: Format | None) -> str:
        # `array` needs no type check, since only an array contains an array. `@>` would match any
        # subset of a nested array, so only scalars count as elements.
        value, nested = self.scalar(operand, format_), self.types(operand) & _NESTED
        guard = f" AND jsonb_typeof({value}) NOT IN ('array', 'object')" if nested else ""
        return f"{array} @> jsonb_build_array({value}){guard}"

    def like(self, term: Comparison) -> str:
        types, right = self.types(term.left), term.right
        if not isinstance(right, Constant) or not isinstance(right.value, str):
            raise FilterError(
                f"{term.operator} goes with a string constant.", position=right.position
            )
        pattern = right.value
        if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
            raise FilterError(
                "The pattern ends in a backslash that escapes nothing.", position=right.position
            )
        if "string" not in types:
            return "false"
        left = self.scalar(term.left, None)
        text = f"({left} #>> '{{}}') {term.operator.upper()} {self.params.add(pattern, 'text')}"
        if types == {"string"}:
            return text
        if types <= {"string", "null"}:
            return f"{left} > {_NULL} AND {text}"
        return f"jsonb_typeof({left}) = 'string' AND {text}"

    def ordered(self, term: Comparison) -> str:
        types, operator, right = self.types(term.left), term.operator, term.right
        if isinstance(right, Field):
            return self.ordered_fields(term, right)
        wanted = _json_type(right) if isinstance(right, Constant) else None
        if wanted not in _COMPARABLE:
            raise FilterError(
                f"{operator} goes with a number, a string or a field.", position=right.position
            )
        format_ = self.format(term)
        if wanted not in types:
            return "false"
        left = self.scalar(term.left, format_)
        condition = f"{left} {operator} {self.scalar(right, format_)}"
        if not types <= {wanted, "null"}:
            return f"{condition} AND jsonb_typeof({left}) = '{wanted}'"
        # A string that is no value of the format compares as null.
        if ("null" in types or format_) and operator in ("<", "<="):
            return f"{condition} AND {left} > {_NULL}"
        return condition

    def ordered_fields(self, term: Comparison, field: Field) -> str:
        format_ = self.format(term)
        if not self.types(term.left) & self.types(field) & _COMPARABLE:
            return "false"
        left, right = self.scalar(term.left, format_), self.scalar(field, format_)
        return (
            f"{left} {term.operator} {right} AND jsonb_typeof({left}) = jsonb_typeof({right})"
            f" AND jsonb_typeof({left}) IN ('string', 'number')"
        )


def _read(constant: Constant, format_: Format | None) -> str:
    """The JSON text that the constant is compared by."""
    return constant.text if format_ is None else format_.constant(constant)


def _sides(term: Comparison) -> tuple[Operand, Operand]:
    return term.left, term.right


def _json_type(constant: Constant) -> str:
    if constant.value is None:
        return "null"
    if isinstance(constant.value, bool):
        return "boolean"
    return "string" if isinstance(constant.value, str) else "number"
