"""Parse Server: two Node.js processes of its own cluster, on PostgreSQL and Redis."""

from __future__ import annotations

import json
import os
import random
import string
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from bench.peers import environment
from bench.peers.calls import Call
from bench.peers.records import LIMIT, SECTION, Record, dump
from bench.peers.running import free_port, running
from bench.peers.server import MEMBERS, Server, fill
from bench.stage import MEMBER
from fixtures.cluster import execute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

_APP = {"X-Parse-Application-Id": "bench"}
_MASTER = {**_APP, "X-Parse-Master-Key": "bench-master"}
_ACTIONS = ("get", "find", "count", "create", "update", "delete")
# Connections of each process. A batch holds a connection while it waits for more: if simultaneous
# batches held all of them, each would wait for ever.
_POOL = 50
_CLASS = {
    "className": "Bench",
    "fields": {
        "title": {"type": "String", "required": True},
        "section": {"type": "String", "required": True},
        "size": {"type": "Number", "required": True},
        "tags": {"type": "Array"},
        "body": {"type": "String"},
    },
    "classLevelPermissions": {
        **{action: {"requiresAuthentication": True} for action in _ACTIONS},
        "addField": {},
    },
}


class Parse(Server):
    name = "parse"
    title = "Parse Server"
    settings = (
        f"`cluster: 2` and `directAccess`, PostgreSQL with pools of {_POOL}, its cache on "
        "Redis (`RedisCacheAdapter`), class-level permissions that ask for a user"
    )
    differs = (
        "a session is looked up in its cache on Redis, Listo's token is verified in the process",
        "a create is answered with the id and the time, an update with the time alone",
        "no rate limits, which are off by default; requests are not logged",
        "no event beside a write",
        "passwords are hashed with bcrypt, Listo's with argon2id",
    )
    lacks: ClassVar[Mapping[str, str]] = {"list_hot": "its cache keeps no lists"}
    base = "/parse/classes/Bench"
    query = f"where={quote(dump({'section': SECTION}))}&order=-size&limit={LIMIT}"
    items_in = "results"
    id_field = "objectId"
    update_method = "PUT"

    def install(self) -> None:
        self._node = environment.node()
        self._package = environment.packages("parse") / "parse-server"

    def version(self) -> str:
        return str(json.loads((self._package / "package.json").read_text())["version"])

    def start(self, stack: ExitStack) -> None:
        self.port = free_port()
        folder = self.stage.folder / self.name
        folder.mkdir()
        self._url = self.stage.database(self.name)
        (folder / "parse.json").write_text(json.dumps(self._configuration()))
        command = [str(self._node), str(self._package / "bin" / "parse-server"), "parse.json"]
        environ = {**os.environ, "NODE_ENV": "production"}
        self.processes = [
            stack.enter_context(
                running(
                    command, log=folder / "log", ready=f"http://127.0.0.1:{self.port}/parse/health",
                    cwd=folder, env=environ,
                )
            )
        ]  # fmt: skip
        Call(self.port, "POST", "/parse/schemas/Bench", _CLASS, _MASTER).answer()
        execute(
            self._url,
            'CREATE INDEX bench_section_size ON "Bench" (section, size DESC)',
            'CREATE INDEX bench_size ON "Bench" (size DESC)',
        )
        for account in MEMBERS:
            Call(self.port, "POST", "/parse/users", _named(account), _APP).answer()
        token = self.login().answer()["sessionToken"]
        self.headers = {**_APP, "X-Parse-Session-Token": token}

    def _configuration(self) -> dict[str, Any]:
        cache = self._package / "lib" / "Adapters" / "Cache" / "RedisCacheAdapter.js"
        return {
            "appId": _APP["X-Parse-Application-Id"],
            "masterKey": _MASTER["X-Parse-Master-Key"],
            # The option `host` below overrides the host in this URL, since a URL cannot name the
            # folder of a socket.
            "databaseURI": f"postgres://postgres@localhost/{self.name}",
            "databaseOptions": {"host": self.stage.socket_folder, "max": _POOL},
            "host": "127.0.0.1",
            "port": self.port,
            "mountPath": "/parse",
            "serverURL": f"http://127.0.0.1:{self.port}/parse",
            "cluster": 2,
            "directAccess": True,
            "allowClientClassCreation": False,
            "cacheAdapter": {"module": str(cache), "options": {"url": self.stage.redis(1)}},
            "logsFolder": None,
        }

    def load(self, records: Sequence[Record]) -> None:
        chance = random.Random(2)  # noqa: S311 - ids, not secrets
        letters = string.ascii_letters + string.digits
        self.ids = ["".join(chance.choices(letters, k=10)) for _ in records]
        fill(
            self._url, self.ids, records,
            'INSERT INTO "Bench" ("objectId", "createdAt", "updatedAt", title, section, size, tags,'
            " body) SELECT id, now(), now(), data->>'title', data->>'section',"
            " (data->>'size')::float8, data->'tags', data->>'body' FROM source",
        )  # fmt: skip
        execute(self._url, "VACUUM ANALYZE")

    def batch(self, records: Sequence[Record]) -> Call:
        requests = [{"method": "POST", "path": self.base, "body": record} for record in records]
        return self.call("POST", "/parse/batch", {"requests": requests, "transaction": True})

    def login(self, account: Mapping[str, str] = MEMBER) -> Call:
        return Call(self.port, "POST", "/parse/login", _named(account), _APP)

    def batch_ids(self, answer: Any) -> list[str]:
        return [result["success"]["objectId"] for result in answer]


def _named(account: Mapping[str, str]) -> dict[str, str]:
    return {"username": account["email"], "password": account["password"]}
