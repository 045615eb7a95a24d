"""The worker class of gunicorn: uvicorn's, which also goes without dropping what is on its way."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from gunicorn.arbiter import Arbiter
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

if TYPE_CHECKING:
    import socket

# For so long after the last connection was accepted, idle ones may still be used; each answer says
# that it is the last on its connection.
LINGER_SECONDS = 1.0


class LingeringServer(Server):
    """uvicorn closes idle connections at once when it is to end, also those on which a request is
    just arriving, and those that were accepted a moment ago and have not been read."""

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
    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = LingeringServer(config=self.config)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
