"""Lua scripts on the path of every request.

redis-py opens the connection, with encryption and authentication, and hands the connection over: a
call by redis-py takes a process several times as long as all the rest of the call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from hashlib import sha1
from typing import TYPE_CHECKING, Any

from hiredis import Reader, pack_command
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from app.redis.circuit_breaker import ANSWER_SECONDS

if TYPE_CHECKING:
    from asyncio import StreamWriter
    from collections.abc import Sequence

    from redis.asyncio import Redis

# A cancelled call that waited this long was cancelled by its time limit: the connection is dead.
_STALLED_SECONDS = 0.9 * ANSWER_SECONDS


class Script:
    """A Lua script, and the digest by which Redis knows the script."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = sha1(text.encode(), usedforsecurity=False).hexdigest()


class ScriptClient:
    """Runs scripts on a single connection, which opens with the first call and again after a loss.

    Callers set the time limit, see `CircuitBreaker`.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._opening = asyncio.Lock()
        self._connection: _Connection | None = None

    async def run(
        self, script: Script, keys: Sequence[str], args: Sequence[str | bytes | int | float]
    ) -> Any:
        """The script's result, with text as bytes. Raises RedisError or OSError."""
        command = _packed("EVALSHA", script.digest, len(keys), *keys, *args)
        began = asyncio.get_running_loop().time()
        try:
            return await self._call(command, began)
        except NoScriptError:
            await self._call(_packed("SCRIPT", "LOAD", script.text), began)
            return await self._call(command, began)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.abort()

    async def _call(self, command: bytes, began: float) -> Any:
        connection = self._connection
        if connection is None or connection.lost:
            connection = await self._open()
        try:
            return await connection.call(command)
        except NoScriptError:
            raise
        except ResponseError:
            # A server that answers errors, as a former primary does, may not be the one that the
            # next connection gets.
            connection.abort()
            raise
        except asyncio.CancelledError:
            if asyncio.get_running_loop().time() - began > _STALLED_SECONDS:
                connection.abort()
            raise

    async def _open(self) -> _Connection:
        async with self._opening:
            if self._connection is None or self._connection.lost:
                opened: Any = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
                await opened.connect()
                # redis-py has no public way to hand a connection over.
                reader, writer = opened._reader, opened._writer  # noqa: SLF001
                opened._writer = opened._reader = None  # noqa: SLF001
                self._connection = _Connection(writer)
                if reader.at_eof():
                    # The new protocol does not hear of an end that came before.
                    self._connection.abort()
            return self._connection


class _Connection(asyncio.Protocol):
    def __init__(self, writer: StreamWriter) -> None:
        # The transport alone would not keep the writer, which closes the transport at its end.
        self._writer = writer
        self._reader = Reader(replyError=_error)
        # In the order in which Redis answers.
        self._unanswered: deque[asyncio.Future[Any]] = deque()
        self.lost = False
        writer.transport.set_protocol(self)

    async def call(self, command: bytes) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._unanswered.append(answer)
        self._writer.transport.write(command)
        result = await answer
        if isinstance(result, Exception):
            raise result
        return result

    def abort(self) -> None:
        self._writer.transport.abort()
        self.connection_lost(None)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (result := self._reader.gets()) is not False:
            answer = self._unanswered.popleft()
            if not answer.done():
                answer.set_result(result)

    def connection_lost(self, _: Exception | None) -> None:
        self.lost = True
        while self._unanswered:
            answer = self._unanswered.popleft()
            if not answer.done():
                answer.set_exception(RedisConnectionError("Redis closed the connection."))


def _packed(*words: str | bytes | float) -> bytes:
    # Takes a tuple of any length, and its type says one of length 1.
    packed: bytes = pack_command(words)  # type: ignore[arg-type]
    return packed


def _error(text: str) -> Exception:
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)
