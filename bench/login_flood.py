"""`make bench-login-flood`: reads alone, and under a flood of log-ins, in turn in one run."""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.stage import scripts, stage, wrk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Event

    import psutil

PORT = 8401
# From one address, and from a new one each time: only the bound on hashes stops the second flood.
FLOODS = ("one address", "many addresses")
RATE_GOAL, TAIL_GOAL = 0.8, 2.0

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--logins", type=int, default=200, help="a second")
    given = parser.parse_args()
    with stage() as bench:
        bench.environment |= {"RATE_LIMIT_LOGIN": "10/minute", "TRUSTED_PROXIES": "127.0.0.1"}
        with bench.server("app.main:app", PORT) as server:
            token = bench.seed(PORT, given.records)
            script = scripts(bench.folder, bench.ids())["get"]

            def measured() -> dict[str, float]:
                return wrk(PORT, script, given.connections, given.seconds, token)

            measured()
            before = _memory(server)
            alone: dict[str, list[dict[str, float]]] = {flood: [] for flood in FLOODS}
            under: dict[str, list[dict[str, float]]] = {flood: [] for flood in FLOODS}
            answers: dict[str, Counter[str]] = {flood: Counter() for flood in FLOODS}
            for _ in range(given.rounds):
                for flood in FLOODS:
                    alone[flood].append(measured())
                    with _under_flood(flood, given.logins, answers[flood]):
                        under[flood].append(measured())
            print(
                f"gets by {given.connections} connections, {given.logins} log-ins a second, "
                f"{given.rounds} pairs of {given.seconds} s in turn"
            )
            print(
                "| flood from | alone, req/s | of that, median (min-max) | p99 alone, ms "
                "| times that, median (min-max) | log-ins answered |"
            )
            print("|---|---|---|---|---|---|")
            for flood in FLOODS:
                _row(flood, alone[flood], under[flood], answers[flood])
            print(f"memory of the server: {before:.0f} MB before, {_memory(server):.0f} MB after")


def _row(
    flood: str,
    alone: list[dict[str, float]],
    under: list[dict[str, float]],
    answers: Counter[str],
) -> None:
    ratios = {
        key: sorted(b[key] / a[key] for a, b in zip(alone, under, strict=True))
        for key in ("rate", "p99")
    }
    rate, tail = (
        f"{statistics.median(each):.2f} ({each[0]:.2f}-{each[-1]:.2f})" for each in ratios.values()
    )
    said = ", ".join(f"{count} {status}" for status, count in sorted(answers.items()))
    print(
        f"| {flood} | {statistics.median(each['rate'] for each in alone):.0f} "
        f"| {rate}, goal {RATE_GOAL} | {statistics.median(each['p99'] for each in alone):.1f} "
        f"| {tail}, goal {TAIL_GOAL} | {said} |"
    )


def _memory(server: psutil.Process) -> float:
    """The memory of all of the server's processes, in MB."""
    processes = [server, *server.children(recursive=True)]
    return sum(process.memory_info().rss for process in processes) / 1e6


@contextmanager
def _under_flood(flood: str, rate: int, answers: Counter[str]) -> Iterator[None]:
    """Send log-ins from a process of its own, which ends when the last of them is answered."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_send_logins, args=(flood, rate, stop, send))
    process.start()
    # The process sends this when it begins.
    receive.recv()
    try:
        yield
    finally:
        stop.set()
        answers.update(receive.recv())
        process.join()


def _send_logins(flood: str, rate: int, stop: Event, send: Connection) -> None:
    send.send(None)
    send.send(asyncio.run(_logins(flood, rate, stop)))


async def _logins(flood: str, rate: int, stop: Event) -> Counter[str]:
    """Send `rate` log-ins a second, however slow the answers; returns the answers by status."""
    loop = asyncio.get_running_loop()
    idle: list[_Connection] = []
    answers: Counter[str] = Counter()
    tasks: set[asyncio.Task[None]] = set()
    began, number = loop.time(), 0
    while not stop.is_set():
        while number < (loop.time() - began) * rate:
            task = asyncio.create_task(_login(_request(flood, number), idle, answers))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    for _, writer in idle:
        writer.close()
    return answers


def _request(flood: str, number: int) -> bytes:
    address = "198.51.100.7"
    if flood != FLOODS[0]:
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    body = json.dumps({"email": f"nobody{number}@example.com", "password": "a wrong guess"})
    return (
        f"POST /auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: {address}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def _login(request: bytes, idle: list[_Connection], answers: Counter[str]) -> None:
    reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    await reader.readexactly(int(head.partition("content-length: ")[2].split("\r\n")[0]))
    answers[head.split()[1]] += 1
    idle.append((reader, writer))


if __name__ == "__main__":
    main()
