"""Requests that arrive whether or not those before were answered, from a process of their own."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import random
import signal
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from multiprocessing.connection import Connection

# More than timely answers ever need at once: requests beyond these are lost anyway.
MOST_CONNECTIONS = 15_000
PAUSE = 0.002
# Seconds after a phase in which its requests are still answered.
PATIENCE = 10
# Stands for a value that is another one in each request.
UNIQUE = b"0000-unique-0000"


@dataclass
class Outcome:
    """The outcomes of the requests of each kind, and their times."""

    sent: Counter[str] = field(default_factory=Counter)
    succeeded: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    # Seconds until each success, and the second of the phase in which the last refusal came.
    seconds: list[float] = field(default_factory=list)
    last_refusal: float = 0.0

    @property
    def settled(self) -> bool:
        """Whether all requests that were sent have an outcome."""
        ends = (self.succeeded, self.refused, self.failed)
        return self.sent.total() == sum(end.total() for end in ends)


def arrive(
    port: int, requests: Sequence[tuple[str, float, bytes]], phases: Sequence[tuple[float, float]]
) -> list[Outcome]:
    """Send requests (kind, weight, bytes) in phases (requests a second, seconds); returns the
    outcome of each phase."""
    return list(arriving(port, requests, phases))


def arriving(
    port: int, requests: Sequence[tuple[str, float, bytes]], phases: Sequence[tuple[float, float]]
) -> Generator[Outcome]:
    """The outcome of each phase, as soon as its requests are answered; the next ones go on
    meanwhile. After PATIENCE an outcome lacks the requests that are not answered yet."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(port, requests, phases, send))
    process.start()
    send.close()
    try:
        for _ in phases:
            yield receive.recv()
    except EOFError:
        raise SystemExit("the process that sends requests has ended") from None
    finally:
        process.terminate()
        process.join()


def _run(
    port: int,
    requests: Sequence[tuple[str, float, bytes]],
    phases: Sequence[tuple[float, float]],
    send: Connection,
) -> None:
    # Ctrl-C is for the process that started this one, and that then ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The receiver takes its time, and requests have to be sent meanwhile.
    with ThreadPoolExecutor(1) as sender:
        uvloop.run(
            _Arrivals(port, requests).run(
                phases, lambda outcome: sender.submit(send.send_bytes, pickle.dumps(outcome))
            )
        )


class _Arrivals:
    def __init__(self, port: int, requests: Sequence[tuple[str, float, bytes]]) -> None:
        self.port = port
        self.requests = requests
        self.loop: asyncio.AbstractEventLoop
        self.began = 0.0
        # Used in turn: the connections that were used last are those of the slowest worker.
        self.idle: deque[_Client] = deque()
        self.open = 0
        self.tasks: set[asyncio.Task[object]] = set()
        # Outcomes that are not told yet, and until when they wait for answers.
        self.untold: deque[tuple[Outcome, float]] = deque()

    async def run(
        self, phases: Sequence[tuple[float, float]], tell: Callable[[Outcome], object]
    ) -> None:
        self.loop = asyncio.get_running_loop()
        weights = list(accumulate(weight for _, weight, _ in self.requests))
        for rate, seconds in phases:
            outcome = Outcome()
            self.began, number = self.loop.time(), 0
            while (passed := self.loop.time() - self.began) < seconds:
                due = int(passed * rate) - number
                for kind, _, request in random.choices(  # noqa: S311
                    self.requests, cum_weights=weights, k=due
                ):
                    self._send(outcome, kind, request)
                number += due
                self._tell(tell)
                await asyncio.sleep(PAUSE)
            self.untold.append((outcome, self.loop.time() + PATIENCE))
        while self.untold:
            self._tell(tell)
            await asyncio.sleep(PAUSE)

    def _tell(self, tell: Callable[[Outcome], object]) -> None:
        while self.untold:
            outcome, until = self.untold[0]
            if not outcome.settled and self.loop.time() < until:
                return
            tell(outcome)
            self.untold.popleft()

    def _send(self, outcome: Outcome, kind: str, request: bytes) -> None:
        outcome.sent[kind] += 1
        if UNIQUE in request:
            request = request.replace(UNIQUE, b"%016x" % random.getrandbits(64))
        if self.idle:
            self.idle.popleft().ask(outcome, kind, request)
        elif self.open < MOST_CONNECTIONS:
            self.open += 1
            task = self.loop.create_task(self._open(outcome, kind, request))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            outcome.failed[kind] += 1

    async def _open(self, outcome: Outcome, kind: str, request: bytes) -> None:
        began = self.loop.time()
        client = _Client(self)
        try:
            await self.loop.create_connection(lambda: client, "127.0.0.1", self.port)
        except OSError:
            self.open -= 1
            outcome.failed[kind] += 1
        else:
            client.ask(outcome, kind, request, began)


class _Client(asyncio.Protocol):
    def __init__(self, arrivals: _Arrivals) -> None:
        self.arrivals = arrivals
        self.outcome: Outcome | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def ask(self, outcome: Outcome, kind: str, request: bytes, began: float = 0.0) -> None:
        self.outcome, self.kind = outcome, kind
        self.began = began or self.arrivals.loop.time()
        self.answer = b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        answer = self.answer = self.answer + data
        end = answer.find(b"\r\n\r\n")
        if end < 0 or self.outcome is None:
            return
        at = answer.find(b"content-length: ")
        if len(answer) < end + 4 + int(answer[at + 16 : answer.find(b"\r", at)]):
            return
        now, outcome = self.arrivals.loop.time(), self.outcome
        status = answer[9:12]
        if status[:1] == b"2":
            outcome.succeeded[self.kind] += 1
            outcome.seconds.append(now - self.began)
        elif status == b"503":
            outcome.refused[self.kind] += 1
            outcome.last_refusal = now - self.arrivals.began
        else:
            outcome.failed[self.kind] += 1
        self.outcome = None
        self.arrivals.idle.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.arrivals.open -= 1
        if self.outcome is not None:
            self.outcome.failed[self.kind] += 1
        elif self in self.arrivals.idle:
            self.arrivals.idle.remove(self)
