"""The Idempotency-Key field (draft-ietf-httpapi-idempotency-key-header-07)."""

from __future__ import annotations

import re

from app.idempotency.errors import InvalidIdempotencyKey

FIELD = b"idempotency-key"
MAX_LENGTH = 255

# A string of RFC 9651, section 3.3.3, or the same without quotes, as most clients send it. A comma
# would mean that a proxy joined two fields, a semicolon that a parameter begins.
_QUOTED = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(rb"[!#-+\--:<-~]+")
_ESCAPED = re.compile(rb"\\(.)")


def parse_key(field: bytes) -> str:
    """The key that the field gives; quotes are no part of it. Raises InvalidIdempotencyKey."""
    field = field.strip(b" \t")
    if quoted := _QUOTED.fullmatch(field):
        key = _ESCAPED.sub(rb"\1", quoted[1])
    elif _BARE.fullmatch(field):
        key = field
    else:
        raise InvalidIdempotencyKey
    if not 1 <= len(key) <= MAX_LENGTH:
        raise InvalidIdempotencyKey
    return key.decode()
