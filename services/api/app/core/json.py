"""JSON from outside, read strictly (RFC 8259, I-JSON where it matters): docs/json.md lists the
decisions."""

from __future__ import annotations

import gc
import math
import re
from typing import Any, NoReturn

import jiter

from app.core.errors import ContentTooLarge, FieldError, InvalidJson, ValidationFailed

MAX_DEPTH = 64
# An empty list takes two bytes in a body and some eighty in memory.
MAX_VALUES = 250_000
MAX_EXPONENT = 308
# PostgreSQL keeps numbers in full, so 1e308 is five bytes in and 309 bytes out.
MAX_EXPANSION = 1_048_576

# Maximum decimals of a number that is written out; PostgreSQL's own bound is 16,383.
MAX_DECIMALS = 16_000

_NUMBER = re.compile(rb"([0-9]++)(?:\.([0-9]++))?+(?:[eE]([-+]?)0*+([0-9]*+))?+")
# In a copy with all digits as 0 and E as e, a search finds the few numbers to look at.
_DIGITS_ALIKE = bytes.maketrans(b"123456789E", b"000000000e")
_EXPONENT = b"0e"
# 2^63 has 19 digits.
_LONG_INTEGER = b"0" * 19
_WITH_EXPONENT = re.compile(rb"[:,\[]\s*+-?[0-9.]++[eE][+-]?[0-9]")
_MANY_DIGITS = re.compile(rb"[0-9]{19,}+")
# The largest double has 309 digits before the point.
_LONG_NUMBER = b"0" * 309
# Possessive: a match without backtracking keeps no state, and a string can be the whole body.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
_BEFORE_VALUES = (b"[", b"{", b",")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")


def parse_strict(body: bytes) -> Any:
    """The value of a JSON text: integers exact, object keys unique, at most 64 levels deep.

    Raises InvalidJson (400) if the body is no JSON text, ContentTooLarge (413) for more than
    250,000 values, ValidationFailed (422) for NUL, which PostgreSQL cannot keep, and for numbers
    out of range.
    """
    if has_too_many_values(body):
        raise ContentTooLarge(
            f"The body has more than {MAX_VALUES:,} values, by its brackets and commas."
        )
    try:
        value = _read(body, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise InvalidJson(f"The body is not valid JSON: {error}.") from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_too_deep(_without_strings(body)):
        raise InvalidJson(f"The body is nested deeper than {MAX_DEPTH} levels.")
    if b"\\u0000" in body and _NUL.search(body):
        _refuse_nul(value)
    alike = body.translate(_DIGITS_ALIKE)
    if _EXPONENT in alike or _LONG_NUMBER in alike:
        _check_numbers(_without_strings(body))
    return value


def parse_stored(text: str) -> Any:
    """The value of a JSON text from PostgreSQL. Raises ValueError only if no request wrote it."""
    return _read(text.encode())


def long_numbers(text: str) -> list[int]:
    """The number of digits, written out, of each number that may be beyond 64 bits.

    Text within a string that looks like such a number counts, too.
    """
    raw = text.encode()
    alike = raw.translate(_DIGITS_ALIKE)
    long = []
    if _LONG_INTEGER in alike:
        long = [len(match[0]) for match in _MANY_DIGITS.finditer(raw)]
    if _EXPONENT in alike:
        long += [MAX_EXPONENT] * len(_WITH_EXPONENT.findall(raw))
    return long


def depth(text: str) -> int:
    """The levels of arrays and objects in a JSON text, at most MAX_DEPTH + 1."""
    brackets = _brackets(_without_strings(text.encode()))
    levels = 0
    while brackets and levels <= MAX_DEPTH:
        brackets = brackets.replace(b"[]", b"")
        levels += 1
    return levels


def pointer(*parts: str | int) -> str:
    """An RFC 6901 JSON Pointer to the value at `parts`."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _read(text: bytes, **how: Any) -> Any:
    # While many lists are made, garbage collection would scan all earlier objects repeatedly.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return jiter.from_json(text, **how)
    finally:
        if collecting:
            gc.enable()


def has_too_many_values(body: bytes) -> bool:
    """Counts brackets and commas: each value but the first follows a bracket or a comma."""
    if sum(map(body.count, _BEFORE_VALUES)) <= MAX_VALUES:
        return False
    # Each value has two strings at most, itself and its key, and a string has two quotes.
    quotes = body.count(b'"') - body.count(b'\\"')
    return quotes > 4 * MAX_VALUES or (
        sum(map(_without_strings(body).count, _BEFORE_VALUES)) > MAX_VALUES
    )


# Bytes are faster to search than values, and other requests wait meanwhile.
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ALIKE = bytes.maketrans(b"{}", b"[]")


def _is_too_deep(text: bytes) -> bool:
    """Whether brackets remain without the MAX_DEPTH innermost levels; `text` has no strings."""
    brackets = _brackets(text)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _brackets(text: bytes) -> bytes:
    return text.translate(_ALIKE, _NO_BRACKETS)


def _refuse_nul(value: Any) -> None:
    raise ValidationFailed(
        "The character U+0000 cannot be stored.",
        errors=[
            FieldError(
                pointer(*(_path_to_nul(value) or ())),
                "must not contain the character U+0000",
                "nul_character",
            )
        ],
    )


def _path_to_nul(value: Any) -> tuple[str | int, ...] | None:
    """The keys that lead to the first string with a NUL, or to the object that has such a key."""
    if isinstance(value, str):
        return () if "\x00" in value else None
    if isinstance(value, dict):
        if any("\x00" in key for key in value):
            return ()
        items: Any = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return None
    for key, item in items:
        if (path := _path_to_nul(item)) is not None:
            return (key, *path)
    return None


def _check_numbers(text: bytes) -> None:
    """`text` is without its strings, whose content may look like a number out of range."""
    expansion = 0
    for match in _NUMBER.finditer(text):
        whole, fraction, sign, exponent = match.groups(b"")
        if match.end() == match.end(1):
            # Integers were read exactly, or refused.
            continue
        power = int(exponent[:6] or b"0")
        if power > MAX_EXPONENT:
            _out_of_range(f"A number has an exponent beyond ±{MAX_EXPONENT}.")
        # PostgreSQL may write the number as an integer of more digits than can be read again.
        if (power or len(whole) >= len(_LONG_NUMBER)) and math.isinf(float(match[0])):
            _out_of_range("A number with a fraction or an exponent is beyond ±1.797e308.")
        if len(fraction) + (power if sign == b"-" else -power) > MAX_DECIMALS:
            _out_of_range(f"A number has more than {MAX_DECIMALS} decimals when written out.")
        expansion += power
    if expansion > MAX_EXPANSION:
        _out_of_range("The numbers in exponent form are too large when written out.")


def _out_of_range(detail: str) -> NoReturn:
    fault = FieldError("", "number out of range", "number_out_of_range")
    raise ValidationFailed(detail, errors=[fault])


def _without_strings(body: bytes) -> bytes:
    return _STRING.sub(b'""', body)
