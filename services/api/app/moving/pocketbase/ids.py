"""The ids that records of PocketBase get: the same ones each time, so that relations lead there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from collections.abc import Mapping

_OURS = UUID("6b8c1f0e-94b3-4b8e-9f5e-0f7f8f6f5a11")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def record_id(collection: str, id_: str) -> UUID:
    """A UUID of the collection's and the record's id; an id that is a UUID is kept."""
    return UUID(id_) if _UUID.fullmatch(id_) else uuid5(_OURS, f"{collection}/{id_}")


class Ids:
    """The ids of one take-over: users that are here already keep those that they have here."""

    def __init__(self) -> None:
        self._here: Mapping[UUID, UUID] = {}

    def keep(self, here: Mapping[UUID, UUID]) -> None:
        """By the id that a user would get: the id that the same user has here."""
        self._here = here

    def of(self, collection: str, id_: str) -> UUID:
        made = record_id(collection, id_)
        return self._here.get(made, made)
