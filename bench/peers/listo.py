"""Listo with everything on, and the floor, which reads and writes Listo's table."""

from __future__ import annotations

import subprocess
import time
from contextlib import closing
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

from app.core.ids import uuid7
from bench.peers.calls import Call
from bench.peers.records import LIMIT, SECTION, Record
from bench.peers.running import Failed, free_port
from bench.peers.server import MEMBERS, Server, fill
from bench.stage import ADMIN, CACHE, CACHED, DEFINITION, MEMBER, PRODUCT, ROOT
from fixtures.cluster import execute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

    import httpx

_INDEX_SECONDS = 60
# Every request is counted, and none reaches them: log-ins count among the anonymous ones as well.
_LIMITS = dict.fromkeys(
    ("RATE_LIMIT_ANONYMOUS", "RATE_LIMIT_USER", "RATE_LIMIT_LOGIN"), "900000000/minute"
)


class Listo(Server):
    name = "listo"
    title = "Listo"
    settings = (
        "two workers under gunicorn; access tokens, a rule, a schema, limits on Redis, metrics, "
        "the access line and an event for each write on"
    )
    differs = (
        "log-ins that it has no time to hash are refused with 503 at once, and count as errors",
        "a batch is answered with ids and versions",
    )
    base = "/collections/bench/records"
    query = f"filter=section%20%3D%20%22{SECTION}%22&sort=-size&limit={LIMIT}"

    def version(self) -> str:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        ).stdout.strip()  # fmt: skip
        return described or "of this folder"

    def start(self, stack: ExitStack) -> None:
        self.stage.environment |= _LIMITS
        self.port = free_port()
        self.processes = [stack.enter_context(self.stage.server(PRODUCT, self.port))]
        with closing(self.stage.client(self.port, ADMIN)) as admin:
            for name, policy in (("bench", {}), (CACHED, {"cache": CACHE})):
                path = f"/collections/{name}"
                admin.put(path, json={**DEFINITION, **policy}).raise_for_status()
                _wait_for_indexes(admin, path)
            for account in MEMBERS:
                admin.post("/users", json=account).raise_for_status()
        with closing(self.stage.client(self.port, MEMBER)) as member:
            self.headers = {"Authorization": member.headers["Authorization"]}

    def load(self, records: Sequence[Record]) -> None:
        self.ids = [str(uuid7()) for _ in records]
        member = "(SELECT id FROM listo.users WHERE email = '" + MEMBER["email"] + "')"
        fill(
            self.stage.database_url, self.ids, records,
            *(
                f"INSERT INTO records.{name} (id, data, owner)"
                f" SELECT id::uuid, data, {member} FROM source"
                for name in ("bench", CACHED)
            ),
        )  # fmt: skip
        execute(self.stage.database_url, "VACUUM ANALYZE")

    def get_hot(self, id_: str) -> Call:
        return self.call("GET", f"/collections/{CACHED}/records/{id_}")

    def listing_hot(self) -> Call:
        return self.call("GET", f"/collections/{CACHED}/records?{self.query}")

    def batch(self, records: Sequence[Record]) -> Call:
        operations = [{"op": "create", "data": record} for record in records]
        return self.call("POST", f"{self.base}:batch", {"operations": operations})

    def login(self, account: Mapping[str, str] = MEMBER) -> Call:
        return Call(self.port, "POST", "/auth/login", dict(account))

    def batch_ids(self, answer: Any) -> list[str]:
        return [result["id"] for result in answer["results"]]


class Floor(Server):
    name = "floor"
    title = "floor"
    settings = "two uvicorn workers; asyncpg and the SQL that Listo runs"
    differs = ("no accounts, rules, schema, limits, metrics and access line",)
    lacks: ClassVar[Mapping[str, str]] = {
        "list_hot": "it has no cache",
        "login": "it has no accounts",
        "batch": "it has no batches",
    }
    checks_callers = False
    checks_records = False
    base = Listo.base
    query = Listo.query

    def __init__(self, listo: Listo) -> None:
        super().__init__(listo.stage)
        self._listo = listo

    def version(self) -> str:
        return f"FastAPI {version('fastapi')}"

    def start(self, stack: ExitStack) -> None:
        self.port = free_port()
        self.processes = [stack.enter_context(self.stage.server("bench.floor:app", self.port))]

    def load(self, records: Sequence[Record]) -> None:
        del records
        self.ids = self._listo.ids

    def delete(self, id_: str) -> Call:
        return self._listo.delete(id_)


def _wait_for_indexes(admin: httpx.Client, path: str) -> None:
    deadline = time.monotonic() + _INDEX_SECONDS
    while any(index["state"] != "ready" for index in admin.get(path).json()["indexes"]):
        if time.monotonic() > deadline:
            raise Failed(f"its indexes were not ready within {_INDEX_SECONDS} s")
        time.sleep(0.05)
