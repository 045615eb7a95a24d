"""UUIDv7 (RFC 9562, section 5.7): ids that sort by the time they were made."""

from __future__ import annotations

import os
import re
import time
from uuid import UUID

_PATTERN = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
)

_last = 0


def uuid7() -> UUID:
    """A new id. Ids of one process are strictly increasing, also within one millisecond."""
    # 12 bits below the millisecond keep the order (RFC 9562, section 6.2, method 3).
    global _last  # noqa: PLW0603 - the process' own monotonic counter
    stamp = time.time_ns() * 4096 // 1_000_000
    if stamp <= _last:
        stamp = _last + 1
    _last = stamp
    millis, fraction = divmod(stamp, 4096)
    tail = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=(millis << 80) | (0x7000 | fraction) << 64 | 0x8000_0000_0000_0000 | tail)


def parse_uuid(text: str) -> UUID | None:
    """The UUID that `text` spells in its canonical form, else None."""
    # UUID() also accepts braces, "urn:" and missing hyphens, but each record has a single URL.
    return UUID(text) if _PATTERN.fullmatch(text) else None
