"""Dumps as one file, a tar archive in zstandard frames.

The manifest comes first, so that a reader knows what to expect, and is known last. So its place,
and the header of each file, is a frame that does not compress: its bytes are put in afterwards.
"""

from __future__ import annotations

import tarfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import zstandard

from app.moving.errors import CannotMove
from app.moving.manifest import MANIFEST, NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_LEVEL = 3
_PART = 262_144
# RFC 8878: a frame of a single segment with four bytes of size, whose only block is a raw one.
_MAGIC = b"\x28\xb5\x2f\xfd"
_SINGLE_SEGMENT = b"\xa0"
_RAW_AND_LAST = 1
_HEAD = len(_MAGIC) + len(_SINGLE_SEGMENT) + 4 + 3
_RAW_BYTES = 65_536
# The memory of a reader: zstd's levels up to 19 need no more.
_WINDOW = 8 << 20


class TarWriter:
    """Writes into an empty file that can be sought in."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._compressor = zstandard.ZstdCompressor(_LEVEL, write_checksum=True)
        self._made = int(time.time())
        self._manifest_at = self._room = 0

    def begin(self, room: int) -> None:
        self._room = room
        self._raw(self._header(MANIFEST, room))
        self._manifest_at = self._file.tell()
        self._raw(b" " * (room + _padding(room)))

    @contextmanager
    def adding(self, name: str) -> Iterator[Callable[[bytes], object]]:
        header_at, size = self._file.tell(), 0
        self._raw(self._header(name, 0))
        compressor = self._compressor.compressobj()

        def write(part: bytes) -> None:
            nonlocal size
            size += len(part)
            self._file.write(compressor.compress(part))

        yield write
        self._file.write(compressor.compress(bytes(_padding(size))))
        self._file.write(compressor.flush())
        self._replace(header_at, self._header(name, size))

    def finish(self, manifest: bytes) -> None:
        assert len(manifest) <= self._room
        self._raw(_END)
        padded = manifest.ljust(self._room) + bytes(_padding(self._room))
        self._replace(self._manifest_at, padded)

    def _header(self, name: str, size: int) -> bytes:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, self._made
        # This format has sizes beyond 8 GiB in a single block.
        header = info.tobuf(tarfile.GNU_FORMAT)
        assert len(header) == _BLOCK
        return header

    def _raw(self, content: bytes) -> None:
        for start in range(0, len(content), _RAW_BYTES):
            part = content[start : start + _RAW_BYTES]
            block = _RAW_AND_LAST | len(part) << 3
            head = _MAGIC + _SINGLE_SEGMENT + len(part).to_bytes(4, "little")
            self._file.write(head + block.to_bytes(3, "little") + part)

    def _replace(self, at: int, content: bytes) -> None:
        """Put other bytes into frames that `_raw` wrote there."""
        end = self._file.tell()
        self._file.seek(at)
        self._raw(content)
        self._file.seek(end)


def files(file: BinaryIO) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Each file of an archive with its parts, which have to be read before the next file is. Raises
    CannotMove and OSError."""
    stream = _Stream(file)
    while (header := stream.exactly(_BLOCK)) != bytes(_BLOCK):
        name, size = _entry(header)
        if name is None:
            continue
        yield name, stream.parts(size)
        if stream.exactly(_padding(size)).strip(b"\0"):
            raise CannotMove(f"{name} is followed by bytes that belong to no file.")
    if stream.exactly(_BLOCK).strip(b"\0"):
        raise CannotMove("The archive has no right end.")


def _entry(header: bytes) -> tuple[str | None, int]:
    """The name and size of a file; no name for a folder."""
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise CannotMove(f"The archive is damaged: {error}.") from None
    if info.isdir() and not info.size:
        return None, 0
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or not NAMES.fullmatch(info.name):
        shown = ascii(info.name[:100])
        raise CannotMove(f"The archive holds {shown}, which is no file of a dump.")
    return info.name, info.size


def _padding(size: int) -> int:
    return -size % _BLOCK


class _Stream:
    """The bytes of all frames. Raises CannotMove where they end, or are damaged."""

    def __init__(self, file: BinaryIO) -> None:
        self._reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(
            file, read_across_frames=True
        )

    def exactly(self, size: int) -> bytes:
        return b"".join(self.parts(size))

    def parts(self, size: int) -> Iterator[bytes]:
        while size:
            try:
                part = self._reader.read(min(size, _PART))
            except zstandard.ZstdError as error:
                raise CannotMove(f"The archive is damaged: {error}.") from None
            if not part:
                raise CannotMove("The archive ends too early: a part of it is missing.")
            size -= len(part)
            yield part
