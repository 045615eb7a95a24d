"""Restores a dump: everything in one transaction, after the whole dump was checked."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.auth.users import repository as users
from app.collections import indexes, service, turns
from app.collections import repository as collections
from app.collections.models import CACHE_KINDS
from app.core.actor import SYSTEM
from app.core.errors import Problem
from app.moving import lines
from app.moving.archives.reading import lines as lines_of
from app.moving.archives.reading import reading
from app.moving.errors import CannotMove
from app.moving.manifest import API_KEYS, USERS, records_file
from app.moving.restoring import people, records, staging
from app.moving.restoring.checking import check, definitions_of
from app.moving.restoring.people import Counts
from app.moving.restoring.plan import plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from app.collections.models import Collection
    from app.core.settings import Settings
    from app.db.database import Database, Transaction
    from app.moving.manifest import Manifest
    from app.moving.progress import Progress
    from app.moving.restoring.conflicts import Rule
    from app.moving.restoring.plan import Plan

# Statements take as long as there are records, and so do the pauses between them.
_PATIENTLY = (
    "SELECT set_config('statement_timeout', '0', true),"
    " set_config('idle_in_transaction_session_timeout', '0', true)"
)
_NONE = Counts(0, 0, 0)


@dataclass
class Restored:
    """The outcome of a restore."""

    manifest: Manifest
    users: Counts = _NONE
    # How many users have another id here than in the dump.
    moved: int = 0
    api_keys: Counts = _NONE
    # By collection, the records.
    records: dict[str, Counts] = field(default_factory=dict)
    # The names of the collections that are new, and of those whose definition is another one now.
    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


async def restore(
    database: Database, settings: Settings, path: Path, rule: Rule, progress: Progress
) -> Restored:
    """Restore the dump, or do nothing. Raises CannotMove and Problem."""
    manifest, definitions = definitions_of(path)
    plans = await plan(database, manifest, definitions, rule)
    targets = {each.name: each.target for each in plans}
    most = min(settings.max_record_bytes, settings.max_body_bytes)
    weights = await check(path, targets, most, progress)
    restored = Restored(manifest)
    async with database.transaction() as session:
        await _Restoring(session, plans, weights, rule, progress).run(path, restored)
    for name in restored.changed:
        await indexes.reconcile(database, await service.get(database, name), again=True)
    return restored


class _Restoring:
    """The transaction, and how far it is."""

    def __init__(
        self,
        session: Transaction,
        plans: Sequence[Plan],
        weights: dict[str, int],
        rule: Rule,
        progress: Progress,
    ) -> None:
        self._session, self._rule = session, rule
        self._plans, self._weights = plans, weights
        self._progress = progress
        self._done = 0
        # The table of users.
        self._users = ""

    async def run(self, path: Path, restored: Restored) -> None:
        session = self._session
        await session.execute(_PATIENTLY)
        await users.lock_admins(session)
        await turns.take(session, [each.name for each in self._plans])
        for each in self._plans:
            await each.require_unchanged(session)
        self._progress.begin("restored", sum(each.dumped.records.lines for each in self._plans))
        of_file = {records_file(each.name): each for each in self._plans}
        async with AsyncExitStack() as stack:
            with reading(path) as passage:
                if passage.manifest != restored.manifest:
                    raise CannotMove(f"Nothing was done: {path} was changed meanwhile.")
                for file, parts in passage.files():
                    if file == USERS:
                        await self._restore_users(stack, parts, restored)
                    elif file == API_KEYS:
                        await self._restore_keys(parts, restored)
                    elif file in of_file:
                        await self._restore_records(of_file[file], file, parts, restored)

    async def _restore_users(
        self, stack: AsyncExitStack, parts: Iterator[bytes], restored: Restored
    ) -> None:
        rows = _rows(USERS, parts, lambda line: lines.user(line).row(line))
        self._users = await stack.enter_async_context(staging.lines(self._session, rows))
        restored.users = await people.restore_users(self._session, self._users, self._rule)
        restored.moved = await people.moved(self._session, self._users)

    async def _restore_keys(self, parts: Iterator[bytes], restored: Restored) -> None:
        rows = _rows(API_KEYS, parts, lambda line: lines.api_key(line).row(line))
        async with staging.lines(self._session, rows) as table:
            restored.api_keys = await people.restore_keys(
                self._session, table, self._users, self._rule
            )

    async def _restore_records(
        self, each: Plan, file: str, parts: Iterator[bytes], restored: Restored
    ) -> None:
        session, name = self._session, each.name
        collection = await self._collection(each, restored)
        weight = self._weights[name]
        if weight > collection.largest:
            await collections.announce(session, collection, weight)
        async with staging.records(session, _rows(file, parts, self._record)) as staged:
            of_users = self._users if restored.moved else None
            counts = await records.put(session, collection, staged, of_users, self._rule)
            if each.present is None:
                await records.make_indexes(session, collection, staged)
        restored.records[name] = counts
        if each.present is not None and (counts.new or counts.replaced):
            await self._invalidate(collection)

    async def _collection(self, each: Plan, restored: Restored) -> Collection:
        """The collection as it is from now on."""
        session, name = self._session, each.name
        if each.present is None:
            restored.new.append(name)
            return await records.make(session, each.dumped, each.definition)
        try:
            if not each.changes:
                await records.require_unique_indexes(session, each.present)
                return each.present
            changed, _ = await service.put(session, SYSTEM, name=name, definition=each.definition)
        except Problem as problem:
            raise CannotMove(f"Nothing was done: {name}: {problem.in_one_line}") from None
        restored.changed.append(name)
        return changed

    async def _invalidate(self, collection: Collection) -> None:
        cached = [kind for kind in CACHE_KINDS if collection.definition.caches(kind)]
        for kind in cached:
            self._session.invalidate(collection.cache_group(kind))
        if cached:
            # The command ends once no process serves what was cached before.
            await self._session.settle()

    def _record(self, line: bytes) -> bytes:
        self._done += 1
        self._progress.reach(self._done)
        return lines.record(line).row()


async def _rows(
    file: str, parts: Iterator[bytes], row: Callable[[bytes], bytes]
) -> AsyncIterator[bytes]:
    for some in lines_of(file, parts):
        yield b"".join([row(line) + b"\n" for line in some])
