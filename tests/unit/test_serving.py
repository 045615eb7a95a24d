"""How a worker takes connections."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import pytest
import uvloop

from app.serving.accepting import MOST_YIELDS, Acceptor, Counts, is_ahead

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS = 64


def take_all(ahead: Callable[[], bool]) -> tuple[int, int]:
    """Have an acceptor take CLIENTS connections that wait already; returns in how many turns of the
    loop, and how often it asked whether it is ahead."""
    asked = 0

    def is_ahead() -> bool:
        nonlocal asked
        asked += 1
        return ahead()

    async def work(listener: socket.socket) -> int:
        accepted: list[asyncio.BaseTransport] = []

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                accepted.append(transport)

        acceptor = Acceptor(listener, Accepted, None, is_ahead)
        number = 0
        while len(accepted) < CLIENTS:
            await asyncio.sleep(0)
            number += 1
        acceptor.close()
        await acceptor.wait_closed()
        for transport in accepted:
            transport.close()
        return number

    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=CLIENTS))
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        return uvloop.run(work(listener)), asked


def test_a_busy_process_takes_many_connections_in_a_turn() -> None:
    turns, _ = take_all(lambda: False)
    assert turns <= CLIENTS / 4


def test_a_worker_takes_what_no_other_takes() -> None:
    _, asked = take_all(lambda: True)
    assert asked >= MOST_YIELDS


@pytest.mark.parametrize(("error", "asked_again"), [(errno.EPROTO, True), (errno.EMFILE, False)])
def test_only_errors_that_last_stop_a_worker_from_accepting(
    error: int,
    asked_again: bool,  # noqa: FBT001
) -> None:
    class Listener:
        calls = 0

        def accept(self) -> tuple[socket.socket, object]:
            self.calls += 1
            raise OSError(error, "no connection") if self.calls == 1 else BlockingIOError

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    async def work() -> None:
        listener = Listener()
        acceptor = Acceptor(cast("socket.socket", listener), asyncio.Protocol, None, lambda: False)
        with socket.create_connection(real.getsockname()):
            while not listener.calls:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0)
            assert (listener.calls == 2) == asked_again
            acceptor.close()

    with socket.create_server(("127.0.0.1", 0)) as real:
        asyncio.run(work())


@pytest.mark.parametrize(
    ("own", "others", "ahead"),
    [
        (5, None, False), (0, 0, False), (1, 0, False), (2, 0, True), (7, 8, False),
        (10, 8, False), (11, 8, True), (500, 500, False), (560, 500, False), (565, 500, True),
    ],
)  # fmt: skip
def test_a_small_difference_holds_nobody_up(own: int, others: int | None, ahead: bool) -> None:  # noqa: FBT001
    assert is_ahead(own, others) == ahead


def test_a_worker_counts_while_it_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts()
    assert counts.least_of_others(1) is None
    counts.report(1, 3)
    assert counts.least_of_others(1) is None
    counts.report(2, 7)
    counts.report(3, 5)
    assert counts.least_of_others(1) == 5
    assert counts.least_of_others(3) == 3
    counts.withdraw(1)
    assert counts.least_of_others(3) == 7
    monkeypatch.setattr(Counts, "FRESH_SECONDS", 0.0)
    assert counts.least_of_others(1) is None
