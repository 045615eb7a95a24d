"""The parameters of a URL's query."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from app.core.errors import InvalidParameter
from app.filters.fields import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection


def parse_query(query_string: bytes, known: Collection[str]) -> dict[str, str]:
    """The parameters by name. Raises InvalidParameter for a repeated one, or for one that is not
    among those that are `known`."""
    given: dict[str, str] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name in given:
            raise InvalidParameter(f"{name} is given more than once.")
        if name not in known:
            hint = did_you_mean(name, known) or "."
            raise InvalidParameter(f"There is no parameter {name[:64]!r}{hint}")
        given[name] = value
    return given
