"""A request over a connection of its own, and its answer, byte for byte."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import BufferedReader

SECONDS = 60


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer: the lines of its head, without their ends, and its body."""

    head: tuple[str, ...]
    body: bytes

    @property
    def status(self) -> int:
        """0 without an answer."""
        words = self.head[0].split(" ") if self.head else []
        return int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0


def send(port: int, request: bytes, *, to_the_end: bool) -> Raw:
    """The answer, or a single line that tells why there is no answer.

    `to_the_end` reads until the server closes the connection, as `Connection: close` asks for.
    Thereby a body after the answer to a HEAD is noticed.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
            # A server may refuse before all of a body has arrived.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
            with connection.makefile("rb") as stream:
                return _read(stream, to_the_end=to_the_end)
    except (OSError, EOFError, ValueError) as error:
        return Raw((f"no answer: {type(error).__name__}",), b"")


def _read(stream: BufferedReader, *, to_the_end: bool) -> Raw:
    head: list[str] = []
    while not head or head[-1].startswith("HTTP/1.1 1"):
        # A head may follow an interim answer, 100 Continue.
        head += _lines(stream)
    if to_the_end:
        return Raw(tuple(head), stream.read())
    fields = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in head)}
    if fields.get("transfer-encoding", "").lower() == "chunked":
        return Raw(tuple(head), _chunks(stream))
    if "content-length" in fields:
        return Raw(tuple(head), _exactly(stream, int(fields["content-length"])))
    if fields.get("connection", "").lower() == "close":
        return Raw(tuple(head), stream.read())
    return Raw(tuple(head), b"")


def _lines(stream: BufferedReader) -> list[str]:
    lines: list[str] = []
    while line := stream.readline():
        if not line.strip():
            return lines
        lines.append(line.rstrip(b"\r\n").decode("latin-1"))
    raise EOFError


def _chunks(stream: BufferedReader) -> bytes:
    parts = []
    while size := int(stream.readline().partition(b";")[0], 16):
        parts.append(_exactly(stream, size))
        stream.readline()
    stream.readline()
    return b"".join(parts)


def _exactly(stream: BufferedReader, size: int) -> bytes:
    body = stream.read(size)
    if len(body) < size:
        raise EOFError
    return body
