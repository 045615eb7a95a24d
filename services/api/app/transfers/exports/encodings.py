"""Compression of a body while it is sent, by Accept-Encoding (RFC 9110, section 12.5.3)."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Protocol

import zstandard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# The quickest levels: an export is as fast as its compression.
_GZIP_LEVEL = 1
_ZSTD_LEVEL = 1
_GZIP_WINDOW = 31
# Shorter parts are compressed at once, longer ones beside the event loop.
_LONG = 16_384


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def chosen(accepted: str | None) -> str | None:
    """The coding to use for this Accept-Encoding: zstd, gzip or None."""
    weights: dict[str, float] = {}
    for part in (accepted or "").lower().split(","):
        name, _, rest = part.partition(";")
        weights[name.strip()] = _weight(rest)
    known = [coding for coding in ("zstd", "gzip") if weights.get(coding, 0) > 0]
    return max(known, key=lambda coding: weights[coding], default=None)


def _weight(parameters: str) -> float:
    name, _, value = parameters.rpartition(";")[2].strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def compressing(
    coding: str | None, write: Callable[[bytes], Awaitable[None]]
) -> tuple[Callable[[bytes], Awaitable[None]], Callable[[], Awaitable[None]]]:
    """Writes through the coding, and a function that ends it."""
    if coding is None:
        return write, _nothing
    compressor: _Compressor = (
        zstandard.ZstdCompressor(_ZSTD_LEVEL).compressobj()
        if coding == "zstd"
        else zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW)
    )

    async def compress(part: bytes) -> None:
        if len(part) < _LONG:
            made = compressor.compress(part)
        else:
            made = await asyncio.to_thread(compressor.compress, part)
        if made:
            await write(made)

    async def end() -> None:
        await write(compressor.flush())

    return compress, end


async def _nothing() -> None:
    return None
