"""A dump beside the collections that are here: which are new, and which would change."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.collections import repository
from app.collections.models import Collection
from app.core.ids import uuid7
from app.moving.errors import CannotMove
from app.moving.restoring.conflicts import Rule, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.collections.models import Definition
    from app.db.session import Session
    from app.moving.manifest import DumpedCollection, Manifest


@dataclass(frozen=True, slots=True)
class Plan:
    """A collection of the dump, and what is here under its name."""

    dumped: DumpedCollection
    definition: Definition
    present: Collection | None
    rule: Rule

    @property
    def name(self) -> str:
        return self.dumped.name

    @property
    def differs(self) -> bool:
        present = self.present
        return present is not None and present.definition.dump() != self.definition.dump()

    @property
    def changes(self) -> bool:
        """Whether the present definition becomes the dump's."""
        return self.differs and self.rule is Rule.REPLACE

    @property
    def target(self) -> Collection:
        """The collection with the definition that it will have, which its records must satisfy."""
        if self.present is None:
            moment = self.dumped.created_at
            return Collection(uuid7(), self.name, 1, self.definition, moment, moment)
        if self.changes:
            return dataclasses.replace(self.present, definition=self.definition)
        return self.present

    async def require_unchanged(self, session: Session) -> None:
        """Raises CannotMove if the collection is not as it was when this was planned."""
        found, before = await repository.get(session, self.name), self.present
        now = None if found is None else (found.id, found.version)
        if now != (None if before is None else (before.id, before.version)):
            raise CannotMove(f"Nothing was done: {self.name} was changed meanwhile; try again.")


async def plan(
    session: Session, manifest: Manifest, definitions: Mapping[str, Definition], rule: Rule
) -> list[Plan]:
    """Raises CannotMove by the rule `fail` if a collection has another definition here."""
    plans = [
        Plan(each, definitions[each.name], await repository.get(session, each.name), rule)
        for each in manifest.collections
    ]
    if rule is Rule.FAIL:
        refuse(
            "these collections have another definition here",
            [each.name for each in plans if each.differs],
        )
    return plans
