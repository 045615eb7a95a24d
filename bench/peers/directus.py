"""Directus: two Node.js processes under PM2, on PostgreSQL and Redis; and two more with its cache
of answers on, for the items that are about repetition."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

from bench.peers import environment
from bench.peers.calls import Call
from bench.peers.records import LIMIT, SECTION, Record
from bench.peers.running import free_port, run, running
from bench.peers.server import MEMBERS, Server, fill
from bench.stage import ADMIN, MEMBER
from fixtures.cluster import execute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

    import psutil

_HOT = ("get_hot", "list_hot")
_TEXT = {"type": "string", "meta": {"required": True}}
_COLLECTION = {
    "collection": "bench",
    # Each change is noted with its user, as Listo's events do, without the former content.
    "meta": {"accountability": "activity"},
    "schema": {},
    "fields": [
        {
            "field": "id",
            "type": "uuid",
            "meta": {"special": ["uuid"]},
            "schema": {"is_primary_key": True, "length": 36, "has_auto_increment": False},
        },
        {"field": "title", **_TEXT, "schema": {"max_length": 200, "is_nullable": False}},
        {"field": "section", **_TEXT, "schema": {"is_nullable": False}},
        {"field": "size", "type": "integer", "schema": {"is_nullable": False}},
        {"field": "tags", "type": "json", "meta": {"special": ["cast-json"]}},
        {"field": "body", "type": "text"},
    ],
}


class Directus(Server):
    name = "directus"
    title = "Directus"
    settings = (
        "two processes under its PM2, PostgreSQL, Redis, `accountability: activity`; `get_hot` and "
        "`list_hot` by two more processes with `CACHE_ENABLED` on Redis"
    )
    differs = (
        "a record has no version and no times, for which it would need fields",
        "types are checked by PostgreSQL, there is no schema beside them",
        "no rate limits, which are off by default; under pressure it answers 503, an error",
        "isolated-vm is 6.1 in place of 5.0, which has no binary; nothing measured runs in it",
    )
    record_in = "data"
    items_in = "data"
    base = "/items/bench"
    query = f"filter%5Bsection%5D%5B_eq%5D={SECTION}&sort=-size&limit={LIMIT}"

    def install(self) -> None:
        self._node = environment.node()
        self._modules = environment.packages("directus")
        self._cli = self._modules / "@directus" / "api" / "dist" / "cli" / "run.js"

    def version(self) -> str:
        package = self._modules / "directus" / "package.json"
        return str(json.loads(package.read_text())["version"])

    def start(self, stack: ExitStack) -> None:
        self._url = self.stage.database(self.name)
        self._folder = self.stage.folder / self.name
        for part in ("uploads", "extensions"):
            (self._folder / part).mkdir(parents=True)
        self.port = free_port()
        environ = self._environment(self.port)
        command = [str(self._node), str(self._cli), "bootstrap"]
        run(command, cwd=self._folder, env=environ, what="directus bootstrap")
        self.processes = [self._run(stack, "plain", self.port, {})]
        self._set_up()
        # These start last: they find the collection and its rules as they are to stay.
        self._cached = free_port()
        cache = {
            "CACHE_ENABLED": "true",
            "CACHE_STORE": "redis",
            "CACHE_AUTO_PURGE": "true",
            "CACHE_TTL": "10m",
        }
        self._hot = [self._run(stack, "cached", self._cached, cache)]

    def _environment(self, port: int) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{self._node.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "NODE_ENV": "production",
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "SECRET": "0123456789abcdefghijklmnopqrstuv",
            "ADMIN_EMAIL": ADMIN["email"],
            "ADMIN_PASSWORD": ADMIN["password"],
            "DB_CLIENT": "pg",
            "DB_HOST": self.stage.socket_folder,
            "DB_PORT": "5432",
            "DB_DATABASE": self.name,
            "DB_USER": "postgres",
            "DB_PASSWORD": "",
            "REDIS": self.stage.redis(2),
            "ACCESS_TOKEN_TTL": "1d",
            "TELEMETRY": "false",
            "CACHE_ENABLED": "false",
            "STORAGE_LOCAL_ROOT": str(self._folder / "uploads"),
            "EXTENSIONS_PATH": str(self._folder / "extensions"),
        }

    def _run(self, stack: ExitStack, kind: str, port: int, extra: dict[str, str]) -> psutil.Process:
        application = {
            "name": "directus",
            "script": str(self._cli),
            "args": ["start"],
            "instances": 2,
            "exec_mode": "cluster",
            "autorestart": False,
        }
        configuration = self._folder / f"{kind}.config.json"
        configuration.write_text(json.dumps({"apps": [application]}))
        command = [
            str(self._node), str(self._modules / "pm2" / "bin" / "pm2-runtime"), "start",
            str(configuration),
        ]  # fmt: skip
        environ = {
            **self._environment(port), **extra,
            "PM2_HOME": str(self._folder / kind), "PM2_DISABLE_VERSION_CHECK": "true",
        }  # fmt: skip
        ready = f"http://127.0.0.1:{port}/server/ping"
        log = self._folder / f"{kind}.log"
        return stack.enter_context(
            running(command, log=log, ready=ready, cwd=self._folder, env=environ)
        )

    def _set_up(self) -> None:
        admin = Call(self.port, "POST", "/auth/login", dict(ADMIN)).answer()["data"]
        self._authorize(admin)
        self.call("POST", "/collections", _COLLECTION).answer()
        execute(
            self._url,
            "CREATE INDEX bench_section_size ON bench (section, size DESC)",
            "CREATE INDEX bench_size ON bench (size DESC)",
        )
        policy = {"name": "member", "app_access": False, "admin_access": False}
        policy_id = self.id_of(self.call("POST", "/policies", policy).answer())
        role = {"name": "member", "policies": [{"policy": policy_id}]}
        role_id = self.id_of(self.call("POST", "/roles", role).answer())
        rule = {"policy": policy_id, "collection": "bench", "fields": ["*"], "permissions": {}}
        actions = ("create", "read", "update", "delete")
        rules = [{**rule, "action": action} for action in actions]
        self.call("POST", "/permissions", rules).answer()
        accounts = [{**account, "role": role_id} for account in MEMBERS]
        self.call("POST", "/users", accounts).answer()
        self._authorize(self.login().answer()["data"])

    def _authorize(self, answer: dict[str, Any]) -> None:
        self.headers = {"Authorization": f"Bearer {answer['access_token']}"}

    def load(self, records: Sequence[Record]) -> None:
        self.ids = [str(uuid4()) for _ in records]
        fill(
            self._url, self.ids, records,
            "INSERT INTO bench (id, title, section, size, tags, body)"
            " SELECT id::uuid, data->>'title', data->>'section', (data->>'size')::int,"
            " data->'tags', data->>'body' FROM source",
        )  # fmt: skip
        execute(self._url, "VACUUM ANALYZE")

    def get_hot(self, id_: str) -> Call:
        return Call(self._cached, "GET", f"{self.base}/{id_}", None, dict(self.headers))

    def listing_hot(self) -> Call:
        path = f"{self.base}?{self.query}"
        return Call(self._cached, "GET", path, None, dict(self.headers))

    def batch(self, records: Sequence[Record]) -> Call:
        return self.call("POST", f"{self.base}?fields=id", list(records))

    def login(self, account: Mapping[str, str] = MEMBER) -> Call:
        return Call(self.port, "POST", "/auth/login", dict(account))

    def batch_ids(self, answer: Any) -> list[str]:
        return [item["id"] for item in answer["data"]]

    def processes_of(self, item: str) -> list[psutil.Process]:
        return self._hot if item in self.hot_items else self.processes

    hot_items: ClassVar[tuple[str, ...]] = _HOT
