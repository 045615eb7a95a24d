"""Writes dumps: beside the target and under its name at the end, so that no half of one is left."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from app.moving.archives.folder import FolderWriter, creating
from app.moving.archives.tar import TarWriter
from app.moving.errors import CannotMove
from app.moving.manifest import File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

SUFFIX = ".tar.zst"


class Writer(Protocol):
    """Takes the files of a dump, one after the other."""

    def begin(self, room: int) -> None:
        """The manifest, which is given last, will have up to `room` bytes."""
        ...

    def adding(self, name: str) -> AbstractContextManager[Callable[[bytes], object]]:
        """The block writes the file, part by part."""
        ...

    def finish(self, manifest: bytes) -> None: ...


class Dump:
    """A dump that is being written, with the sizes, counts and digests of its files so far.

    All raise CannotMove where the target takes no more.
    """

    def __init__(self, writer: Writer, target: Path) -> None:
        self._writer, self._target = writer, target
        self.files: dict[str, File] = {}

    def begin(self, room: int) -> None:
        with _explained(self._target):
            self._writer.begin(room)

    @contextmanager
    def adding(self, name: str) -> Iterator[Callable[[bytes], int]]:
        """The block writes the file by the function that it gets, which returns the lines so
        far."""
        lines, octets, digest = 0, 0, hashlib.sha256()
        with _explained(self._target), self._writer.adding(name) as write:

            def put(part: bytes) -> int:
                nonlocal lines, octets
                # Here, so that whoever calls this cannot take it for a fault of its own.
                with _explained(self._target):
                    write(part)
                digest.update(part)
                lines += part.count(b"\n")
                octets += len(part)
                return lines

            yield put
        self.files[name] = File(lines, octets, digest.hexdigest())

    def finish(self, manifest: bytes) -> None:
        with _explained(self._target):
            self._writer.finish(manifest)


@contextmanager
def writing(target: Path) -> Iterator[Dump]:
    """The block writes a dump, a single file if the target's name ends so. If the block raises,
    nothing is left. Raises CannotMove."""
    with _explained(target):
        _refuse_existing(target)
        with _beside(target) as unfinished:
            made = unfinished / "dump"
            if target.name.endswith(SUFFIX):
                with creating(made) as stream:
                    yield Dump(TarWriter(stream), target)
            else:
                made.mkdir(0o700)
                yield Dump(FolderWriter(made), target)
            _refuse_existing(target)
            made.rename(target)
            _sync(target.absolute().parent)


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotMove(f"{target}: {error.strerror or error}.") from None


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise CannotMove(f"{target} is there already.")


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A folder of our own on the target's file system."""
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.absolute().parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
