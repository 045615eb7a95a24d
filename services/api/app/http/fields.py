"""The header fields of a request, one value for each name (RFC 9110, section 5.3).

Some code reads the first of several fields with the same name, other code reads the last or all;
joined, they are one field. The edge agrees: it refuses repeated fields or passes all of them on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

# Fields that are not lists, and lists that nginx also refuses if they are repeated.
_SINGLE = frozenset({
    b"access-control-request-method", b"authorization", b"content-length", b"content-type",
    b"expect", b"host", b"if-match", b"if-modified-since", b"if-none-match", b"if-range",
    b"if-unmodified-since", b"origin", b"range", b"transfer-encoding",
})  # fmt: skip


class FieldDoubled(BadRequest):
    """A header field is given more than once."""


def join_fields(
    headers: Iterable[tuple[bytes, bytes]],
) -> tuple[list[tuple[bytes, bytes]], FieldDoubled | None]:
    """The fields, joined by name, and a refusal if a field of _SINGLE is repeated."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    doubled = next((name for name in values if name in _SINGLE and len(values[name]) > 1), None)
    found = [
        (name, (b"; " if name == b"cookie" else b", ").join(given))
        for name, given in values.items()
    ]
    if doubled is None:
        return found, None
    return found, FieldDoubled(f"{doubled.decode().title()} is given more than once.")
