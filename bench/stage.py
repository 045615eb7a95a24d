"""The parts of all benchmarks: a PostgreSQL and a Redis of their own, servers, data, and wrk."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httpx
import psutil

from app.db import migrations
from app.dev.postgres import EmbeddedPostgres
from fixtures.cluster import execute, fetch
from fixtures.redis import PROGRAM, redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
ADMIN = {"email": "admin@example.com", "password": "correct horse battery"}
MEMBER = {"email": "member@example.com", "password": "correct horse battery"}
SECTIONS = ("games", "libs", "net", "doc", "admin")
# A collection with the same records as `bench`, and this cache.
CACHED = "bench_cached"
CACHE = {"list": "30s", "record": "30s"}
DEFINITION: dict[str, Any] = {
    "schema": {
        "type": "object",
        "required": ["title", "section", "size"],
        "properties": {
            "title": {"type": "string", "maxLength": 200},
            "section": {"type": "string"},
            "size": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "body": {"type": "string"},
        },
    },
    "rules": dict.fromkeys(
        ("list", "read", "create", "update", "delete"), "@user.id is not null"
    ),
    "indexes": [["section", "-size"], "-size"],
}  # fmt: skip

PRODUCT = "app.main:app"
_GUNICORN = ("gunicorn", "{0}", "--bind=127.0.0.1:{1}", "--workers=2", "--log-level=warning")
_UVICORN = (
    "uvicorn", "{0}", "--port={1}", "--workers=2", "--no-access-log", "--log-level=warning",
)  # fmt: skip


class Stage:
    """A PostgreSQL, a Redis, and the settings that all servers of a benchmark run with. The
    servers' code is in `tree`."""

    def __init__(self, postgres: str, redis: str, folder: Path, tree: Path = ROOT) -> None:
        self.database_url = postgres
        self.redis_url = redis
        self.folder = folder
        self.api = tree / "services" / "api"
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{self.api}{os.pathsep}{tree}",
            "DATABASE_URL": postgres,
            "REDIS_URL": redis,
            "JWT_SECRET": "0123456789abcdefghijklmnopqrstuv",
            "ADMIN_EMAIL": ADMIN["email"],
            "ADMIN_PASSWORD": ADMIN["password"],
            "JSON_LOGGING": "true",
            "RATE_LIMIT_USER": "900000000/minute",
            "RATE_LIMIT_LOGIN": "off",
            "ACCESS_TOKEN_TTL": "86400",
        }

    def postgres_process(self) -> psutil.Process:
        """PostgreSQL's postmaster, the parent of all its other processes."""
        path = fetch(self.database_url, "SHOW data_directory")[0][0]
        return psutil.Process(int((Path(path) / "postmaster.pid").read_text().split()[0]))

    @property
    def socket_folder(self) -> str:
        """The folder of PostgreSQL's socket."""
        return unquote(self.database_url.partition("?host=")[2])

    def database(self, name: str) -> str:
        """Create a database in the same PostgreSQL; returns its URL."""
        execute(self.database_url, f"CREATE DATABASE {name}")
        return self.database_url.replace("/listo?", f"/{name}?")

    def redis(self, number: int) -> str:
        """The URL of another database of the same Redis."""
        return f"{self.environment['REDIS_URL']}/{number}"

    @contextmanager
    def server(self, application: str, port: int) -> Iterator[psutil.Process]:
        """Two workers of `application`; its output goes to a file, as in production."""
        program = _GUNICORN if application == PRODUCT else _UVICORN
        command = [sys.executable, "-m", *(part.format(application, port) for part in program)]
        _require_free(port)
        log = self.folder / f"{application}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, cwd=self.api, env=self.environment, stdout=output, stderr=output
            )
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()

    def client(self, port: int, account: dict[str, str]) -> httpx.Client:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False)
        answer = client.post("/auth/login", json=account)
        answer.raise_for_status()
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return client

    def seed(self, port: int, records: int, *, strangers: bool = False) -> str:
        """Fill the collection `bench` up to `records` records; returns a member's token.

        With `strangers` anonymous callers may read it as well.
        """
        admin = self.client(port, ADMIN)
        rules = {**DEFINITION["rules"], **({"read": "", "list": ""} if strangers else {})}
        admin.put("/collections/bench", json={**DEFINITION, "rules": rules}).raise_for_status()
        admin.post("/users", json=MEMBER)
        existing = fetch(self.database_url, "SELECT count(*) FROM records.bench")[0][0]
        for start in range(existing, min(records, 10_000), 1000):
            operations = [{"op": "create", "data": record(start + n)} for n in range(1000)]
            admin.post(
                "/collections/bench/records:batch", json={"operations": operations}
            ).raise_for_status()
        there = fetch(self.database_url, "SELECT count(*) FROM records.bench")[0][0]
        if there < records:
            # Copies with other ids and sizes: loading a million over HTTP measures nothing here.
            execute(
                self.database_url,
                "SELECT setseed(0.5)",
                "INSERT INTO records.bench (id, data, owner) SELECT gen_random_uuid(),"
                " data || jsonb_build_object('size', (random() * 1000000)::int), owner"
                f" FROM records.bench, generate_series(1, {records // there + 1})"
                f" LIMIT {records - there}",
            )
        execute(self.database_url, "VACUUM ANALYZE records.bench")
        token = self.client(port, MEMBER).headers["Authorization"]
        return token.removeprefix("Bearer ")

    def seed_cached(self, port: int) -> None:
        """Make the collection `bench_cached`, with the records of `bench` and a cache."""
        definition = {**DEFINITION, "cache": CACHE}
        self.client(port, ADMIN).put(f"/collections/{CACHED}", json=definition).raise_for_status()
        execute(
            self.database_url,
            f"INSERT INTO records.{CACHED} (id, data, owner)"
            " SELECT id, data, owner FROM records.bench",
            f"VACUUM ANALYZE records.{CACHED}",
        )

    def ids(self, count: int = 2000) -> list[str]:
        rows = fetch(
            self.database_url, "SELECT id FROM records.bench ORDER BY random() LIMIT $1", count
        )
        return [str(row[0]) for row in rows]


