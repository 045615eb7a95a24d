"""JSON from outside, read strictly (RFC 8259, I-JSON where it matters): what is decided here is
listed in docs/json.md."""

from __future__ import annotations

import re
from typing import Any

import jiter

from app.core.errors import FieldError, InvalidJson, ValidationFailed

MAX_DEPTH = 64
MAX_EXPONENT = 308
# PostgreSQL keeps numbers in full, so 1e308 is six bytes in and 309 bytes out.
MAX_EXPANSION = 1_048_576

# Of a number in a row: with the largest exponent, still less than PostgreSQL's 16,383 decimals.
MAX_DIGITS = 16_000

_EXPONENT = re.compile(rb"[0-9][eE][-+]?0*([0-9]*)")
_LONG_NUMBER = re.compile(rb"(?<![0-9])[0-9]{%d}" % (MAX_DIGITS + 1))


def parse(body: bytes) -> Any:
    """The value of a JSON text: integers exact, object keys unique, at most 64 levels deep.

    Raises InvalidJson (400) for what is no JSON text, ValidationFailed (422) for what PostgreSQL
    cannot keep (NUL) and for numbers out of range.
    """
    try:
        value = jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise InvalidJson(f"The body is not valid JSON: {error}.") from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise InvalidJson(f"The body is nested deeper than {MAX_DEPTH} levels.")
    if b"\\u0000" in body:
        _refuse_nul(value, "")
    if _EXPONENT.search(body) or _LONG_NUMBER.search(body):
        _check_numbers(_without_strings(body))
    return value


def pointer(*parts: str | int) -> str:
    """An RFC 6901 JSON Pointer to the value at `parts`."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _refuse_nul(value: Any, at: str) -> None:
    if isinstance(value, str) and "\x00" in value:
        raise ValidationFailed(
            "The character U+0000 cannot be stored.",
            errors=[FieldError(at, "must not contain the character U+0000", "nul_character")],
        )
    if isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_nul(item, at + pointer(index))
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_nul(key, at)
            _refuse_nul(item, at + pointer(key))


def _check_numbers(text: bytes) -> None:
    """`text` has no strings any more: what is in them may look like a number out of range."""
    if _LONG_NUMBER.search(text):
        raise ValidationFailed(
            f"A number has more than {MAX_DIGITS} digits in a row.",
            errors=[FieldError("", "number out of range", "number_out_of_range")],
        )
    expansion = 0
    for match in _EXPONENT.finditer(text):
        exponent = int(match[1][:6] or b"0")
        if exponent > MAX_EXPONENT:
            raise ValidationFailed(
                f"A number has an exponent beyond ±{MAX_EXPONENT}.",
                errors=[FieldError("", "number out of range", "number_out_of_range")],
            )
        expansion += exponent
    if expansion > MAX_EXPANSION:
        raise ValidationFailed(
            "The numbers in exponent form are too large when written out.",
            errors=[FieldError("", "numbers too large when written out", "number_out_of_range")],
        )


def _without_strings(body: bytes) -> bytes:
    return re.sub(rb'"(?:[^"\\]|\\.)*"', b'""', body)
