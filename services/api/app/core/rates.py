"""Rates as settings write them: `600/minute`, `20/second, 600/minute`, `off`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_RATE = re.compile(
    r"\s*([1-9][0-9]{0,8})\s*/\s*(?:([1-9][0-9]{0,4})\s*)?(second|minute|hour|day)s?\s*"
)


@dataclass(frozen=True, slots=True)
class Rate:
    """`limit` requests in each `window` seconds."""

    limit: int
    window: int


def parse_rates(text: str) -> tuple[Rate, ...]:
    """The rates that `text` spells; empty for `off`. Raises ValueError."""
    if text.strip().lower() == "off":
        return ()
    rates = []
    for part in text.split(","):
        match = _RATE.fullmatch(part)
        if match is None:
            raise ValueError(f"{part.strip()!r} is not a rate like 600/minute, nor off")
        rates.append(Rate(int(match[1]), int(match[2] or 1) * _UNITS[match[3]]))
    return tuple(rates)


def within(rates: tuple[Rate, ...], bounds: tuple[Rate, ...]) -> bool:
    """Whether `rates` admit at most as much as `bounds`, both in a burst and steadily."""
    return all(
        any(
            rate.limit <= bound.limit and rate.limit * bound.window <= bound.limit * rate.window
            for rate in rates
        )
        for bound in bounds
    )
