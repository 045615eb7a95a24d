"""Entity tags (RFC 9110, sections 8.8.3 and 13.1): a record's version, quoted."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.core.errors import InvalidPrecondition

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e]*)"\s*')
# As `etag` writes it, since tags are the same only if their text is; within bigint's digits.
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of one field: any (`*`), or the versions that are named."""

    any: bool = False
    strong: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()

    def matches_weakly(self, version: int) -> bool:
        return self.names(str(version))

    def names(self, tag: str) -> bool:
        """Whether a tag that is no version is among them, weak or strong."""
        return self.any or tag in self.strong or tag in self.weak

    def matches_strongly(self, version: int) -> bool:
        return self.any or str(version) in self.strong

    @property
    def only_version(self) -> int | None:
        """The one version that can match, if there is just one; -1 is no record's."""
        if len(self.strong) != 1:
            return None
        (text,) = self.strong
        return int(text) if _VERSION.fullmatch(text) else -1


def etag(version: int) -> str:
    return f'"{version}"'


def parse(field: str | None) -> Tags | None:
    """The tags of an If-Match or If-None-Match field. Raises InvalidPrecondition."""
    if field is None:
        return None
    if field.strip() == "*":
        return Tags(any=True)
    strong: set[str] = set()
    weak: set[str] = set()
    for part in field.split(","):
        match = _TAG.fullmatch(part)
        if match is None:
            raise InvalidPrecondition
        (weak if match[1] else strong).add(match[2])
    return Tags(strong=frozenset(strong), weak=frozenset(weak))
