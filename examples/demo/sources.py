"""Real data that every Python installation has: Unicode's characters, the time zones' offsets
and the packages that are installed here."""

from __future__ import annotations

import sys
import unicodedata
import zoneinfo
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

COLLECTIONS: dict[str, dict[str, Any]] = {
    "characters": {
        "schema": {
            "type": "object",
            "additionalProperties": False,
            "required": ["code", "char", "name", "category"],
            "properties": {
                "code": {"type": "integer", "minimum": 0},
                "char": {"type": "string"},
                "name": {"type": "string"},
                "category": {"type": "string", "pattern": "^[A-Z][a-z]$"},
                "numeric": {"type": ["number", "null"]},
                "mirrored": {"type": "boolean"},
                "words": {"type": "array", "items": {"type": "string"}},
            },
        },
        "rules": {"list": "", "read": ""},
        "indexes": ["code", ["category", "code"], "words"],
    },
    "timezones": {
        "schema": {
            "type": "object",
            "additionalProperties": False,
            "required": ["zone", "area", "year", "offset_minutes"],
            "properties": {
                "zone": {"type": "string"},
                "area": {"type": "string"},
                "year": {"type": "integer"},
                "offset_minutes": {"type": "number"},
                "saves_daylight": {"type": "boolean"},
            },
        },
        "rules": {"list": "", "read": ""},
        "indexes": [["zone", "year"], "offset_minutes"],
    },
    "packages": {
        "schema": {
            "type": "object",
            "required": ["name", "release"],
            "properties": {
                "name": {"type": "string"},
                "release": {"type": "string"},
                "summary": {"type": ["string", "null"]},
                "homepage": {"type": "string", "format": "uri"},
                "requires": {"type": "array", "items": {"type": "string"}},
                "files": {"type": "integer"},
            },
        },
        "rules": {"list": "", "read": ""},
        "indexes": ["name", "files", "requires"],
    },
}


def characters() -> Iterator[dict[str, Any]]:
    """The first 24,000 named characters of Unicode."""
    count = 0
    for code in range(sys.maxunicode):
        char = chr(code)
        name = unicodedata.name(char, "")
        if not name:
            continue
        yield {
            "code": code,
            "char": char,
            "name": name,
            "category": unicodedata.category(char),
            "numeric": unicodedata.numeric(char, None),
            "mirrored": bool(unicodedata.mirrored(char)),
            "words": name.lower().split(),
        }
        count += 1
        if count == 24_000:  # noqa: PLR2004
            return


def timezones() -> Iterator[dict[str, Any]]:
    """Each zone's offset from UTC on the first of January, for the years 2010 to 2029."""
    for zone in sorted(zoneinfo.available_timezones()):
        info = zoneinfo.ZoneInfo(zone)
        for year in range(2010, 2030):
            winter = datetime(year, 1, 1, tzinfo=UTC).astimezone(info).utcoffset() or timedelta()
            summer = datetime(year, 7, 1, tzinfo=UTC).astimezone(info).utcoffset() or timedelta()
            yield {
                "zone": zone,
                "area": zone.partition("/")[0],
                "year": year,
                "offset_minutes": winter / timedelta(minutes=1),
                "saves_daylight": winter != summer,
            }


def packages() -> Iterator[dict[str, Any]]:
    """The metadata of what is installed in this environment."""
    for package in metadata.distributions():
        about = package.metadata
        found = {
            "name": about["Name"],
            "release": about["Version"],
            "summary": _field(package, "Summary"),
            "requires": sorted({_name(line) for line in package.requires or ()}),
            "files": len(package.files or ()),
        }
        homepage = _field(package, "Home-page") or ""
        if homepage.startswith("http"):
            found["homepage"] = homepage
        yield found


def _field(package: metadata.Distribution, name: str) -> str | None:
    # A field that is not there raises, or soon will.
    values = package.metadata.get_all(name)
    return values[0] if values else None


def _name(requirement: str) -> str:
    for at, character in enumerate(requirement):
        if not (character.isalnum() or character in "-_."):
            return requirement[:at].lower()
    return requirement.lower()


SOURCES = {"characters": characters, "timezones": timezones, "packages": packages}
