"""Dumps a project: its collections, records, users and API keys, as they are at one moment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from app.collections.files.reading import to_document
from app.moving import manifest
from app.moving.archives.writing import writing
from app.moving.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app.db.database import Database
    from app.moving.archives.writing import Dump
    from app.moving.manifest import Manifest
    from app.moving.progress import Progress
    from app.moving.snapshot import Snapshot


async def dump(database: Database, target: Path, progress: Progress) -> Manifest:
    """Write the dump, a single file if its name ends in `.tar.zst`, else a folder.

    If it fails, or is broken off, nothing is left of it. Raises CannotMove, and Problem for what
    PostgreSQL refuses.
    """
    with writing(target) as made:
        async with snapshot(database) as taken:
            return await _write(taken, made, progress)


async def _write(taken: Snapshot, made: Dump, progress: Progress) -> Manifest:
    facts = [
        (each.name, each.version, each.created_at, each.updated_at) for each in taken.collections
    ]
    made.begin(manifest.room(taken.moment, facts))
    for collection in taken.collections:
        with made.adding(manifest.definition_file(collection.name)) as put:
            put(document(to_document(collection.name, collection.definition)))
    with made.adding(manifest.USERS) as put:
        await taken.users(put)
    with made.adding(manifest.API_KEYS) as put:
        await taken.api_keys(put)
    progress.begin("dumped", await taken.estimate() or None)
    done = 0
    for collection in taken.collections:
        name = manifest.records_file(collection.name)
        with made.adding(name) as put:
            await taken.records(collection, _telling(progress, done, put))
        done += made.files[name].lines
    found = manifest.made(taken.moment, facts, made.files)
    made.finish(found.dump())
    return found


def _telling(
    progress: Progress, before: int, put: Callable[[bytes], int]
) -> Callable[[bytes], None]:
    def write(part: bytes) -> None:
        progress.reach(before + put(part))

    return write


def document(definition: dict[str, Any]) -> bytes:
    """The file of a definition."""
    return json.dumps(definition, ensure_ascii=False, indent=2).encode() + b"\n"
