"""The parameters of an export, from the URL's query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from app.core.errors import InvalidParameter
from app.filters.fields import did_you_mean
from app.transfers.formats import NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

CHOICES: dict[str, Sequence[str]] = {
    "format": NAMES,
    "formulas": ("escaped", "raw"),
    "trailer": ("false", "true"),
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


def parse(query_string: bytes) -> Parameters:
    """Raises InvalidParameter for an unknown, repeated or wrong parameter."""
    given: dict[str, str] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name in given:
            raise InvalidParameter(f"{name} is given more than once.")
        if name not in Parameters.__slots__:
            hint = did_you_mean(name, Parameters.__slots__) or "."
            raise InvalidParameter(f"There is no parameter {name[:64]!r}{hint}")
        if name in CHOICES and value not in CHOICES[name]:
            raise InvalidParameter(f"{name} must be one of {', '.join(CHOICES[name])}.")
        given[name] = value
    parameters = Parameters(**given)
    if parameters.trailer == "true" and parameters.format != "ndjson":
        raise InvalidParameter("trailer is for the format ndjson.")
    if "formulas" in given and parameters.format != "csv":
        raise InvalidParameter("formulas is for the format csv.")
    return parameters
