"""gunicorn's worker class: uvicorn's, but it accepts several connections in a turn of its loop,
and ends without dropping requests that are arriving."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, ClassVar

from gunicorn.arbiter import Arbiter
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

# How long clients may use idle connections after the last connection was accepted; each answer then
# says that it is the last on its connection.
LINGER_SECONDS = 1.0
# In a turn of its loop libuv accepts one connection per listening socket: new clients of a busy
# process would wait for seconds before they are even counted. So sockets are duplicated.
ACCEPTED_IN_A_TURN = 8


def listeners(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    """The sockets and their duplicates; listening ends once all of them are closed."""
    return [
        copy
        for each in sockets
        for copy in (each, *(each.dup() for _ in range(ACCEPTED_IN_A_TURN - 1)))
    ]


class LingeringServer(Server):
    """Waits before it closes idle connections. uvicorn's server closes all of these immediately,
    also connections on which a request is arriving, or that were accepted a moment ago."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        self.server_state.default_headers.append((b"connection", b"close"))
        for _ in range(20):
            if not self.server_state.connections or self.force_exit:
                break
            await asyncio.sleep(LINGER_SECONDS / 20)
        await super().shutdown(sockets)


class Worker(UvicornWorker):  # type: ignore[misc] # it has no types
    # By name, since workers import the code themselves.
    CONFIG_KWARGS: ClassVar = {**UvicornWorker.CONFIG_KWARGS, "http": "app.http.protocol:Protocol"}

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = LingeringServer(config=self.config)
        self._install_sigquit_handler()
        await server.serve(sockets=listeners(self.sockets))
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
