"""Conditions on times. PocketBase compares the texts `2024-01-31 10:00:00.000Z`, also with a text
that is only the beginning of one."""

from __future__ import annotations

import re
from datetime import datetime

from app.moving.pocketbase.rules.parser import Untranslatable

_WHOLE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z")
_BEGINNING = re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d(?::\d\d)?)?")
_REST = "0000-00-00 00:00:00.000Z"
# Any time that begins with the text is longer, and so comes after it.
_AFTER_ALL = {">": ">=", ">=": ">=", "<": "<", "<=": "<"}


def compared_time(name: str, operator: str, text: str, *, may_be_absent: bool) -> str:
    """The condition as a filter. Raises Untranslatable."""
    if _BEGINNING.fullmatch(text):
        if operator not in _AFTER_ALL:
            raise Untranslatable(f'no time equals "{text}"')
        text, operator = text + _REST[len(text) :], _AFTER_ALL[operator]
    if not _WHOLE.fullmatch(text):
        raise Untranslatable(f'"{text}" is no time')
    moment = text.replace(" ", "T")
    try:
        datetime.fromisoformat(moment)
    except ValueError:
        raise Untranslatable(f'"{text}" is no time') from None
    condition = f'{name} {operator} "{moment}"'
    # An empty text comes before all times.
    if may_be_absent and operator in ("<", "<="):
        return f"({condition} or {name} is null)"
    return condition
