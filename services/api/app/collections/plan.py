"""What applying definitions would change, before it does."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from app.collections import repository, service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.collections.models import Collection, Definition
    from app.collections.schemas import CollectionIn
    from app.core.actor import Actor
    from app.db.session import Session


@dataclass
class Change:
    """One collection, as it is and as it is to be."""

    name: str
    before: Definition | None
    wanted: Definition
    applied: Collection | None = None

    @property
    def changed(self) -> bool:
        return self.before is None or self.before.dump() != self.wanted.dump()

    @property
    def after(self) -> Collection:
        assert self.applied is not None
        return self.applied

    async def apply(self, session: Session, actor: Actor) -> None:
        """Raises what `service.put` does."""
        self.applied, _ = await service.put(session, actor, name=self.name, definition=self.wanted)


async def plan(session: Session, wanted: Sequence[tuple[str, CollectionIn]]) -> list[Change]:
    """The changes, in the order given. Raises InvalidDefinition, InvalidCollectionName."""
    changes = []
    for name, given in wanted:
        definition = service.define(name, given)
        present = await repository.get(session, name)
        changes.append(Change(name, present.definition if present else None, definition))
    return changes


def difference(change: Change) -> str:
    """A unified diff of the definition as YAML."""
    before = _yaml(change.before) if change.before else ""
    lines = difflib.unified_diff(
        before.splitlines(), _yaml(change.wanted).splitlines(), "now", "wanted", lineterm=""
    )
    return "\n".join(lines)


def _yaml(definition: Definition) -> str:
    text: str = yaml.safe_dump(json.loads(definition.dump()), sort_keys=False, allow_unicode=True)
    return text
