"""Dumps as folders, which only their owner may enter."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from app.moving.errors import CannotMove
from app.moving.manifest import MANIFEST, MAX_BYTES, NAMES, parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_PART = 262_144


@contextmanager
def creating(path: Path) -> Iterator[BinaryIO]:
    """A new file that only its owner may read; on the disk when the block ends."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, no path
        yield file
        file.flush()
        os.fsync(descriptor)


class FolderWriter:
    """Writes into an empty folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, room: int) -> None:  # noqa: ARG002
        for name in ("collections", "records"):
            (self._folder / name).mkdir(0o700)

    @contextmanager
    def adding(self, name: str) -> Iterator[Callable[[bytes], object]]:
        with creating(self._folder / name) as file:
            yield file.write

    def finish(self, manifest: bytes) -> None:
        with self.adding(MANIFEST) as write:
            write(manifest)


def files(folder: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The manifest and then the files that it names, each with its parts. Raises CannotMove and
    OSError."""
    path = folder / MANIFEST
    if not path.is_file():
        raise CannotMove(f"{folder} holds no {MANIFEST}, so it is no dump.")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    yield MANIFEST, iter([content])
    for name in parsed(content).files:
        # Nothing else in the folder is looked at, whatever the manifest says.
        assert NAMES.fullmatch(name)
        if not (folder / name).is_file():
            raise CannotMove(f"{folder / name} is missing.")
        with (folder / name).open("rb") as file:
            yield name, _parts(file)


def _parts(file: BinaryIO) -> Iterator[bytes]:
    while part := file.read(_PART):
        yield part
