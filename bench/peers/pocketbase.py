"""PocketBase: one Go process on SQLite."""

from __future__ import annotations

import os
import random
import sqlite3
import string
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from bench.peers import environment
from bench.peers.calls import Call
from bench.peers.records import LIMIT, SECTION, Record, dump
from bench.peers.running import free_port, run, running
from bench.peers.server import MEMBERS, Server
from bench.stage import ADMIN, MEMBER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

_RULE = '@request.auth.id != ""'
_COLLECTION = {
    "name": "bench",
    "type": "base",
    "fields": [
        {"name": "title", "type": "text", "required": True, "max": 200},
        {"name": "section", "type": "text", "required": True},
        {"name": "size", "type": "number", "onlyInt": True},
        {"name": "tags", "type": "json"},
        {"name": "body", "type": "text"},
        {"name": "created", "type": "autodate", "onCreate": True},
        {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True},
    ],
    "indexes": [
        "CREATE INDEX bench_section_size ON bench (section, size DESC)",
        "CREATE INDEX bench_size ON bench (size DESC)",
    ],
    **{f"{what}Rule": _RULE for what in ("list", "view", "create", "update", "delete")},
}
_SETTINGS = {"batch": {"enabled": True, "maxRequests": 50, "timeout": 30}}


class PocketBase(Server):
    name = "pocketbase"
    title = "PocketBase"
    settings = (
        "one process with GOMAXPROCS=2; its log of requests on, batches allowed, lists without a "
        "count (`skipTotal=1`)"
    )
    differs = (
        "SQLite in the process, whose commits wait for no disk (WAL, `synchronous=NORMAL`)",
        "no rate limits, which are off by default",
        "no event beside a write",
        "a string for the number is kept as 0, not refused",
        "passwords are hashed with bcrypt, Listo's with argon2id",
    )
    lacks: ClassVar[Mapping[str, str]] = {"list_hot": "it has no cache of lists"}
    checks_records = False
    base = "/api/collections/bench/records"
    query = f"filter=section%3D%22{SECTION}%22&sort=-size&perPage={LIMIT}&skipTotal=1"

    def install(self) -> None:
        self._program = environment.python("pocketbase") / "pocketbase"

    def version(self) -> str:
        said = run([str(self._program), "--version"], cwd=self.stage.folder, env=os.environ,
                   what="pocketbase --version")  # fmt: skip
        return said.split()[-1]

    def start(self, stack: ExitStack) -> None:
        self.port = free_port()
        folder = self.stage.folder / self.name
        folder.mkdir()
        self._data = folder / "data"
        program = [str(self._program), f"--dir={self._data}", "--automigrate=false"]
        superuser = ["superuser", "create", ADMIN["email"], ADMIN["password"]]
        run([*program, *superuser], cwd=folder, env=os.environ, what="pocketbase superuser")
        command = [*program, "serve", f"--http=127.0.0.1:{self.port}"]
        self.processes = [
            stack.enter_context(
                running(
                    command, log=folder / "log", ready=f"http://127.0.0.1:{self.port}/api/health",
                    cwd=folder, env={**os.environ, "GOMAXPROCS": "2"},
                )
            )
        ]  # fmt: skip
        self._set_up()

    def _set_up(self) -> None:
        token = self._login("_superusers", ADMIN).answer()["token"]
        self.headers = {"Authorization": token}
        self.call("PATCH", "/api/settings", _SETTINGS).answer()
        self.call("POST", "/api/collections", _COLLECTION).answer()
        for account in MEMBERS:
            member = {**account, "passwordConfirm": account["password"]}
            self.call("POST", "/api/collections/users/records", member).answer()
        self.headers = {"Authorization": self.login().answer()["token"]}

    def load(self, records: Sequence[Record]) -> None:
        chance = random.Random(1)  # noqa: S311 - ids, not secrets
        letters = string.ascii_lowercase + string.digits
        self.ids = ["".join(chance.choices(letters, k=15)) for _ in records]
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.000Z")
        rows = (
            (id_, data["title"], data["section"], data["size"], dump(data["tags"]), data["body"],
             now, now)
            for id_, data in zip(self.ids, records, strict=True)
        )  # fmt: skip
        with closing(sqlite3.connect(self._data / "data.db", timeout=60)) as connection:
            with connection:
                connection.executemany(
                    "INSERT INTO bench (id, title, section, size, tags, body, created, updated)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    rows,
                )
            connection.execute("ANALYZE")
            connection.commit()

    def batch(self, records: Sequence[Record]) -> Call:
        path = f"{self.base}?fields=id"
        requests = [{"method": "POST", "url": path, "body": record} for record in records]
        return self.call("POST", "/api/batch", {"requests": requests})

    def login(self, account: Mapping[str, str] = MEMBER) -> Call:
        return self._login("users", account)

    def batch_ids(self, answer: Any) -> list[str]:
        return [result["body"]["id"] for result in answer]

    def _login(self, collection: str, account: Mapping[str, str]) -> Call:
        path = f"/api/collections/{collection}/auth-with-password"
        body = {"identity": account["email"], "password": account["password"]}
        return Call(self.port, "POST", path, body)
