"""gunicorn's worker class: uvicorn's, but its connections are as many as those of other workers,
and it ends without dropping requests that are arriving."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from gunicorn.arbiter import Arbiter
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

from app.serving.accepting import Acceptor, Counts, is_ahead

if TYPE_CHECKING:
    import socket

    from uvicorn.config import Config

# How long clients may use idle connections after the last connection was accepted; each answer then
# says that it is the last on its connection.
LINGER_SECONDS = 1.0


class WorkerServer(Server):
    """Accepts connections in turn with other workers, and waits before it closes idle connections.
    uvicorn's server closes all of these immediately, also connections on which a request is
    arriving, or that were accepted a moment ago."""

    servers: list[Any]

    def __init__(self, config: Config, counts: Counts, worker: int) -> None:
        super().__init__(config)
        self._counts = counts
        self._worker = worker

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        protocol_class: Any = self.config.http_protocol_class
        protocol = partial(
            protocol_class,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        self.servers = [
            Acceptor(each, protocol, self.config.ssl, self._is_ahead) for each in sockets or ()
        ]

    async def on_tick(self, counter: int) -> bool:
        self._counts.report(self._worker, self._connections())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        self._counts.withdraw(self._worker)
        self.server_state.default_headers.append((b"connection", b"close"))
        for _ in range(20):
            if not self._connections() or self.force_exit:
                break
            await asyncio.sleep(LINGER_SECONDS / 20)
        for server in self.servers:
            server.give_up_arriving()
        await super().shutdown(sockets)

    def _connections(self) -> int:
        arriving = sum(len(server.arriving) for server in self.servers)
        return len(self.server_state.connections) + arriving

    def _is_ahead(self) -> bool:
        own = self._connections()
        self._counts.report(self._worker, own)
        return is_ahead(own, self._counts.least_of_others(self._worker))


class Worker(UvicornWorker):  # type: ignore[misc] # it has no types
    # By name, since workers import the code themselves.
    CONFIG_KWARGS: ClassVar = {**UvicornWorker.CONFIG_KWARGS, "http": "app.http.protocol:Protocol"}
    # Made by gunicorn's master, from which all workers fork.
    COUNTS: ClassVar = Counts()

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = WorkerServer(self.config, self.COUNTS, self.age)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
