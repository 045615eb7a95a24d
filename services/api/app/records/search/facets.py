"""Facets: the most frequent values of fields among the matches, with their counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from app.core.errors import InvalidParameter
from app.filters import spelling
from app.filters.language.parser import parse_path, split_list
from app.filters.paths import SYSTEM_TYPES, plain_sql
from app.filters.sort import MAX_LENGTH
from app.records.search.statement import planned_each_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.filters.fields import Fields
    from app.filters.language.syntax import Path
    from app.filters.params import Params
    from app.records.search.statement import Search

MAX_FACETS: Final = 5
MAX_VALUES: Final = 20
MOST_ROWS: Final = MAX_FACETS * MAX_VALUES
# The matches whose values are counted, in number and in bytes at their heaviest.
MOST_COUNTED = 10_000
_MOST_BYTES: Final = 256 << 20
# The length of a value's JSON; longer ones are no categories.
_LONGEST: Final = 200


def parse(text: str, fields: Fields) -> dict[str, Path]:
    """The fields of `section,tags` by name. Raises InvalidParameter, FilterError and UnknownField
    (400) with the position of the error."""
    if len(text) > MAX_LENGTH:
        raise InvalidParameter(f"facets has at most {MAX_LENGTH} characters.", position=MAX_LENGTH)
    found = {}
    for start, part in split_list(text):
        name = part.strip()
        path = parse_path(name, start + part.index(name))
        if path[0] in SYSTEM_TYPES:
            raise InvalidParameter(f"{path[0]} cannot be a facet.", position=start)
        fields.types(path, start)
        found[name] = path
    spelling.check_names(text, fields)
    if len(found) > MAX_FACETS:
        raise InvalidParameter(f"facets takes at most {MAX_FACETS} fields.")
    return found


def statement(
    search: Search, facets: dict[str, Path], most: int, largest: int
) -> tuple[str, Params]:
    """Rows of a facet's number, the JSON of a value and its count. A list counts once for each of
    its values; absent values, nulls and objects are not counted. At least `most` matches count."""
    counted = max(most + 1, min(MOST_COUNTED, _MOST_BYTES // largest))
    matched, params = search.matching(
        [f"{plain_sql(path)} AS _value{n}" for n, path in enumerate(facets.values())], counted
    )
    counts = " UNION ALL ".join(
        f"(SELECT {number} AS _facet, _each::text AS _json, count(*) AS _count FROM _matched"
        f" CROSS JOIN LATERAL (SELECT DISTINCT _each FROM jsonb_array_elements("
        f"CASE jsonb_typeof(_value{number}) WHEN 'array' THEN _value{number}"
        f" ELSE jsonb_build_array(_value{number}) END) AS _ (_each)"
        " WHERE jsonb_typeof(_each) NOT IN ('array', 'object', 'null')"
        f" AND length(_each::text) <= {_LONGEST}) AS _elements"
        f" GROUP BY _each ORDER BY count(*) DESC, _each LIMIT {MAX_VALUES})"
        for number in range(len(facets))
    )
    return planned_each_time(f"WITH _matched AS MATERIALIZED ({matched}) {counts}"), params


def dump(facets: dict[str, Path], rows: Sequence[Any]) -> bytes:
    """The JSON of all facets by name; values are those of the records to the digit."""
    by_number: dict[int, list[bytes]] = {number: [] for number in range(len(facets))}
    for row in rows:
        value = f'{{"value":{row["_json"]},"count":{row["_count"]}}}'
        by_number[row["_facet"]].append(value.encode())
    members = [
        orjson.dumps(name) + b":[" + b",".join(by_number[number]) + b"]"
        for number, name in enumerate(facets)
    ]
    return b"{" + b",".join(members) + b"}"