@contextmanager
def stage(connections: int = 100) -> Iterator[Stage]:
    """The stage, with new stores that take `connections`.

    Raises SystemExit with one line where a program is missing.
    """
    if shutil.which("wrk") is None or PROGRAM is None:
        raise SystemExit("The benchmarks need wrk and redis-server (Debian packages of that name).")
    folder = Path(tempfile.mkdtemp(prefix="listo-bench-"))
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        options = {"shared_buffers": "1GB", "max_connections": str(connections)}
        postgres = EmbeddedPostgres(folder, options)
        postgres.start()
        stack.callback(postgres.stop)
        execute(postgres.url("postgres"), "CREATE DATABASE listo")
        migrations.upgrade(postgres.url())
        yield Stage(postgres.url(), stack.enter_context(redis_server()), folder)


def record(number: int) -> dict[str, Any]:
    """A record of about 1 kB."""
    return {
        "title": f"record {number}",
        "section": random.choice(SECTIONS),  # noqa: S311 - data, not secrets
        "size": random.randrange(1_000_000),  # noqa: S311
        "tags": ["a", "b"],
        "body": "lorem ipsum " * 70,
    }


def scripts(folder: Path, ids: list[str], *, hot: str = "bench") -> dict[str, Path]:
    """wrk's scripts by operation; those of one record or list over and over ask the collection
    `hot`."""
    folder.mkdir(exist_ok=True)
    base, cached = "/collections/bench/records", f"/collections/{hot}/records"
    known = "local ids = {" + ",".join(f'"{id_}"' for id_ in ids) + "}\n"
    pick = f"'{base}/' .. ids[math.random(#ids)]"
    json_type = "wrk.headers['Content-Type'] = 'application/json'\n"
    query = "filter=section%20%3D%20%22games%22&sort=-size&limit=50"
    body = json.dumps(record(0))
    texts = {
        "get": f"{known}request = function() return wrk.format('GET', {pick}) end",
        "get_hot": f"request = function() return wrk.format('GET', '{cached}/{ids[0]}') end",
        "list_hot": f"request = function() return wrk.format('GET', '{cached}?{query}') end",
        "list": f"request = function() return wrk.format('GET', '{base}?{query}') end",
        "create": f"{json_type}request = function() return "
        f"wrk.format('POST', '{base}', nil, '{body}') end",
        "update": f"{known}{json_type}request = function() return wrk.format('PATCH', {pick}, nil, "
        "'{\"size\":' .. math.random(1000000) .. '}') end",
    }
    paths = {}
    for name, text in texts.items():
        paths[name] = folder / f"{name}.lua"
        paths[name].write_text(text)
    return paths


def wrk(port: int, script: Path, connections: int, seconds: int, token: str) -> dict[str, float]:
    """The figures of `load`. Raises SystemExit on any error answer, and without any answer."""
    found = load(port, script, connections, seconds, token)
    if found["bad"]:
        raise SystemExit(f"{script.stem}: {found['bad']:.0f} of {found['count']:.0f} failed")
    if not found["count"]:
        raise SystemExit(f"{script.stem}: no answer within {seconds} s")
    return found


def load(port: int, script: Path, connections: int, seconds: int, token: str) -> dict[str, float]:
    """The number of requests, their number a second, the 50th and the 99th percentile in
    milliseconds, and the number without an answer or with one that is neither 2xx nor 3xx."""
    said = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s",
         "-s", script, "-H", f"Authorization: Bearer {token}", f"http://127.0.0.1:{port}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    count = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    middle = re.search(r"50%\s+([\d.]+)(us|ms|s)", said)
    tail = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    broken = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said
    )
    assert count is not None
    assert rate is not None
    assert middle is not None
    assert tail is not None
    return {
        "count": float(count[1]),
        "rate": float(rate[1]),
        "p50": _milliseconds(middle),
        "p99": _milliseconds(tail),
        "bad": float(bad[1] if bad else 0) + sum(map(int, broken.groups() if broken else ())),
    }


def _milliseconds(found: re.Match[str]) -> float:
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]


def worker_memory(process: psutil.Process) -> float:
    """Private memory of the largest worker, in MB."""
    children = process.children(recursive=True)
    return max((child.memory_full_info().uss for child in children), default=0) / 1e6


def _require_free(port: int) -> None:
    """Raises SystemExit if a server listens there already: that one would be measured."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier run may linger.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SystemExit(f"port {port} is not free: {error.strerror}") from None


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            httpx.get(url, trust_env=False)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"the server did not start: {log.read_text()[-2000:]}")
