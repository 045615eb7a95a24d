"""`make bench-overload`: many connections beside the floor, more than can be served, and what a
refusal costs."""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import time
from typing import TYPE_CHECKING

import psutil

from bench.arrivals import UNIQUE, arrive
from bench.stage import ADMIN, MEMBER, PRODUCT, load, record, scripts, stage

if TYPE_CHECKING:
    from pathlib import Path

    from bench.arrivals import Outcome
    from bench.stage import Stage

LISTO, FLOOR, FULL = 8441, 8442, 8443
OPERATIONS = ("get", "list", "create")
CONNECTIONS = (64, 256, 1000)
TIMES = 3
# Arrivals are by many members: one caller would wait for its own requests, without an overload.
MEMBERS = 40
RECORDS = "/collections/bench/records"
# The importance of the arrivals. Those of the first mixture cost the same, so that served requests
# can be counted; those of the second cost more or less, and show the order.
MIXTURES = ({"read": 0.5, "stranger": 0.5}, {"keyed write": 0.1, "read": 0.4, "stranger": 0.5})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--overload", type=int, default=30, help="seconds")
    parser.add_argument("--operations", nargs="*", default=OPERATIONS, choices=OPERATIONS)
    given = parser.parse_args()
    with stage() as bench:
        bench.environment["RATE_LIMIT_ANONYMOUS"] = "900000000/minute"
        with bench.server(PRODUCT, LISTO) as server:
            token = bench.seed(LISTO, given.records, strangers=True)
            ids = bench.ids()
            lua = scripts(bench.folder, ids)
            answer = _cost(server, LISTO, lua["get"], token)
            with bench.server("bench.floor:app", FLOOR):
                _many(lua, token, given)
            if given.overload:
                tokens = [token, *(_member(bench, number) for number in range(MEMBERS - 1))]
                _overload(bench.folder, ids[:200], tokens, given.overload)
        _refusals(bench, lua["get"], token, answer)


def _member(bench: Stage, number: int) -> str:
    """The token of another member."""
    member = {**MEMBER, "email": f"member{number}@example.com"}
    bench.client(LISTO, ADMIN).post("/users", json=member).raise_for_status()
    return str(bench.client(LISTO, member).headers["Authorization"]).removeprefix("Bearer ")


