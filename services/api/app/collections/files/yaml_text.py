"""YAML 1.2's core schema as JSON text, so that a file is read as a request's body is.

This module interprets the scalars of a parser's events itself: it refuses, with its line, a scalar
that is another number in YAML 1.1 or that JSON cannot express.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from app.core.json import MAX_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterator

# A few lines of references to references can stand for gigabytes.
MAX_LENGTH = 10_485_760
# The limit of Python and of the JSON reader.
_MAX_DIGITS = 4300

FLOAT = re.compile(r"([-+]?)(?:\.([0-9]+)|([0-9]+)(?:\.([0-9]*))?)([eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), "null"),
    **dict.fromkeys(("true", "True", "TRUE"), "true"),
    **dict.fromkeys(("false", "False", "FALSE"), "false"),
}
_NO_JSON = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
# Scalars that YAML 1.1 reads differently: a leading zero (octal), digits in groups, base two, a
# signed base, base sixty (as in times).
_OTHERWISE = re.compile(
    r"""[-+]?(0[0-9]+
            | 0b[01_]+
            | 0x[0-9a-fA-F_]*_[0-9a-fA-F_]*
            | (?=[^_]*_)[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?
            | (?=[^_]*_)\.[0-9_]+([eE][-+]?[0-9]+)?
            | [1-9][0-9_]*(:[0-5]?[0-9])+
            | [0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*)
      | [-+]0x[0-9a-fA-F_]+""",
    re.VERBOSE,
)
# YAML 1.1 breaks lines at these characters, JSON does not.
_BREAKS = re.compile("[\x85\u2028\u2029]")
_TEXT = "tag:yaml.org,2002:str"


def documents(content: str) -> Iterator[str]:
    """Each document as JSON text. Raises yaml.YAMLError."""
    found = _BREAKS.search(content)
    if found is not None:
        before = content[: found.start()]
        mark = yaml.Mark("", 0, before.count("\n"), len(before.rpartition("\n")[2]), "", 0)
        _refuse(mark, f"U+{ord(found[0]):04X} ends a line in YAML 1.1 only: write it as an escape")
    yield from _Reader(content).documents()


class _Reader:
    """Turns one document after the other into JSON text."""

    def __init__(self, content: str) -> None:
        self._events: Iterator[Any] = yaml.parse(content, yaml.SafeLoader)
        # By anchor (`&name`): the value as JSON text.
        self._named: dict[str, str] = {}
        self._length = 0

    def documents(self) -> Iterator[str]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if event.version not in (None, (1, 2)):
                    _refuse(event.start_mark, "only YAML 1.2 is read")
                self._named.clear()
                yield self._value(next(self._events), 0)

    def _value(self, event: Any, depth: int) -> str:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._named:
                _refuse(event.start_mark, f"*{event.anchor} names nothing that is complete")
            return self._counted(event, self._named[event.anchor])
        if isinstance(event, yaml.ScalarEvent):
            text = self._counted(event, _scalar(event))
        elif depth >= MAX_DEPTH:
            _refuse(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")
        elif event.tag is not None:
            _refuse(event.start_mark, "tags are not read")
        elif isinstance(event, yaml.SequenceStartEvent):
            text = f"[{', '.join(self._items(depth + 1))}]"
        else:
            text = f"{{{', '.join(self._members(depth + 1))}}}"
        if event.anchor is not None:
            self._named[event.anchor] = text
        return text

    def _items(self, depth: int) -> Iterator[str]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._value(event, depth)

    def _members(self, depth: int) -> Iterator[str]:
        seen: set[str] = set()
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._counted(event, _key(event))
            if key in seen:
                _refuse(event.start_mark, f"{event.value!r} comes twice")
            seen.add(key)
            yield f"{key}: {self._value(next(self._events), depth)}"

    def _counted(self, event: Any, text: str) -> str:
        self._length += len(text)
        if self._length > MAX_LENGTH:
            _refuse(event.start_mark, f"stands for more than {MAX_LENGTH:,} characters")
        return text


def _key(event: Any) -> str:
    """A member's key: its exact text, even if that is 12:30, 1_000 or yes."""
    if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None:
        _refuse(event.start_mark, "a key is a text")
    plain = event.style is None
    if event.tag is not None:
        _refuse(event.start_mark, "tags are not read")
    if plain and event.value == "<<":
        _refuse(event.start_mark, "<< merges in YAML 1.1 only: write the members out, or quote it")
    if plain and not event.value:
        _refuse(event.start_mark, "a key is missing")
    return _text(event)


def _scalar(event: yaml.ScalarEvent) -> str:
    if event.tag not in (None, _TEXT):
        _refuse(event.start_mark, "tags are not read")
    value = event.value
    if event.style is not None or event.tag is not None:
        return _text(event)
    if value in _WORDS:
        return _WORDS[value]
    if _OTHERWISE.fullmatch(value):
        _refuse(
            event.start_mark,
            f"{value} is another number in YAML 1.1 than in 1.2, or a number in one of them only: "
            "quote it, or write the number as in JSON",
        )
    if _NO_JSON.fullmatch(value):
        _refuse(event.start_mark, f"{value} is no number of JSON's: quote it if it is a text")
    if _INTEGER.fullmatch(value) or _BASED.fullmatch(value):
        return _integer(event)
    if number := FLOAT.fullmatch(value):
        return _float(number)
    return _text(event)


def _integer(event: yaml.ScalarEvent) -> str:
    value = event.value
    if len(value) > _MAX_DIGITS:
        _refuse(event.start_mark, f"a number has at most {_MAX_DIGITS:,} digits")
    return str(int(value, 0)) if _BASED.fullmatch(value) else value.removeprefix("+")


def _float(number: re.Match[str]) -> str:
    """The number in JSON's form, with its digits as written."""
    sign, alone, whole, fraction, exponent = number.groups("")
    digits = alone or fraction
    if "." in number[0]:
        digits = f".{digits or '0'}"
    return f"{sign.strip('+')}{whole.lstrip('0') or '0'}{digits}{exponent}"


def _text(event: yaml.ScalarEvent) -> str:
    try:
        # JSON writes a character above U+FFFF as two escapes.
        value = event.value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        _refuse(event.start_mark, "holds half of a surrogate pair")
    return json.dumps(value, ensure_ascii=False)


def _refuse(mark: Any, problem: str) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
