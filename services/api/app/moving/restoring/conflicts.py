"""The rules for parts of a dump that are here already."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from app.moving.errors import CannotMove

if TYPE_CHECKING:
    from collections.abc import Sequence

# Conflicts that a refusal names.
SHOWN = 5


class Rule(StrEnum):
    """For collections with another definition, records and keys of the same id, and users of the
    same id or e-mail address."""

    FAIL = "fail"
    SKIP = "skip"
    REPLACE = "replace"


def refuse(what: str, names: Sequence[object]) -> None:
    """Raises CannotMove that names the first of these, if there are any."""
    if names:
        shown = ", ".join(map(str, names[:SHOWN]))
        more = ", …" if len(names) > SHOWN else ""
        raise CannotMove(f"Nothing was done: {what}: {shown}{more}.")
