"""Formats of JSON Schema whose strings are compared by value, and the canonical form of a value.

Each value has one form. Under any collation the forms sort like the values, since their length
varies in the last digits only. This module makes the forms of constants, and the functions of
migration 0006 make the forms of stored strings; the two must agree.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

import jsonschema_rs

from app.filters.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.filters.language.syntax import Constant

_DAY: Final = 24 * 60
# A month of the Gregorian calendar, on average: a 4,800th of 146,097 days.
_MONTH_SECONDS: Final = 2_629_746
_DATE = r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
_CLOCK = r"([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?(?:[Zz]|([-+])([0-9]{2}):([0-9]{2}))"
_DURATION = (
    r"P(?:([0-9]+)Y)?(?:([0-9]+)M)?(?:([0-9]+)W)?(?:([0-9]+)D)?"
    r"(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+)S)?)?"
)
_UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_LONGEST_NUMBER: Final = 15
# A + that is not written %2B in a URL arrives as a space.
_LOST_PLUS = re.compile(r"[0-9] [0-9]{2}:[0-9]{2}$")


@dataclass(frozen=True)
class Format:
    """A format of JSON Schema whose strings are compared by value."""

    name: str
    # A function of the schema `listo`; None where the text itself is the value's form.
    function: str | None
    example: str
    pattern: str
    form: Callable[[re.Match[str]], str | None]

    def is_valid(self, text: str) -> bool:
        """Whether a record may hold the text."""
        return self._match(text) is not None

    def form_of(self, text: str) -> str | None:
        """The value's form; None for an invalid text, or for a number too long to be compared."""
        match = self._match(text)
        return None if match is None else self.form(match)

    def _match(self, text: str) -> re.Match[str] | None:
        # The validator knows the calendar, but accepts characters like - in place of digits.
        match = self._pattern.fullmatch(text)
        return match if match is not None and self._validator.is_valid(text) else None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    @cached_property
    def _validator(self) -> jsonschema_rs.Draft202012Validator:
        return jsonschema_rs.Draft202012Validator({"format": self.name}, validate_formats=True)

    def constant(self, given: Constant) -> str:
        """The JSON text that the constant is compared by.

        Raises FilterError (400) for a string that is no value of the format.
        """
        if not isinstance(given.value, str):
            return given.text
        form = self.form_of(given.value)
        if form is None:
            hint = lost_plus(given.value)
            raise FilterError(
                f'Expected a {self.name} like "{self.example}" at position {given.position}{hint}.',
                position=given.position,
            )
        return json.dumps(form)


def lost_plus(text: str) -> str:
    """A hint for a time whose offset has lost its sign."""
    return " (a + is %2B in a URL)" if _LOST_PLUS.search(text) else ""


def _text(match: re.Match[str]) -> str:
    return match[0]


def _clock(groups: Sequence[str | None]) -> tuple[int, str]:
    """The UTC minutes since the given day's midnight, negative on the day before; the seconds.

    A leap second keeps its number, so it sorts between the seconds around it.
    """
    hours, minutes, seconds, fraction, sign, offset_hours, offset_minutes = (
        each or "0" for each in groups
    )
    offset = 60 * int(offset_hours) + int(offset_minutes)
    minute = 60 * int(hours) + int(minutes) - (-offset if sign == "-" else offset)
    return minute, seconds + fraction.rstrip("0").rstrip(".")


def _of_day(minute: int, seconds: str) -> str:
    return f"{minute // 60:02}:{minute % 60:02}:{seconds}"


def _date_time(match: re.Match[str]) -> str:
    """The time in UTC, with 10,000 added to the year: an offset can lead to year -1 or 10,000."""
    minute, seconds = _clock(match.groups()[3:])
    days, minute = divmod(minute, _DAY)
    year = int(match[1])
    # The calendar repeats every 400 years; Python's calendar has no year 0.
    stand_in = 2000 + year % 400
    day = date(stand_in, int(match[2]), int(match[3])) + timedelta(days)
    return f"{10_000 + year + day.year - stand_in:05}-{day:%m-%d}T{_of_day(minute, seconds)}"


def _time(match: re.Match[str]) -> str:
    """The time of day in UTC, without the day."""
    minute, seconds = _clock(match.groups())
    return _of_day(minute % _DAY, seconds)


def _uuid(match: re.Match[str]) -> str:
    return match[0].lower()


def _duration(match: re.Match[str]) -> str | None:
    """The seconds, with months at their average length, then the months, whose length varies."""
    numbers = match.groups("0")
    if any(len(number) > _LONGEST_NUMBER for number in numbers):
        return None
    years, months, weeks, days, hours, minutes, seconds = map(int, numbers)
    months += 12 * years
    seconds += 60 * (minutes + 60 * (hours + 24 * (days + 7 * weeks)))
    return f"{months * _MONTH_SECONDS + seconds:024}M{months:017}"


FORMATS: Final = {
    each.name: each
    for each in (
        Format(
            "date-time", "date_time", "2026-01-31T12:00:00Z", f"{_DATE}[Tt]{_CLOCK}", _date_time
        ),
        Format("date", None, "2026-01-31", _DATE, _text),
        Format("time", "time_of_day", "12:00:00Z", _CLOCK, _time),
        Format("uuid", "uuid", "0198a5d2-7c3e-7b4a-9f10-3c5d8e2b6a71", _UUID, _uuid),
        Format("duration", "duration", "P1DT12H", _DURATION, _duration),
    )
}
# The checks of formats for a validator of records.
CHECKS: Final = {name: each.is_valid for name, each in FORMATS.items()}
