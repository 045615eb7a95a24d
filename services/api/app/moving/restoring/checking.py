"""Checks a whole dump before anything is written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.collections.files import reading as definitions
from app.core import json
from app.core.errors import Problem
from app.moving import lines
from app.moving.archives.reading import lines as lines_of
from app.moving.archives.reading import reading, whole
from app.moving.errors import CannotMove
from app.moving.lines import BadLine
from app.moving.manifest import API_KEYS, USERS, definition_file, records_file
from app.records.service import Body, check_data
from app.records.sizes import Size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from app.collections.models import Collection, Definition
    from app.moving.lines import ApiKeyLine, UserLine
    from app.moving.manifest import Manifest
    from app.moving.progress import Progress

# Records between two turns of the event loop, in which Ctrl-C is heard.
_TURN = 500
# Where the id is in a record's line.
_ID = slice(7, 43)


def definitions_of(path: Path) -> tuple[Manifest, dict[str, Definition]]:
    """The manifest, and the definitions by name, valid for this version. Raises CannotMove."""
    with reading(path) as passage:
        manifest = passage.manifest
        wanted = {definition_file(each.name): each.name for each in manifest.collections}
        found = {}
        for file, parts in passage.files():
            if file not in wanted:
                break
            found[wanted[file]] = _definition(file, wanted[file], whole(file, parts))
    return manifest, found


def _definition(file: str, name: str, content: bytes) -> Definition:
    try:
        named, definition = definitions.from_document(json.parse_strict(content), name)
    except (definitions.UnusableFile, Problem) as error:
        detail = error.in_one_line if isinstance(error, Problem) else error
        raise CannotMove(f"{file}: {detail}") from None
    if named != name:
        raise CannotMove(f"{file} is about the collection {named}.")
    return definition


async def check(
    path: Path, targets: Mapping[str, Collection], most_bytes: int, progress: Progress
) -> dict[str, int]:
    """Check the digests, sizes and counts of all files, all users and keys, and each record against
    the schema of its collection of `targets`, in flat memory.

    Returns the largest weight of each collection's records, see `Size`. Raises CannotMove that
    names the file and the line.
    """
    of_file = {records_file(name): collection for name, collection in targets.items()}
    weights: dict[str, int] = {}
    with reading(path) as passage:
        progress.begin("checked", sum(each.records.lines for each in passage.manifest.collections))
        done = 0
        for file, parts in passage.files():
            if file in of_file:
                collection = of_file[file]
                weight, last = 0, b""
                for number, line in _numbered(file, parts):
                    weight = max(weight, await _weight(file, number, line, collection, most_bytes))
                    last = _in_order(file, number, last, line[_ID])
                    done += 1
                    progress.reach(done)
                    if done % _TURN == 0:
                        await asyncio.sleep(0)
                weights[collection.name] = weight
            elif file in (USERS, API_KEYS):
                _check_people(file, parts)
    return weights


def _numbered(file: str, parts: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    for some in lines_of(file, parts):
        for line in some:
            number += 1
            yield number, line


def _in_order(file: str, number: int, last: bytes, id_: bytes) -> bytes:
    """The id, which has to come after the last one: so none comes twice."""
    if id_ <= last:
        raise CannotMove(f"{file}, line {number}: the lines are not in the order of their ids.")
    return id_


async def _weight(
    file: str, number: int, line: bytes, collection: Collection, most_bytes: int
) -> int:
    try:
        lines.check_text(line)
        found = lines.record(line)
        lines.check_times(found)
        data = Body.from_json(found.data)
        await check_data(collection, data)
        size = Size(data.text)
        size.check(most_bytes)
    except BadLine as error:
        raise CannotMove(f"{file}, line {number}: {error}.") from None
    except Problem as problem:
        raise CannotMove(f"{file}, line {number}: {problem.in_one_line}") from None
    return size.weight


def _check_people(file: str, parts: Iterator[bytes]) -> None:
    read: Callable[[bytes], UserLine | ApiKeyLine]
    read = lines.user if file == USERS else lines.api_key
    last = b""
    for number, line in _numbered(file, parts):
        try:
            lines.check_text(line)
            json.parse_strict(line)
            found = read(line)
        except Problem as problem:
            raise CannotMove(f"{file}, line {number}: {problem.in_one_line}") from None
        except ValueError as error:
            raise CannotMove(f"{file}, line {number}: {error}.") from None
        last = _in_order(file, number, last, found.id.bytes)