def _many(lua: dict[str, Path], token: str, given: argparse.Namespace) -> None:
    print(f"{given.rounds} rounds of {given.seconds} s in turn")
    print(
        "| operation | connections | Listo, req/s | of its best | floor | p99, ms | floor | "
        "times the floor's | not 2xx |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for operation in given.operations:
        best = 0.0
        for connections in CONNECTIONS:
            found: dict[int, list[dict[str, float]]] = {LISTO: [], FLOOR: []}
            for _ in range(given.rounds):
                for port, runs in found.items():
                    runs.append(load(port, lua[operation], connections, given.seconds, token))
            ours, floor = (
                {key: statistics.median(run[key] for run in runs) for key in ("rate", "p99")}
                for runs in found.values()
            )
            best = max(best, ours["rate"])
            print(
                f"| {operation} | {connections} | {ours['rate']:.0f} | {ours['rate'] / best:.2f} "
                f"| {floor['rate']:.0f} | {ours['p99']:.0f} | {floor['p99']:.0f} "
                f"| {ours['p99'] / floor['p99']:.2f} "
                f"| {sum(run['bad'] for run in found[LISTO]):.0f} |",
                flush=True,
            )


def _overload(folder: Path, ids: list[str], tokens: list[str], seconds: int) -> None:
    """Arrivals at TIMES the rate of 64 connections with the same requests, then at half of it."""
    for mixture in MIXTURES:
        script = folder / "mixed.lua"
        script.write_text(_script(mixture, ids))
        best = max(load(LISTO, script, 64, 4, tokens[0])["rate"] for _ in range(3))
        requests = [
            (kind, weight / len(ids), _request(kind, id_, tokens[number % len(tokens)], number))
            for kind, weight in mixture.items()
            for number, id_ in enumerate(ids)
        ]
        over, after = arrive(LISTO, requests, [(TIMES * best, seconds), (best / 2, 6)])
        print(f"\narrivals at {TIMES} x {best:.0f} a second for {seconds} s")
        print("| | arrived a second | succeeded | refused | failed |")
        print("|---|---|---|---|---|")
        for kind in mixture:
            numbers = (over.sent, over.succeeded, over.refused, over.failed)
            row = " | ".join(f"{each[kind] / seconds:.0f}" for each in numbers)
            print(f"| {kind} | {row} |")
        done = over.succeeded.total() / seconds
        print(
            f"succeeded: {done:.0f} a second, {done / best:.2f} of the best (goal 0.8); "
            f"{_tail(over)}; then at half of the best: {after.refused.total()} refused, the last "
            f"{after.last_refusal:.1f} s after the change (goal 3); {_tail(after)}",
            flush=True,
        )


def _tail(outcome: Outcome) -> str:
    seconds = sorted(outcome.seconds) or [0.0]
    return (
        f"2xx after {seconds[len(seconds) // 2]:.2f} s p50, "
        f"{seconds[int(len(seconds) * 0.99)]:.2f} s p99, {seconds[-1]:.2f} s at most (goal 2)"
    )


def _refusals(bench: Stage, script: Path, token: str, answer: float) -> None:
    """The server's effort for a refusal, where the only place of each process is taken."""
    bench.environment["MAX_CONCURRENT_REQUESTS"] = "1"
    with bench.server(PRODUCT, FULL) as server:
        # Bodies that never end; more than one for each process, however they are spread.
        held = [_unfinished(token) for _ in range(16)]
        # Wait until the requests that waited with them have been refused.
        time.sleep(3)
        refusal = _cost(server, FULL, script, token)
        for each in held:
            each.close()
    print(
        f"\nof CPU the server's processes take {answer:.0f} us for a get and {refusal:.0f} us for "
        f"a refusal: {refusal / answer:.3f} of it"
    )


def _unfinished(token: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", FULL))
    fields = f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    client.sendall(
        f"POST {RECORDS} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: 100\r\n\r\n".encode()
    )
    return client


def _cost(server: psutil.Process, port: int, script: Path, token: str) -> float:
    """Microseconds of the server's CPU for each request."""
    load(port, script, 32, 1, token)
    before = _cpu(server)
    done = load(port, script, 32, 4, token)
    return (_cpu(server) - before) / done["count"] * 1e6


def _cpu(server: psutil.Process) -> float:
    processes = [server, *server.children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _request(kind: str, id_: str, token: str, number: int) -> bytes:
    fields = "Host: 127.0.0.1\r\n"
    if kind != "stranger":
        fields += f"Authorization: Bearer {token}\r\n"
    if kind != "keyed write":
        return f"GET {RECORDS}/{id_} HTTP/1.1\r\n{fields}\r\n".encode()
    body = json.dumps(record(number))
    fields += (
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Idempotency-Key: {UNIQUE.decode()}\r\n"
    )
    return f"POST {RECORDS} HTTP/1.1\r\n{fields}\r\n{body}".encode()


def _script(mixture: dict[str, float], ids: list[str]) -> str:
    """A script of wrk for the same requests; a stranger's costs what a known caller's does."""
    body = json.dumps(record(0))
    return (
        "local ids = {" + ",".join(f'"{id_}"' for id_ in ids) + "}\n"
        "local keyed = {['Content-Type'] = 'application/json'}\n"
        "function request()\n"
        f"  if math.random() > {mixture.get('keyed write', 0)} then\n"
        f"    return wrk.format('GET', '{RECORDS}/' .. ids[math.random(#ids)])\n"
        "  end\n"
        "  for name, value in pairs(wrk.headers) do keyed[name] = value end\n"
        "  keyed['Idempotency-Key'] = 'mixed-' .. math.random(1000000000)\n"
        f"  return wrk.format('POST', '{RECORDS}', keyed, '{body}')\n"
        "end\n"
    )


if __name__ == "__main__":
    main()
