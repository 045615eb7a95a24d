"""Kinto: two gunicorn workers, on PostgreSQL, its cache on Redis."""

from __future__ import annotations

import os
from base64 import b64encode
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

from bench.peers import environment
from bench.peers.calls import Call
from bench.peers.records import LIMIT, SECTION, Record
from bench.peers.running import free_port, run, running
from bench.peers.server import Server, fill
from bench.stage import ADMIN, DEFINITION, MEMBER
from fixtures.cluster import execute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

_COLLECTION = "/buckets/bench/collections/bench"
_SETTINGS = """\
[app:main]
use = egg:kinto
kinto.includes = kinto.plugins.accounts
multiauth.policies = account
multiauth.policy.account.use = kinto.plugins.accounts.AccountsPolicy
kinto.account_create_principals = system.Everyone
kinto.account_write_principals = account:admin
kinto.bucket_create_principals = account:admin
kinto.experimental_collection_schema_validation = true
kinto.paginate_by = 100
kinto.batch_max_requests = 25
kinto.storage_backend = kinto.core.storage.postgresql
kinto.storage_url = {postgres}
kinto.storage_pool_size = 50
kinto.permission_backend = kinto.core.permission.postgresql
kinto.permission_url = {postgres}
kinto.permission_pool_size = 50
kinto.cache_backend = kinto.core.cache.redis
kinto.cache_url = {redis}
kinto.cache_pool_size = 50
kinto.userid_hmac_secret = 0123456789abcdefghijklmnopqrstuv

[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = generic
[logger_root]
level = WARNING
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = NOTSET
formatter = generic
[formatter_generic]
format = %(asctime)s %(levelname)s %(name)s %(message)s
"""
_APPLICATION = """\
from pyramid.paster import get_app

application = get_app("kinto.ini")
"""


class Kinto(Server):
    name = "kinto"
    title = "Kinto"
    settings = (
        "two gunicorn workers of 32 threads, PostgreSQL, its cache on Redis, pools of 50, the "
        "schema checked, two indexes of its own table for the list"
    )
    differs = (
        "each request brings the password, which is looked up on Redis and hashed every 30 s",
        "no rate limits, no log of requests, no event beside a write",
        "each write has a time of its own in the collection: two at once can collide, an error",
        "a batch is answered with the whole records",
    )
    lacks: ClassVar[Mapping[str, str]] = {
        "list_hot": "its lists are cached by a proxy in front of it",
        "login": "it has no log-in, each request brings the password",
    }
    record_in = "data"
    items_in = "data"
    base = f"/v1{_COLLECTION}/records"
    query = f"section={SECTION}&_sort=-size&_limit={LIMIT}"

    def install(self) -> None:
        self._programs = environment.python("kinto")

    def version(self) -> str:
        command = [str(self._programs / "kinto"), "version"]
        said = run(command, cwd=self.stage.folder, env=os.environ, what="kinto version")
        return said.split()[-1]

    def start(self, stack: ExitStack) -> None:
        self.port = free_port()
        folder = self.stage.folder / self.name
        folder.mkdir()
        self._url = self.stage.database(self.name)
        # Kinto's documentation asks for it.
        execute(self._url, f"ALTER DATABASE {self.name} SET timezone TO 'UTC'")
        settings = _SETTINGS.format(postgres=self._url, redis=self.stage.redis(3))
        (folder / "kinto.ini").write_text(settings)
        (folder / "bench_kinto.py").write_text(_APPLICATION)
        migrate = [str(self._programs / "kinto"), "migrate", "--ini", "kinto.ini"]
        run(migrate, cwd=folder, env=os.environ, what="kinto migrate")
        command = [
            str(self._programs / "gunicorn"), "--worker-class=gthread", "--workers=2",
            "--threads=32", "--keep-alive=75", f"--bind=127.0.0.1:{self.port}",
            "--log-level=warning", "bench_kinto:application",
        ]  # fmt: skip
        ready = f"http://127.0.0.1:{self.port}/v1/"
        started = running(command, log=folder / "log", ready=ready, cwd=folder, env=os.environ)
        self.processes = [stack.enter_context(started)]
        self._set_up()

    def _set_up(self) -> None:
        for name, account in (("admin", ADMIN), ("member", MEMBER)):
            body = {"data": {"password": account["password"]}}
            Call(self.port, "PUT", f"/v1/accounts/{name}", body).answer()
        self.headers = _basic("admin", ADMIN)
        self.call("PUT", "/v1/buckets/bench", {}).answer()
        collection = {
            "data": {"schema": DEFINITION["schema"]},
            "permissions": {"write": ["system.Authenticated"]},
        }
        made = self.call("PUT", f"/v1{_COLLECTION}", collection).answer()
        self._schema = int(made["data"]["last_modified"])
        # The forms of the expressions that Kinto's lists have.
        execute(
            self._url,
            "CREATE INDEX bench_data ON objects USING gin (data jsonb_path_ops)",
            "CREATE INDEX bench_size ON objects (parent_id, resource_name, (data->'size') DESC)",
        )
        self.headers = _basic("member", MEMBER)

    def load(self, records: Sequence[Record]) -> None:
        self.ids = [str(uuid4()) for _ in records]
        # Each record has a time of its own, as Kinto's trigger sees to.
        fill(
            self._url, self.ids, records,
            "SET session_replication_role = replica",
            "INSERT INTO objects (id, parent_id, resource_name, last_modified, data, deleted)"
            f" SELECT id, '{_COLLECTION}', 'record', date_trunc('milliseconds', now()::timestamp)"
            f" - n * interval '1 ms', data || '{{\"schema\": {self._schema}}}', false FROM source",
            "INSERT INTO access_control_entries (object_id, permission, principal)"
            f" SELECT '{_COLLECTION}/records/' || id, 'write', 'account:member' FROM source",
        )  # fmt: skip
        execute(self._url, "VACUUM ANALYZE")

    def body(self, fields: Record) -> Any:
        return {"data": fields}

    def batch(self, records: Sequence[Record]) -> Call:
        requests = [
            {"method": "POST", "path": self.base, "body": {"data": record}} for record in records
        ]
        return self.call("POST", "/v1/batch", {"requests": requests})

    def batch_ids(self, answer: Any) -> list[str]:
        return [response["body"]["data"]["id"] for response in answer["responses"]]


def _basic(name: str, account: Mapping[str, str]) -> dict[str, str]:
    pair = b64encode(f"{name}:{account['password']}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}
