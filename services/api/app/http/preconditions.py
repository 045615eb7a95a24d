"""Entity tags (RFC 9110, sections 8.8.3 and 13.1): a record's version, quoted.

A proxy that compresses an answer marks its tag: `W/"1"` (nginx, HAProxy, Cloudflare), `"1-gzip"`
(Apache, Caddy), `"1--gzip"` (Jetty), `"1;gzip"`. Clients send the marked tag back. Marked
tags still name one version of one record, and only versions are compared; so the marks are taken
off, for If-Match too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.core.errors import InvalidPrecondition

# No tag of ours has a hyphen or a semicolon in it.
_TAG = re.compile(
    r'\s*(?:W/)?"([\x21\x23-\x7e]*?)(?:(?:--?|;)(?:x-)?(?:gzip|br|zstd|deflate|compress))?"\s*'
)
# A version as `etag` writes it, since tags are compared as text; its digits fit bigint.
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of one field: any (`*`), or those that are named, without a proxy's marks."""

    any: bool = False
    named: frozenset[str] = frozenset()

    def match(self, tag: str | int) -> bool:
        """Whether a version, or a tag that is no version, is among the tags."""
        return self.any or str(tag) in self.named

    @property
    def only_version(self) -> int | None:
        """The version of the only tag, -1 if that tag is no version; None without an only tag."""
        if len(self.named) != 1:
            return None
        (text,) = self.named
        return int(text) if _VERSION.fullmatch(text) else -1


def etag(version: int) -> str:
    return f'"{version}"'


def parse_tags(field: str | None) -> Tags | None:
    """The tags of an If-Match or If-None-Match field. Raises InvalidPrecondition."""
    if field is None:
        return None
    if field.strip() == "*":
        return Tags(any=True)
    named: set[str] = set()
    for part in field.split(","):
        match = _TAG.fullmatch(part)
        if match is None:
            raise InvalidPrecondition
        named.add(match[1])
    return Tags(named=frozenset(named))
