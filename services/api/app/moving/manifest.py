"""The contents of a dump: its files, and the manifest that tells their sizes, counts and digests.

A dump holds `manifest.json`, `users.ndjson`, `api_keys.ndjson`, and for each collection
`collections/NAME.json`, as `listo collections apply` takes it, and `records/NAME.ndjson`.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from app import __version__
from app.core.actor import COLLECTION_NAME
from app.moving.errors import CannotMove

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The form of dumps that this code writes, and the only one that it reads.
FORMAT = 1
MANIFEST = "manifest.json"
USERS = "users.ndjson"
API_KEYS = "api_keys.ndjson"
NAMES = re.compile(
    rf"manifest\.json|users\.ndjson|api_keys\.ndjson"
    rf"|collections/{COLLECTION_NAME}\.json|records/{COLLECTION_NAME}\.ndjson"
)
# More collections than any project has.
MAX_BYTES = 64 << 20
_MAX = (1 << 63) - 1


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a dump: its lines, its size and its SHA-256 in hexadecimal."""

    lines: int
    bytes: int
    sha256: str


class DumpedCollection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A collection: its definition's version and times, and its two files."""

    name: str
    version: int
    created_at: datetime
    updated_at: datetime
    definition: File
    records: File


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`moment` is the time of the snapshot that all files show."""

    format: int
    version: str
    moment: datetime
    collections: list[DumpedCollection]
    users: File
    api_keys: File

    def dump(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @property
    def files(self) -> dict[str, File]:
        """All files but the manifest, in the order in which a dump has them."""
        return {
            **{definition_file(each.name): each.definition for each in self.collections},
            USERS: self.users,
            API_KEYS: self.api_keys,
            **{records_file(each.name): each.records for each in self.collections},
        }


class _Format(msgspec.Struct):
    format: int


def definition_file(name: str) -> str:
    return f"collections/{name}.json"


def records_file(name: str) -> str:
    return f"records/{name}.ndjson"


def made(
    moment: datetime,
    collections: Sequence[tuple[str, int, datetime, datetime]],
    files: Mapping[str, File],
) -> Manifest:
    """The manifest of collections, each with name, version and times, and of files by name."""
    return Manifest(
        FORMAT,
        __version__,
        moment,
        [
            DumpedCollection(*each, files[definition_file(each[0])], files[records_file(each[0])])
            for each in collections
        ],
        files[USERS],
        files[API_KEYS],
    )


def room(moment: datetime, collections: Sequence[tuple[str, int, datetime, datetime]]) -> int:
    """The bytes that the manifest will have at most, whatever its files will be like."""
    largest = File(_MAX, _MAX, "0" * 64)
    names = [USERS, API_KEYS]
    for name, *_ in collections:
        names += [definition_file(name), records_file(name)]
    return len(made(moment, collections, dict.fromkeys(names, largest)).dump())


def parsed(content: bytes) -> Manifest:
    """Raises CannotMove for a manifest of another format, and for none at all."""
    try:
        found = msgspec.json.decode(content, type=_Format)
        if found.format != FORMAT:
            raise CannotMove(
                f"{MANIFEST}: This is a dump of format {found.format}, and Listo {__version__} "
                f"reads format {FORMAT}."
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CannotMove(f"{MANIFEST}: {error}.") from None
    names = [each.name for each in manifest.collections]
    if names != sorted(set(names)) or not all(map(NAMES.fullmatch, manifest.files)):
        raise CannotMove(f"{MANIFEST}: The collections need names, in order, each once.")
    if any(each.version < 1 for each in manifest.collections):
        raise CannotMove(f"{MANIFEST}: The version of a collection is 1 or more.")
    if any(file.lines < 0 or file.bytes < 0 for file in manifest.files.values()):
        raise CannotMove(f"{MANIFEST}: A size is below zero.")
    return manifest
