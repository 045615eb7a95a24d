"""The parameters of an export, from the URL's query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.core.errors import InvalidParameter
from app.filters.query import parse_query
from app.transfers.exports.formats import NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

CHOICES: dict[str, Sequence[str]] = {
    "format": NAMES,
    "formulas": ("escaped", "raw"),
    "trailer": ("false", "true"),
    "compression": ("none", "gzip", "zstd"),
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """As the client wrote them."""

    format: str = "ndjson"
    filter: str = ""
    sort: str = ""
    fields: str = ""
    formulas: str = "escaped"
    trailer: str = "false"
    # A file that is kept can be compressed.
    compression: str = "none"


def parse(query_string: bytes) -> Parameters:
    """Raises InvalidParameter for an unknown, repeated or wrong parameter."""
    given = parse_query(query_string, Parameters.__slots__)
    for name, choices in CHOICES.items():
        if name in given and given[name] not in choices:
            raise InvalidParameter(f"{name} must be one of {', '.join(choices)}.")
    parameters = Parameters(**given)
    if parameters.trailer == "true" and parameters.format != "ndjson":
        raise InvalidParameter("trailer is for the format ndjson.")
    if "formulas" in given and parameters.format != "csv":
        raise InvalidParameter("formulas is for the format csv.")
    return parameters
