"""Counts, sums, averages and extremes over groups of the records that the caller may list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.core.errors import InvalidParameter
from app.filters import spelling
from app.filters.language.parser import parse_path, split_list
from app.filters.paths import SYSTEM_TYPES, plain_sql, sql_literal
from app.filters.sort import MAX_LENGTH
from app.records.aggregates.keys import Key, parse_key
from app.records.lists import repository
from app.records.lists.listing import Query, plan_of

if TYPE_CHECKING:
    from app.db.session import ReadSession
    from app.filters.fields import Fields
    from app.filters.params import Params
    from app.records.access import Access
    from app.records.aggregates.parameters import Parameters

MAX_KEYS = 3
MAX_FUNCTIONS = 10
FUNCTIONS: Final = ("sum", "avg", "min", "max")


@dataclass(frozen=True, slots=True)
class _Function:
    """One function of a field, like `sum(size)`."""

    name: str
    field: str
    sql: str

    @property
    def call(self) -> str:
        return f"{self.name}({self.field})"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate that is checked and compiled."""

    sql: str
    args: list[object]
    limit: int
    # The maximum weight of a group: its keys are values of one record.
    largest: int

    async def answer(self, reading: ReadSession) -> str:
        """The JSON text of `{"items": […], "truncated": …}`. Raises QueryTooSlow, and
        InvalidParameter for an unknown time zone."""
        rows, ended_early = await repository.groups(
            reading, self.sql, self.args, limit=self.limit + 1, largest=self.largest
        )
        shown = ",".join([row[0] for row in rows[: self.limit]])
        truncated = "true" if ended_early or len(rows) > self.limit else "false"
        return f'{{"items":[{shown}],"truncated":{truncated}}}'


def prepare(access: Access, parameters: Parameters) -> Aggregate:
    """Raises as `Access.require` does, InvalidParameter, FilterError and UnknownField (400)."""
    access.require("list")
    collection, actor = access.collection, access.actor
    plan = plan_of(collection, actor, Query(parameters.filter))
    params = plan.params.copy()
    fields = collection.readable
    keys = _keys(parameters, fields, params)
    functions = _functions(parameters, fields)
    for names in (parameters.group, *(getattr(parameters, name) for name in FUNCTIONS)):
        spelling.check_names(names, fields)
    columns = [f"{key.sql} AS k{number}" for number, key in enumerate(keys)]
    columns.append("count(*) AS records")
    columns += [f"{function.sql} AS f{number}" for number, function in enumerate(functions)]
    grouped = f"SELECT {', '.join(columns)} FROM {plan.table} WHERE {plan.where}"
    if keys:
        grouped += f" GROUP BY {', '.join(str(number + 1) for number in range(len(keys)))}"
    order = _order(parameters.sort, keys, functions)
    limit = params.add(parameters.limit + 1, "bigint")
    sql = f"SELECT {_item(keys, functions)} FROM ({grouped}) AS grouped {order}LIMIT {limit}"
    return Aggregate(sql, params.bind(actor.id, actor.roles), parameters.limit, plan.largest)


def _keys(parameters: Parameters, fields: Fields, params: Params) -> list[Key]:
    _check_length("group", parameters.group)
    keys = [
        parse_key(part, start, fields, params, parameters.zone)
        for start, part in split_list(parameters.group)
    ]
    if len(keys) > MAX_KEYS:
        raise InvalidParameter(f"group takes at most {MAX_KEYS} keys.")
    if len({key.name for key in keys}) < len(keys):
        raise InvalidParameter("group names a key twice.")
    return keys


def _functions(parameters: Parameters, fields: Fields) -> list[_Function]:
    functions: dict[str, _Function] = {}
    for name in FUNCTIONS:
        text = getattr(parameters, name)
        _check_length(name, text)
        for start, part in split_list(text):
            function = _function(name, part.strip(), start, fields)
            functions[function.call] = function
    if len(functions) > MAX_FUNCTIONS:
        raise InvalidParameter(f"{', '.join(FUNCTIONS)} take at most {MAX_FUNCTIONS} fields.")
    return list(functions.values())


def _function(name: str, field: str, position: int, fields: Fields) -> _Function:
    path = parse_path(field, position)
    system = SYSTEM_TYPES.get(path[0])
    if system == "timestamptz" and name in ("min", "max") and len(path) == 1:
        return _Function(name, field, f"listo.rfc3339({name}({path[0]}))")
    if system == "bigint" and len(path) == 1:
        return _Function(name, field, f"{name}({path[0]})")
    if system is None and "number" in fields.types(path, position):
        value = plain_sql(path)
        number = f"CASE jsonb_typeof({value}) WHEN 'number' THEN ({value})::numeric END"
        return _Function(name, field, f"{name}({number})")
    raise InvalidParameter(f"{name} needs numbers, and {field} has none.", position=position)


def _item(keys: list[Key], functions: list[_Function]) -> str:
    """SQL of a group as JSON text."""
    members = ["'group'", _object([(key.name, f"k{number}") for number, key in enumerate(keys)])]
    members += ["'count'", "records"]
    for name in FUNCTIONS:
        own = [
            (function.field, f"f{number}")
            for number, function in enumerate(functions)
            if function.name == name
        ]
        if own:
            members += [sql_literal(name), _object(own)]
    return f"json_build_object({', '.join(members)})::text"


def _object(members: list[tuple[str, str]]) -> str:
    listed = ", ".join(f"{sql_literal(name)}, {sql}" for name, sql in members)
    return f"json_build_object({listed})"


def _order(text: str, keys: list[Key], functions: list[_Function]) -> str:
    """ORDER BY of the parameter `sort`, then by the keys; empty for a single group."""
    if not keys:
        if text:
            raise InvalidParameter("sort needs group.")
        return ""
    _check_length("sort", text)
    columns = {key.name: f"k{number}" for number, key in enumerate(keys)}
    columns |= {function.call: f"f{number}" for number, function in enumerate(functions)}
    columns["count"] = "records"
    wanted = []
    for start, part in split_list(text):
        name = part.strip()
        column = columns.get(name.removeprefix("-"))
        if column is None:
            raise InvalidParameter(
                f"sort takes {', '.join(columns)}, and - in front descends.", position=start
            )
        wanted.append(f"{column} DESC NULLS LAST" if name.startswith("-") else column)
    ties = [f"k{number}" for number in range(len(keys))]
    return f"ORDER BY {', '.join([*wanted, *ties])} "


def _check_length(name: str, text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise InvalidParameter(f"{name} has at most {MAX_LENGTH} characters.", position=MAX_LENGTH)
