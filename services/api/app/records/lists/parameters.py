"""The parameters of a list, from the URL's query."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from app.core.errors import InvalidParameter
from app.filters.query import parse_query
from app.records.lists.listing import MAX_LIMIT, Query

# Clients send the same queries again and again, and short ones take little memory.
_KEPT_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class Parameters:
    """A list's query, and the rest of the URL's query without the cursor, encoded."""

    query: Query
    rest: str

    def with_cursor(self, cursor: str) -> str:
        """The URL's query of another page."""
        return f"{self.rest}&cursor={cursor}" if self.rest else f"cursor={cursor}"


def parse(query_string: bytes) -> Parameters:
    """Raises InvalidParameter for an unknown, repeated or wrong parameter."""
    return (_parse_kept if len(query_string) <= _KEPT_LENGTH else _parse)(query_string)


def _parse(query_string: bytes) -> Parameters:
    given: dict[str, Any] = {**parse_query(query_string, Query.__slots__)}
    rest = urlencode({name: value for name, value in given.items() if name != "cursor"})
    if "limit" in given:
        if not given["limit"].isascii() or not given["limit"].isdecimal():
            raise InvalidParameter(f"limit must be 1 to {MAX_LIMIT}.")
        given["limit"] = min(int(given["limit"][:9]), 10**9)
    if given.get("count", "none") not in ("none", "estimated", "exact"):
        raise InvalidParameter("count must be none, estimated or exact.")
    return Parameters(Query(**given), rest)


_parse_kept = lru_cache(maxsize=512)(_parse)
