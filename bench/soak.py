"""`make bench-soak MINUTES=60`: a mixed load at 70 % of capacity, and whether anything grows.

The capacity is looked for first, with the same requests. They arrive at a constant rate, whether or
not those before were answered: 80 % get, 10 % list, 5 % create, 5 % update, by 40 API keys. At the
end memory and p99 must not have risen, dead rows and the size of a row must be bounded, and all
requests must have succeeded; each bound that was not kept is a line, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from app.dev.postgres import PostgresError
from bench.arrivals import arrive, arriving
from bench.callers import add_callers, keys
from bench.command import INTERRUPTED, interruptible, line, progress
from bench.endurance import COLUMNS, FEWEST, panels, sample, violations
from bench.foreign import Meter
from bench.pages import table, write
from bench.stage import PRODUCT, record, stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psutil

    from bench.endurance import Sample
    from bench.stage import Stage

PORT = 8471
RECORDS = "/collections/bench/records"
LIST = f"{RECORDS}?filter=section%20%3D%20%22games%22&sort=-size&limit=50"
MIXTURE = {"get": 0.8, "list": 0.1, "create": 0.05, "update": 0.05}
SHARE = 0.7
CALLERS = 40
# Different requests of each kind.
REQUESTS = 2000
COMPLETE_MINUTES = 60
MOST_MINUTES = 1440
# The search for the capacity: rates in steps, until requests fail or wait for too long.
FIRST_RATE, STEP, MOST_RATE = 50.0, 1.15, 20_000.0
TIMELY_MS = 500.0
RECOVERY_SECONDS = 3
_Requests = list[tuple[str, float, bytes]]


def main() -> int:
    """The exit status: 0 if all bounds were kept, 1 if not."""
    given = _arguments()
    interruptible()
    try:
        samples = _soak(given)
    except PostgresError as error:
        sys.stderr.write(f"bench-soak: {error}\n")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    found = violations(samples)
    for text in found:
        line(text)
    if not found:
        line("no violation: memory, p99 and bloat stayed within their bounds, without errors.")
    if given.write:
        verdict = "; ".join(found) or "all bounds were kept"
        shown = samples[:: max(1, len(samples) // 12)]
        text = (
            f"{given.minutes:g} minutes at {SHARE * 100:.0f} % of the capacity, "
            f"{given.records:,} records at the beginning; {verdict}.\n\n"
            + table(COLUMNS, [each.cells() for each in shown])
        )
        write("soak", text, panels(samples))
    return 1 if found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-soak", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=COMPLETE_MINUTES)
    parser.add_argument("--every", type=int, default=60, help="seconds between samples")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--step", type=int, default=5, help="seconds of each rate in the search")
    parser.add_argument(
        "--write", action="store_true", help="write a complete run to docs/performance.md"
    )
    given = parser.parse_args()
    if min(given.every, given.records, given.step) < 1:
        parser.error("every, records and step are at least 1")
    if not FEWEST * given.every <= given.minutes * 60 <= MOST_MINUTES * 60:
        parser.error(f"a run has at least {FEWEST} samples, and {MOST_MINUTES} minutes at most")
    if given.write and given.minutes < COMPLETE_MINUTES:
        parser.error(f"only a run of {COMPLETE_MINUTES} minutes or more is written")
    return given


def _soak(given: argparse.Namespace) -> list[Sample]:
    with stage() as bench:
        # A worker that is replaced after so many requests would hide what it leaks.
        bench.environment |= {
            "RATE_LIMIT_API_KEY": "900000000/minute",
            "GUNICORN_MAX_REQUESTS": "0",
        }
        with bench.server(PRODUCT, PORT) as server, _duties(bench):
            progress(f"loading {given.records} records")
            bench.seed(PORT, given.records)
            add_callers(bench, CALLERS)
            requests = _requests(bench.ids(REQUESTS))
            best = _capacity(requests, given.step)
            rate = SHARE * best
            line(
                f"capacity {best:.0f} requests a second, {SHARE * 100:.0f} % of it for "
                f"{given.minutes:g} minutes, a sample every {given.every} s\n"
            )
            return _sampled(bench, server, requests, rate, given)


def _sampled(
    bench: Stage,
    server: psutil.Process,
    requests: _Requests,
    rate: float,
    given: argparse.Namespace,
) -> list[Sample]:
    line(table(COLUMNS, []))
    parts = round(given.minutes * 60 / given.every)
    meter = Meter(bench)
    samples = []
    with closing(arriving(PORT, requests, [(rate, given.every)] * parts)) as outcomes:
        for number, outcome in enumerate(outcomes, 1):
            span = number * given.every / 60, float(given.every)
            samples.append(sample(bench, server, outcome, span, meter.read()))
            line(f"| {' | '.join(samples[-1].cells())} |")
    return samples


def _capacity(requests: _Requests, seconds: int) -> float:
    """The highest rate in steps at which all requests succeed and 99 of 100 within TIMELY_MS."""
    best, rate = 0.0, FIRST_RATE
    while rate < MOST_RATE:
        progress(f"capacity: {rate:.0f} requests a second")
        # A rate gets two tries: other work on the machine may spoil one.
        if not any(_timely(requests, rate, seconds) for _ in range(2)):
            break
        best, rate = rate, rate * STEP
    time.sleep(RECOVERY_SECONDS)
    if not best:
        raise SystemExit(f"not even {FIRST_RATE:.0f} requests a second succeed in time")
    return best


def _timely(requests: _Requests, rate: float, seconds: int) -> bool:
    (outcome,) = arrive(PORT, requests, [(rate, seconds)])
    times = sorted(outcome.seconds)
    if not times or outcome.succeeded.total() < outcome.sent.total():
        time.sleep(RECOVERY_SECONDS)
        return False
    return times[int(len(times) * 0.99)] * 1000 <= TIMELY_MS


@contextmanager
def _duties(bench: Stage) -> Iterator[None]:
    """The service that tidies up, beside the server as in production."""
    with (bench.folder / "worker.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "worker"],
            cwd=bench.api, env=bench.environment, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield
        if process.poll() is not None:
            raise SystemExit("the worker ended by itself during the run")
    finally:
        process.terminate()
        process.wait()


def _requests(ids: Sequence[str]) -> _Requests:
    """Requests of all kinds with their weights, by the callers in turn."""
    callers = keys(CALLERS)
    made = []
    for kind, weight in MIXTURE.items():
        for number in range(REQUESTS):
            request = _request(kind, ids[number % len(ids)], callers[number % CALLERS], number)
            made.append((kind, weight / REQUESTS, request))
    return made


def _request(kind: str, id_: str, key: str, number: int) -> bytes:
    method, path, body = {
        "get": ("GET", f"{RECORDS}/{id_}", ""),
        "list": ("GET", LIST, ""),
        "create": ("POST", RECORDS, json.dumps(record(number))),
        # A field of an index, so that its entries die as well.
        "update": ("PATCH", f"{RECORDS}/{id_}", f'{{"size":{random.randrange(1_000_000)}}}'),  # noqa: S311
    }[kind]
    fields = f"Host: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
    if body:
        fields += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{method} {path} HTTP/1.1\r\n{fields}\r\n{body}".encode()


if __name__ == "__main__":
    sys.exit(main())
