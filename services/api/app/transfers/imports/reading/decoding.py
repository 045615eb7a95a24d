"""Undoes the compression of a file while it arrives: gzip and zstd, as its first bytes tell."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import zstandard

from app.core.errors import ContentTooLarge
from app.transfers.imports.errors import UnreadableFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterator

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_LONGEST_MAGIC = 4
_GZIP_WINDOW = 31
# Other requests have their turn after so many bytes.
_PART = 65_536
# Bytes that come out of gzip at a time.
_STEP = 262_144
# Bytes that go into zstd at a time. Four of them can stand for 128 KiB.
_PIECE = 512
# RFC 8878, section 3.1.1.1.2, recommends that decoders support this.
_ZSTD_WINDOW = 8 << 20


async def decoded(parts: AsyncIterable[bytes], most: int) -> AsyncIterator[bytes]:
    """The file's bytes, whether compressed or not, at most _PART at a time.

    Raises UnreadableFile (400) for a file that is cut or damaged, and ContentTooLarge (413) for
    more than `most` bytes.
    """
    total = 0
    async for part in _decompressed(parts):
        total += len(part)
        if total > most:
            raise ContentTooLarge(f"The file has more than the {most} bytes that this takes.")
        for at in range(0, len(part), _PART):
            yield part[at : at + _PART]


async def _decompressed(parts: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    first, stream = b"", None
    async for part in parts:
        given = part
        if stream is None:
            first += part
            if len(first) < _LONGEST_MAGIC:
                continue
            stream, given = _stream_of(first), first
        for piece in stream.feed(given):
            yield piece
    if stream is None:
        stream = _stream_of(first)
        for piece in stream.feed(first):
            yield piece
    if not stream.is_complete:
        raise UnreadableFile("The compressed file is cut; nothing was imported.")


class _Plain:
    is_complete = True

    @staticmethod
    def feed(part: bytes) -> Iterator[bytes]:
        if part:
            yield part


class _Compressed:
    """Streams of one coding, one after the other."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._stream: Any = None

    @property
    def is_complete(self) -> bool:
        return self._stream is None

    def feed(self, part: bytes) -> Iterator[bytes]:
        made = b""
        # A full step may have left something, although all input is used.
        while part or len(made) == _STEP:
            stream = self._stream = self._stream or self._open()
            rest = b""
            try:
                if self._coding == "gzip":
                    made = stream.decompress(part, _STEP)
                    part = stream.unconsumed_tail
                else:
                    rest = part[_PIECE:]
                    made = stream.decompress(part[:_PIECE])
                    part = rest
            except (zlib.error, zstandard.ZstdError) as error:
                raise UnreadableFile(f"The file is no whole {self._coding}: {error}.") from None
            if stream.eof:
                part = stream.unused_data + rest
                self._stream = None
            if made:
                yield made
            if self._stream is None and not part:
                return

    def _open(self) -> Any:
        if self._coding == "gzip":
            return zlib.decompressobj(wbits=_GZIP_WINDOW)
        return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()


def _stream_of(first: bytes) -> _Plain | _Compressed:
    if first.startswith(_GZIP):
        return _Compressed("gzip")
    return _Compressed("zstd") if first.startswith(_ZSTD) else _Plain()
