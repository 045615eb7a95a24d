"""The parameters of a search, from the URL's query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from app.core.errors import InvalidParameter
from app.filters.query import parse_query

if TYPE_CHECKING:
    from app.records.lists.listing import Count

MAX_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 20
# In characters.
MAX_QUERY: Final = 256
COUNTS: Final = ("none", "estimated", "exact")


@dataclass(frozen=True, slots=True)
class Parameters:
    """As the client wrote them; `q` has no NUL, which PostgreSQL would refuse."""

    q: str = ""
    filter: str = ""
    facets: str = ""
    limit: int = DEFAULT_LIMIT
    count: Count = "none"
    cursor: str | None = None
    # Whether the last word of `q` is only begun.
    prefix: bool = False
    explain: bool = False


def parse(query_string: bytes) -> Parameters:
    """Raises InvalidParameter for an unknown, repeated or wrong parameter."""
    given = parse_query(query_string, Parameters.__slots__)
    if len(given.get("q", "")) > MAX_QUERY:
        raise InvalidParameter(f"q has at most {MAX_QUERY} characters.", position=MAX_QUERY)
    count = given.get("count", "none")
    if count not in COUNTS:
        raise InvalidParameter("count must be none, estimated or exact.")
    return Parameters(
        given.get("q", "").replace("\0", " "),
        given.get("filter", ""),
        given.get("facets", ""),
        _limit(given.get("limit", str(DEFAULT_LIMIT))),
        cast("Count", count),
        given.get("cursor"),
        _flag("prefix", given.get("prefix", "false")),
        _flag("explain", given.get("explain", "false")),
    )


def _limit(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MAX_LIMIT:
        return int(text[:9])
    raise InvalidParameter(f"limit must be 1 to {MAX_LIMIT}.")


def _flag(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise InvalidParameter(f"{name} must be true or false.")
    return text == "true"
