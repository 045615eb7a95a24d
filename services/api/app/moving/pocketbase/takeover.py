"""Makes a dump of a PocketBase, which is then restored like any other."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

from app.collections.checking import pool as checking
from app.collections.files.reading import from_document, to_document
from app.collections.models import Collection
from app.core.clock import utcnow
from app.core.errors import FieldError, Problem
from app.core.ids import uuid7
from app.core.json import parse_strict
from app.moving import manifest
from app.moving.archives.writing import writing
from app.moving.dump import document
from app.moving.errors import CannotMove
from app.moving.pocketbase import people as persons
from app.moving.pocketbase.indexes import indexes_of
from app.moving.pocketbase.names import FORMER_ID, Naming
from app.moving.pocketbase.notes import notes_of
from app.moving.pocketbase.report import Report, TakenCollection
from app.moving.pocketbase.rules.translate import rules_of
from app.moving.pocketbase.schema import loosen, schema_of
from app.moving.pocketbase.values import Converter
from app.records.sizes import Size

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from pathlib import Path

    from app.core.settings import Settings
    from app.db.session import Session
    from app.moving.archives.writing import Dump
    from app.moving.pocketbase.source import Source, SourceCollection
    from app.moving.progress import Progress

# Each passage over the records leaves out at least one keyword that they do not satisfy.
_PASSAGES = 50
# Records between two turns of the event loop, in which Ctrl-C is heard.
_TURN = 500


async def take_over(
    session: Session,
    source: Source,
    target: Path,
    settings: Settings,
    progress: Progress,
    *,
    with_superusers: bool,
) -> Report:
    """Write the dump into a new folder, for the database of the session. Raises CannotMove."""
    moment = utcnow()
    naming = Naming(source.collections, source.ids)
    await persons.keep_ids(session, source, naming, with_superusers=with_superusers)
    most = min(settings.max_record_bytes, settings.max_body_bytes)
    taking = [_Taking(source, each, naming, moment, most) for each in naming.taken]
    taking.sort(key=lambda each: each.taken.name)
    progress.begin("looked at", sum(source.count(each.source.name) for each in taking))
    done = 0
    for each in taking:
        done = await each.fit(progress, done)
    facts = [(each.taken.name, 1, moment, moment) for each in taking]
    with writing(target) as made:
        made.begin(manifest.room(moment, facts))
        for each in taking:
            with made.adding(manifest.definition_file(each.taken.name)) as put:
                put(document(to_document(each.taken.name, each.collection.definition)))
        found, lines = persons.lines(source, naming, moment, with_superusers=with_superusers)
        with made.adding(manifest.USERS) as put:
            for line in lines:
                put(line)
        with made.adding(manifest.API_KEYS):
            pass
        for each in taking:
            await each.write(made)
        made.finish(manifest.made(moment, facts, made.files).dump())
    notes = notes_of(source, naming, found)
    return Report([each.taken for each in taking], found, notes)


class _Taking:
    """A collection that is taken over."""

    def __init__(
        self,
        source: Source,
        collection: SourceCollection,
        naming: Naming,
        moment: datetime,
        most: int,
    ) -> None:
        self.source = collection
        self._there = source
        self._most = most
        self._moment = moment
        self._converter = Converter(collection, naming, moment)
        self.taken = TakenCollection(collection.name, naming.names[collection.id])
        if self.taken.name != collection.name:
            self.taken.note(f"is called {self.taken.name} here")
        for name, here in naming.fields(collection).items():
            if name != here:
                self.taken.note(f"{name}: is {here} here")
        for field in collection.fields:
            if field.type == "password" and not collection.is_auth:
                self.taken.note(f"{field.name}: hashes of passwords are left out")
            if field.type == "file":
                self.taken.note(f"{field.name}: names are kept, and the files left where they are")
            if field.is_hidden and field in naming.kept(collection):
                self.taken.note(f"{field.name}: only admins write it, and no client reads it")
        self._schema = schema_of(collection, naming, self.taken.note)
        self._indexes = [
            *indexes_of(collection, naming, self.taken.note),
            {"fields": [FORMER_ID], "unique": True},
        ]
        self.taken.rules = rules_of(collection, naming, self._schema)
        self.collection = self._defined()

    async def fit(self, progress: Progress, done: int) -> int:
        """Leave out of the schema what records that are there do not satisfy; returns how many
        records were looked at, `done` included."""
        for _ in range(_PASSAGES):
            found: dict[tuple[str, str], FieldError] = {}
            number = done
            async for _row, _data, faults in self._checked():
                number += 1
                progress.reach(number)
                found |= {(fault.pointer, fault.code): fault for fault in faults}
            if not loosen(self._schema, found.values(), self.taken.note):
                return number
            self.collection = self._defined()
        return number

    async def write(self, made: Dump) -> None:
        with made.adding(manifest.records_file(self.taken.name)) as put:
            async for row, data, faults in self._checked():
                if faults:
                    why = f"{faults[0].pointer} {faults[0].message}".strip()
                    self.taken.leave_out(str(row["id"]), why)
                else:
                    self.taken.records += 1
                    put(self._converter.line(row, data))

    async def _checked(self) -> AsyncIterator[tuple[dict[str, Any], bytes, list[FieldError]]]:
        """Each record as a row and as its own fields, and what is wrong with it here."""
        for number, row in enumerate(self._there.rows(self.source)):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            data = self._converter.data(row)
            yield row, data, await self._faults(data)

    async def _faults(self, data: bytes) -> list[FieldError]:
        try:
            value, text = parse_strict(data), data.decode()
            Size(text).check(self._most)
            return await checking.faults(self.collection, value, text)
        except Problem as problem:
            return list(problem.errors) or [FieldError("", problem.detail, problem.code)]

    def _defined(self) -> Collection:
        """The collection as it is defined here. Indexes that mean nothing here are left out."""
        name = self.taken.name
        rules = {rule.operation: rule.here for rule in self.taken.rules}
        while True:
            given = {
                "schema": copy.deepcopy(self._schema),
                "rules": rules,
                "indexes": self._indexes,
            }
            try:
                _, definition = from_document(given, name)
            except Problem as problem:
                self._leave_out_index(problem)
            else:
                return Collection(uuid7(), name, 1, definition, self._moment, self._moment)

    def _leave_out_index(self, problem: Problem) -> None:
        pointer = problem.errors[0].pointer.split("/") if problem.errors else []
        if pointer[1:2] != ["indexes"]:
            raise CannotMove(f"{self.source.name}: {problem.in_one_line}") from None
        index = self._indexes.pop(int(pointer[2]))
        self.taken.note(f"index left out: {index}: {problem.errors[0].message}")
