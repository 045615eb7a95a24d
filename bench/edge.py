"""`make bench-edge`: compares requests through TLS and nginx with direct ones, in turn."""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import statistics
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.stage import DEFINITION, record
from fixtures.stack import again, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixtures.stack import Stack

COLLECTION = "bench_edge"
GOALS = {"get": 0.55, "list": 0.85}
# nginx answers this path by itself.
OWN_PATH = "/metrics"
# With `published` the client is on this host, so that Docker's proxy copies every byte as well;
# clients elsewhere do not pass it.
WAYS = ("direct", "nginx", "published")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=64)
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("The benchmark needs wrk (a Debian package of that name).")
    try:
        stack = running()
    except AssertionError as error:
        raise SystemExit(f"It measures the running stack, and {error}.") from None
    with stack.keys(1) as (key,):
        _refuse_limits(stack, key)
        with _filled(stack, given.records) as ids, tempfile.TemporaryDirectory() as folder:
            targets = _targets(stack)
            scripts = _scripts(Path(folder), ids, key)
            print(
                f"{len(targets['direct'])} replicas, {given.records} records, "
                f"{given.connections} connections, "
                f"{given.rounds} rounds of {given.seconds} s in turn"
            )
            print("| operation | way | req/s, median | of direct, median (min-max) |")
            print("|---|---|---|---|")
            for operation, script in scripts.items():
                rates: dict[str, list[float]] = {way: [] for way in WAYS}
                for way in WAYS:
                    _measure(targets[way], script, given.connections, 1)
                for _ in range(given.rounds):
                    for way in WAYS:
                        rate = _measure(targets[way], script, given.connections, given.seconds)
                        rates[way].append(rate)
                _rows(operation, rates)
            own = _script_of_nginx(Path(folder))
            alone = [
                _measure(targets["nginx"], own, given.connections, given.seconds, refused=True)
                for _ in range(given.rounds)
            ]
            print(
                f"nginx alone, a 404 of its own: {statistics.median(alone):.0f} req/s "
                f"({min(alone):.0f}-{max(alone):.0f})"
            )


def _refuse_limits(stack: Stack, key: str) -> None:
    with stack.client(headers={"Authorization": f"Bearer {key}"}) as client:
        policy = client.get("/collections").headers.get("RateLimit-Policy")
    if policy:
        raise SystemExit(
            f"API keys are limited ({policy}): run `make up RATE_LIMIT_API_KEY=off` first."
        )


def _targets(stack: Stack) -> dict[str, list[str]]:
    """The URLs of each way; this host reaches the containers at their own addresses."""
    replicas = stack.addresses("api")
    (nginx,) = stack.addresses("nginx")
    return {
        "direct": [f"http://{address}:8000" for address in replicas],
        "nginx": [f"https://{nginx}:8443"],
        "published": [stack.url.replace("localhost", "127.0.0.1")],
    }


@contextmanager
def _filled(stack: Stack, records: int) -> Iterator[list[str]]:
    """A collection of the benchmark's own; yields some of its ids."""
    ids: list[str] = []
    with stack.admin() as admin:
        admin.put(f"/collections/{COLLECTION}", json=DEFINITION).raise_for_status()
        try:
            for start in range(0, records, 500):
                operations = [
                    {"op": "create", "data": record(number)}
                    for number in range(start, min(start + 500, records))
                ]
                answer = admin.post(
                    f"/collections/{COLLECTION}/records:batch", json={"operations": operations}
                )
                answer.raise_for_status()
                ids += re.findall(r'"id":\s*"([^"]+)"', answer.text)[:100]
            yield ids
        finally:
            where = f"/collections/{COLLECTION}"
            again(lambda: admin.delete(where, params={"confirm": COLLECTION})).raise_for_status()


def _scripts(folder: Path, ids: Sequence[str], key: str) -> dict[str, Path]:
    """wrk's scripts by operation."""
    base = f"/collections/{COLLECTION}/records"
    query = "filter=section%20%3D%20%22games%22&sort=-size&limit=50"
    known = ",".join(f'"{each}"' for each in ids)
    head = f"wrk.headers['Authorization'] = 'Bearer {key}'\n"
    texts = {
        "get": f"local ids = {{{known}}}\n{head}request = function() "
        f"return wrk.format('GET', '{base}/' .. ids[math.random(#ids)]) end",
        "list": f"{head}request = function() return wrk.format('GET', '{base}?{query}') end",
    }
    paths = {name: folder / f"{name}.lua" for name in texts}
    for name, path in paths.items():
        path.write_text(texts[name])
    return paths


def _script_of_nginx(folder: Path) -> Path:
    path = folder / "nginx.lua"
    path.write_text(f"request = function() return wrk.format('GET', '{OWN_PATH}') end")
    return path


def _measure(
    targets: Sequence[str], script: Path, connections: int, seconds: int, *, refused: bool = False
) -> float:
    """Requests a second of all targets together, which share the connections."""
    return asyncio.run(_at_once(targets, script, connections, seconds, refused=refused))


async def _at_once(
    targets: Sequence[str], script: Path, connections: int, seconds: int, *, refused: bool
) -> float:
    share, rest = divmod(connections, len(targets))
    rates = await asyncio.gather(*(
        _wrk(target, script, share + (number < rest), seconds, refused=refused)
        for number, target in enumerate(targets)
    ))  # fmt: skip
    return sum(rates)


async def _wrk(
    target: str, script: Path, connections: int, seconds: int, *, refused: bool
) -> float:
    process = await asyncio.create_subprocess_exec(
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), target,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said = (await process.communicate())[0].decode()
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if rate is None or ("Non-2xx" in said) != refused or "Socket errors" in said:
        raise SystemExit(f"{script.stem} at {target}: {said}")
    return float(rate[1])


def _rows(operation: str, rates: dict[str, list[float]]) -> None:
    for way, measured in rates.items():
        ratios = sorted(a / b for a, b in zip(measured, rates["direct"], strict=True))
        goal = f", goal {GOALS[operation]}" if way == "nginx" else ""
        print(
            f"| {operation} | {way} | {statistics.median(measured):.0f} "
            f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}){goal} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
