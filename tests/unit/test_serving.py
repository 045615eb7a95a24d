"""How a process takes connections."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import uvloop

from app.serving import listeners

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS = 64


def test_a_busy_process_takes_many_connections_in_a_turn() -> None:
    """libuv takes one connection of a socket in a turn, so a process listens several times."""

    async def turns(listening: list[socket.socket]) -> int:
        accepted: list[asyncio.BaseTransport] = []

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                accepted.append(transport)

        loop = asyncio.get_running_loop()
        servers = [
            await loop.create_server(Accepted, sock=each, backlog=CLIENTS) for each in listening
        ]
        number = 0
        while len(accepted) < CLIENTS:
            await asyncio.sleep(0)
            number += 1
            assert number < 100 * CLIENTS
        for server in servers:
            server.close()
        for transport in accepted:
            transport.close()
        return number

    def turns_of(listening: Callable[[socket.socket], list[socket.socket]]) -> int:
        with ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=CLIENTS))
            for _ in range(CLIENTS):
                stack.enter_context(socket.create_connection(listener.getsockname()))
            return uvloop.run(turns(listening(listener)))

    assert turns_of(lambda one: [one.dup()]) >= CLIENTS
    assert turns_of(lambda one: listeners([one])) <= CLIENTS / 4
