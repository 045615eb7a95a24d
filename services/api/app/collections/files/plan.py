"""The changes that applying definitions would make."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from app.collections import repository, service, turns
from app.collections.files.yaml_text import FLOAT
from app.http.preconditions import etag, parse_tags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.collections.models import Collection, Definition
    from app.core.actor import Actor
    from app.db.session import Session


@dataclass
class Change:
    """One collection: its present and its wanted definition."""

    name: str
    present: Collection | None
    wanted: Definition
    applied: Collection | None = None

    @property
    def before(self) -> Definition | None:
        return None if self.present is None else self.present.definition

    @property
    def changed(self) -> bool:
        return self.before is None or self.before.dump() != self.wanted.dump()

    @property
    def after(self) -> Collection:
        after = self.applied or self.present
        assert after is not None
        return after

    @property
    def blocks_writers(self) -> bool:
        return self.before is not None and service.blocks_writers(self.before, self.wanted)

    async def apply(self, session: Session, actor: Actor) -> None:
        """Raises as `service.put` does: PreconditionFailed if the collection changed meanwhile."""
        self.applied, _ = await service.put(
            session,
            actor,
            name=self.name,
            definition=self.wanted,
            if_match=None if self.present is None else parse_tags(etag(self.present.version)),
            only_create=self.present is None,
        )


async def plan(session: Session, wanted: Sequence[tuple[str, Definition]]) -> list[Change]:
    """The changes, in the order given."""
    return [
        Change(name, await repository.get(session, name), definition) for name, definition in wanted
    ]


async def hold(session: Session, changes: Sequence[Change]) -> None:
    """Take the locks of all changes together, so that pauses between tries hold no table. Raises
    CollectionBusy."""
    await turns.take(session, [change.name for change in changes])
    blocked = [change.name for change in changes if change.blocks_writers]
    if blocked:
        await turns.block_writers(session, blocked)


def difference(change: Change) -> str:
    """A unified diff of the definition as YAML."""
    before = _yaml(change.before) if change.before else ""
    lines = difflib.unified_diff(
        before.splitlines(), _yaml(change.wanted).splitlines(), "now", "wanted", lineterm=""
    )
    return "\n".join(lines)


class _Dumper(yaml.SafeDumper):
    """Quotes texts that look like numbers of YAML 1.1 or 1.2."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))


def _yaml(definition: Definition) -> str:
    dumped = json.loads(definition.dump())
    text: str = yaml.dump(dumped, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text
