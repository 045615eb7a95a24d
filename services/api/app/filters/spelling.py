"""Refuses misspelt names of declared fields, where a schema allows undeclared fields too."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from app.filters.errors import FilterError, UnknownField
from app.filters.language.parser import parse_path, split_list, terms
from app.filters.language.syntax import Field

if TYPE_CHECKING:
    from app.filters.fields import Fields
    from app.filters.language.syntax import Expression, Path

# A name shorter than this is one slip away from too many other names.
_SHORTEST: Final = 4
_MOST_NAMES: Final = 1000


def check_filter(expression: Expression, fields: Fields) -> None:
    """Raises UnknownField (400) for a name that is one slip away from a declared name.

    Backticks let such a name pass.
    """
    for term in terms(expression):
        for side in (term.left, term.right):
            if isinstance(side, Field) and not side.quoted:
                _check(side.path, side.position, fields)


def check_names(text: str, fields: Fields) -> None:
    """The same check for the names between the commas of a sort, an index or `fields`."""
    for start, part in split_list(text):
        if "`" not in part:
            bare = part.strip().lstrip("-")
            position = start + part.index(bare)
            try:
                path = parse_path(bare, position)
            except FilterError:
                # The code that uses the text raises a better problem.
                continue
            _check(path, position, fields)


def _check(path: Path, position: int, fields: Fields) -> None:
    for key, known in zip(path, fields.names_along(path), strict=False):
        if len(key) < _SHORTEST or key in known:
            continue
        for name in islice(known, _MOST_NAMES):
            if len(name) >= _SHORTEST and _one_slip(key, name):
                raise UnknownField(
                    f"The schema has no field {'.'.join(path)!r}; did you mean {name}?"
                    f" If not, write `{key}` in backticks.",
                    position=position,
                )


def _one_slip(given: str, meant: str) -> bool:
    """Whether one letter is wrong, extra or missing, two are swapped, or only the case differs."""
    if abs(len(given) - len(meant)) > 1 or given + "s" == meant or given == meant + "s":
        # A singular and its plural are two fields.
        return False
    if given.lower() == meant.lower():
        return True
    start = 0
    for one, other in zip(given, meant, strict=False):
        if one != other:
            break
        start += 1
    a, b = given[start:], meant[start:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
