"""The parameters of an aggregate, from the URL's query."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.core.errors import InvalidParameter
from app.filters.query import parse_query

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
# Names of places: with digits, PostgreSQL makes up any number of zones, and keeps them.
_ZONE = re.compile(r"UTC|Etc/GMT[+-][0-9]{1,2}|[A-Za-z_-]{1,20}(/[A-Za-z_-]{1,20}){1,2}")


@dataclass(frozen=True, slots=True)
class Parameters:
    """As the client wrote them."""

    group: str = ""
    sum: str = ""
    avg: str = ""
    min: str = ""
    max: str = ""
    filter: str = ""
    sort: str = ""
    limit: int = DEFAULT_LIMIT
    zone: str = "UTC"


def parse(query_string: bytes) -> Parameters:
    """Raises InvalidParameter for an unknown, repeated or wrong parameter."""
    given = parse_query(query_string, Parameters.__slots__)
    limit = _limit(given.pop("limit", str(DEFAULT_LIMIT)))
    if "zone" in given and not _ZONE.fullmatch(given["zone"]):
        raise InvalidParameter("zone must be a time zone like Europe/Berlin.")
    return Parameters(**given, limit=limit)


def _limit(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MAX_LIMIT:
        return int(text[:9])
    raise InvalidParameter(f"limit must be 1 to {MAX_LIMIT}.")
