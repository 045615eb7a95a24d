"""Takes connections from a socket that several workers listen on, so that each gets its share.

Without this, the worker that wakes first takes what there is: a worker could have all of 16
connections, while the other was idle.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import mmap
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

logger = logging.getLogger("listo.serving")

# In a turn of its loop libuv accepts one connection per listening socket: new clients of a busy
# process would wait for seconds before they are even counted.
ACCEPTED_IN_A_TURN = 8
# A worker that has more connections than another leaves new connections to others for this long,
# up to so many times: another worker may be busy for longer, or gone.
YIELD_SECONDS = 0.002
MOST_YIELDS = 10
# A worker is ahead if it has at least this many connections more than the other worker, and beside
# that an eighth of the other worker's connections.
_LEAD, _LEAD_DIVISOR = 2, 8
# Errors that last: too many open files, or no memory. Others are of a single connection.
_LASTING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_ERROR_SECONDS = 1.0
# More than may wait on a socket, see `net.core.somaxconn`.
_MOST_WAITING = 8192


class Counts:
    """How many connections each worker has, in memory that workers share from before their fork."""

    # A worker that has not reported for this long does not count: it is gone or very busy.
    FRESH_SECONDS = 0.5
    _ENTRY = struct.Struct("dQ")
    _ENTRIES = 64

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._ENTRY.size * self._ENTRIES)

    def report(self, worker: int, connections: int) -> None:
        """Call this several times within FRESH_SECONDS. Workers whose numbers differ by a multiple
        of 64 share an entry."""
        self._write(worker, time.monotonic(), connections)

    def withdraw(self, worker: int) -> None:
        """The worker takes no more connections."""
        self._write(worker, 0.0, 0)

    def least_of_others(self, worker: int) -> int | None:
        """The number of connections of the other worker that has the fewest."""
        oldest = time.monotonic() - self.FRESH_SECONDS
        own = worker % self._ENTRIES
        entries = enumerate(self._ENTRY.iter_unpack(self._memory))
        counts = [count for n, (since, count) in entries if since > oldest and n != own]
        return min(counts, default=None)

    def _write(self, worker: int, since: float, connections: int) -> None:
        at = worker % self._ENTRIES * self._ENTRY.size
        self._ENTRY.pack_into(self._memory, at, since, connections)


class Acceptor:
    """Accepts connections while this worker has no more than others; has the methods of
    `asyncio.Server` that uvicorn calls at the end."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        is_ahead: Callable[[], bool],
    ) -> None:
        self._listener = listener
        self._protocol = protocol
        self._tls = tls
        self._is_ahead = is_ahead
        self._loop = asyncio.get_running_loop()
        self._yields = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        # Connections without a protocol yet.
        self.arriving: set[asyncio.Task[None]] = set()
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Take the connections that wait already, and refuse all others."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._listener.fileno())
        if self._timer is not None:
            self._timer.cancel()
        for _ in range(_MOST_WAITING):
            if not self._accept_one():
                break
        self._listener.close()

    def give_up_arriving(self) -> None:
        """Close the connections whose TLS handshake is not done."""
        for task in self.arriving:
            task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self.arriving, return_exceptions=True)

    def _listen(self) -> None:
        self._timer = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._timer = self._loop.call_later(seconds, self._listen)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_IN_A_TURN):
            if not self._is_ahead():
                if not self._accept_one():
                    break
            elif self._yields < MOST_YIELDS:
                self._yields += 1
                self._pause(YIELD_SECONDS)
                return
            else:
                # No other worker had the time for this connection.
                self._accept_one()
                break
        self._yields = 0

    def _accept_one(self) -> bool:
        """Whether there may be another connection to accept."""
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _LASTING:
                return True
            logger.error("no connection can be accepted: %s", error)
            if not self._closed:
                self._pause(_ERROR_SECONDS)
            return False
        task = self._loop.create_task(self._connect(connection))
        self.arriving.add(task)
        task.add_done_callback(self.arriving.discard)
        return True

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection, ssl=self._tls)
        except (OSError, asyncio.CancelledError):
            # The client has gone, or there was no TLS handshake.
            connection.close()


def is_ahead(own: int, least_of_others: int | None) -> bool:
    """Whether a worker with `own` connections leaves new connections to others."""
    if least_of_others is None:
        return False
    return own >= least_of_others + _LEAD + least_of_others // _LEAD_DIVISOR
