"""Reads dumps: folders and archives alike, every file with its size, count and digest checked."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from app.moving.archives import folder, tar
from app.moving.errors import CannotMove
from app.moving.manifest import MANIFEST, MAX_BYTES, parsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from app.moving.manifest import File, Manifest

# A record of 16 MiB, the largest that a setting allows, with PostgreSQL's spaces between values.
MAX_LINE = 32 << 20


class Reading:
    """One passage through a dump, file by file; its manifest is read already.

    Raises CannotMove wherever the dump is not as the manifest says; the message names the file.
    """

    def __init__(self, path: Path, files: Iterator[tuple[str, Iterator[bytes]]]) -> None:
        self._path, self._files = path, files
        first = next(files, None)
        if first is None or first[0] != MANIFEST:
            raise CannotMove(
                f"{path} does not begin with {MANIFEST}. An archive that was packed by hand: "
                "unpack it, and restore the folder."
            )
        self.manifest: Manifest = parsed(_bounded(first[1], MANIFEST))

    def files(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Each file in order, with its parts; a file is checked once all its parts were taken."""
        expected = self.manifest.files
        for wanted, file in expected.items():
            found = next(self._files, None)
            if found is None or found[0] != wanted:
                has = "ends" if found is None else f"goes on with {found[0]}"
                raise CannotMove(f"{self._path}: {wanted} is missing; the dump {has}.")
            parts = _checked(wanted, _read(wanted, found[1]), file)
            yield wanted, parts
            # Parts that the caller left out.
            for _ in parts:
                pass
        if (more := next(self._files, None)) is not None:
            raise CannotMove(f"{self._path}: {more[0]} is not in the manifest.")


@contextmanager
def reading(path: Path) -> Iterator[Reading]:
    """Begin a passage, which ends with the block. Raises CannotMove."""
    try:
        if path.is_dir():
            yield Reading(path, folder.files(path))
        else:
            with path.open("rb") as file:
                yield Reading(path, tar.files(file))
    except OSError as error:
        raise CannotMove(f"{error.filename or path}: {error.strerror or error}.") from None


def whole(name: str, parts: Iterable[bytes]) -> bytes:
    """The content of a small file. Raises CannotMove."""
    return _bounded(parts, name)


def lines(name: str, parts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The lines of a file, without their ends, some at a time. Raises CannotMove for a line that
    could hold no record, and for one without an end."""
    rest: list[bytes] = []
    waiting = 0
    for part in parts:
        before, end, after = part.rpartition(b"\n")
        if not end:
            rest.append(part)
            waiting += len(part)
            if waiting > MAX_LINE:
                raise CannotMove(f"{name}: A line is longer than {MAX_LINE:,} bytes.")
            continue
        found = b"".join([*rest, before]).split(b"\n")
        rest, waiting = [after], len(after)
        yield found
    if waiting:
        raise CannotMove(f"{name}: The last line has no end.")


def _bounded(parts: Iterable[bytes], name: str) -> bytes:
    content = bytearray()
    for part in parts:
        content += part
        if len(content) > MAX_BYTES:
            raise CannotMove(f"{name} is larger than {MAX_BYTES:,} bytes.")
    return bytes(content)


def _read(name: str, parts: Iterator[bytes]) -> Iterator[bytes]:
    """The parts; a fault of the file is told as such, whoever takes them."""
    try:
        yield from parts
    except OSError as error:
        raise CannotMove(f"{name}: {error.strerror or error}.") from None


def _checked(name: str, parts: Iterator[bytes], file: File) -> Iterator[bytes]:
    count, octets, digest = 0, 0, hashlib.sha256()
    for part in parts:
        octets += len(part)
        if octets > file.bytes:
            raise CannotMove(f"{name} is larger than the manifest says, {file.bytes:,} bytes.")
        count += part.count(b"\n")
        digest.update(part)
        yield part
    if octets != file.bytes:
        raise CannotMove(
            f"{name} has {octets:,} bytes, and by the manifest {file.bytes:,}: a part is missing."
        )
    if digest.hexdigest() != file.sha256:
        raise CannotMove(f"{name} has another SHA-256 than the manifest says: it was changed.")
    if count != file.lines:
        raise CannotMove(f"{name} has {count:,} lines, and by the manifest {file.lines:,}.")
