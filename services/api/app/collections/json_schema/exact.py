"""Keywords for records with large numbers. The time of the validator's own keywords grows with the
square of the count of numbers (`uniqueItems`) or of digits (`multipleOf`)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any


class UniqueItems:
    def __init__(self, _: dict[str, Any], value: Any, __: list[str | int]) -> None:
        self._wanted = value is True

    def validate(self, instance: Any) -> None:
        if not self._wanted or not isinstance(instance, list):
            return
        if len(set(map(_identity, instance))) < len(instance):
            raise ValueError("has non-unique elements")


class MultipleOf:
    def __init__(self, _: dict[str, Any], value: Any, __: list[str | int]) -> None:
        self._shown = value
        self._step = Fraction(str(value))

    def validate(self, instance: Any) -> None:
        if isinstance(instance, bool) or not isinstance(instance, int | float):
            return
        value = instance if isinstance(instance, int) else Fraction(str(instance))
        if value * self._step.denominator % self._step.numerator:
            raise ValueError(f"is not a multiple of {self._shown}")


KEYWORDS: dict[str, type] = {"uniqueItems": UniqueItems, "multipleOf": MultipleOf}


def _identity(value: Any) -> Any:
    """A key, equal for equal JSON values; never a number, whose hash clients could foresee."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value if isinstance(value, str) else (value,)
    if isinstance(value, int):
        return b"%x" % value
    if isinstance(value, float):
        return b"%x" % int(value) if value.is_integer() else repr(value).encode()
    if isinstance(value, dict):
        return frozenset((key, _identity(each)) for key, each in value.items())
    return (*map(_identity, value), list)
