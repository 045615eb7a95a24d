"""Random clients on three processes, compared with a model that serves one caller at a time.

Every process must know of a change that one process has acknowledged: of records at once, of rules,
sessions, roles and API keys as soon as the process has heard of the change.

SEED chooses the sessions, EXAMPLES their number; `make test-model` is the long run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from fixtures.model import (
    FILTERS,
    OPERATIONS,
    READ,
    RULES,
    SORTS,
    WRITE,
    Collection,
    Credential,
    User,
)
from fixtures.redis import redis_store
from fixtures.replicas import replicas
from fixtures.server import ADMIN, PASSWORD
from fixtures.sessions import Clients, agreed, without_times

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

SEED = int(os.environ.get("SEED", "1"))
EXAMPLES = int(os.environ.get("EXAMPLES", "15"))
STEPS = 60
PROCESSES = 3
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "s": {"type": "string"}},
}
CACHES: tuple[dict[str, str] | None, ...] = (
    None, {"list": "30s"}, {"record": "30s"}, {"list": "30s", "record": "30s"},
)  # fmt: skip

processes = st.integers(0, PROCESSES - 1)
values = st.fixed_dictionaries(
    {}, optional={"n": st.integers(0, 3), "s": st.sampled_from(["a", "b", "c"])}
)
# The schema refuses some of these.
data = st.one_of(values, values, values, values, st.just({"n": "x"}))
patches = st.one_of(data, st.sampled_from([{"n": None}, {"s": None}]))
rules = st.fixed_dictionaries(
    dict.fromkeys(OPERATIONS, st.sampled_from([*RULES, "", "owner = @user.id", None]))
)
versions = st.sampled_from([None, "present", "stale"])
roles = st.sampled_from([("member",), ("member", "editor"), ("admin",), ()])


class Machine(Clients):
    """Random requests, each to one of the processes."""

    # Users, sessions, keys

    @initialize(process=processes, first=rules, second=rules)
    def begin(self, process: int, first: dict[str, Any], second: dict[str, Any]) -> None:
        for _ in range(2):
            self.register(process, process, key=False)
        for n, chosen in enumerate((first, second)):
            self.define(process, n, chosen, cache=CACHES[-1] if n == 0 else None)
            for who in list(self.tokens):
                self.create_as(who, process, f"c{self.number}_{n}", {"n": n}, key=False)

    @rule(
        process=processes,
        choice=st.data(),
        what=st.sampled_from(
            ["join", "log_in_again", "log_out", "change_roles", "disable", "make_key", "delete_key"]
        ),
    )
    def people(self, process: int, choice: st.DataObject, what: str) -> None:
        """One rule for all these requests, so that most requests are about records."""
        getattr(self, what)(process, choice)

    def join(self, process: int, choice: st.DataObject) -> None:
        if len(self.model.users) < 3:
            self.register(process, choice.draw(processes), key=choice.draw(st.booleans()))

    def register(self, process: int, other: int, *, key: bool) -> None:
        label = f"user{len(self.model.users)}"
        email = f"{label}.{self.number}@example.com"
        body = {"email": email, "password": PASSWORD}
        answer = self.write(process, "nobody", "POST", "/auth/register", key=key, json=body)
        assert answer.status_code == 201, answer.text
        self.model.users[label] = User(answer.json()["id"], email, {"member"})
        self.log_in(other, label)

    def log_in_again(self, process: int, choice: st.DataObject) -> None:
        if len(self.sessions()) < 6:
            self.log_in(process, choice.draw(st.sampled_from(list(self.model.users))))

    def log_in(self, process: int, label: str) -> None:
        user = self.model.users[label]
        body = {"email": user.email, "password": PASSWORD}
        answer = self.ask(process, "nobody", "POST", "/auth/login", json=body)
        assert answer.status_code == (401 if user.disabled else 200), answer.text
        if not user.disabled:
            session = f"{label}'s session {len(self.sessions())}"
            self.tokens[session] = answer.json()["access_token"]
            self.model.credentials[session] = Credential(user)
            # All processes accept its token at once.
            for each in range(PROCESSES):
                self.compare(each, session, self.model.collections)

    def log_out(self, process: int, choice: st.DataObject) -> None:
        who = choice.draw(st.sampled_from(self.sessions()))
        answer = self.ask(process, who, "POST", "/auth/logout")
        if agreed(answer, 204, lambda: self.model.caller(who)):
            self.model.credentials[who].ended = True
            self.settle(process, [who], ())

    def change_roles(self, process: int, choice: st.DataObject) -> None:
        given, key = choice.draw(roles), choice.draw(st.booleans())
        user = choice.draw(st.sampled_from(list(self.model.users.values())))
        body = {"roles": list(given)}
        answer = self.write(process, "admin", "PATCH", f"/users/{user.id}", key=key, json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["roles"] == sorted(given)
        user.roles = set(given)
        self.settle(process, self.of_user(user), self.model.collections)

    def disable(self, process: int, choice: st.DataObject) -> None:
        disabled = choice.draw(st.booleans())
        user = choice.draw(st.sampled_from(list(self.model.users.values())))
        body = {"disabled": disabled}
        answer = self.ask(process, "admin", "PATCH", f"/users/{user.id}", json=body)
        assert answer.status_code == 200, answer.text
        self.model.disable(user, disabled=disabled)
        self.settle(process, self.of_user(user), self.model.collections)

    def make_key(self, process: int, choice: st.DataObject) -> None:
        scopes = choice.draw(st.sampled_from([(READ,), (READ, WRITE)]))
        key = choice.draw(st.booleans())
        if len(self.key_ids) >= 4:
            return
        who = choice.draw(st.sampled_from(self.sessions()))
        body = {"name": "k", "scopes": list(scopes)}
        answer = self.write(process, who, "POST", "/auth/api-keys", key=key, json=body)
        if not agreed(answer, 201, lambda: self.model.caller(who)):
            return
        label = f"key {len(self.key_ids)} of {who}"
        self.key_ids[label] = answer.json()["id"]
        self.tokens[label] = answer.json()["key"]
        user = self.model.credentials[who].user
        self.model.credentials[label] = Credential(user, frozenset(scopes))
        for each in range(PROCESSES):
            self.compare(each, label, self.model.collections)

    def delete_key(self, process: int, choice: st.DataObject) -> None:
        if not self.key_ids:
            return
        label = choice.draw(st.sampled_from(list(self.key_ids)))
        credential = self.model.credentials[label]
        owners = set(self.of_user(credential.user)).intersection(self.sessions())
        who = choice.draw(st.sampled_from(sorted(owners)))
        answer = self.ask(process, who, "DELETE", f"/auth/api-keys/{self.key_ids[label]}")
        if agreed(answer, 404 if credential.ended else 204, lambda: self.model.caller(who)):
            credential.ended = True
            self.settle(process, [label], ())

    # Collections

    @rule(process=processes, n=st.integers(0, 1), chosen=rules, cache=st.sampled_from(CACHES))
    def define(
        self, process: int, n: int, chosen: dict[str, str | None], cache: dict[str, str] | None
    ) -> None:
        name = f"c{self.number}_{n}"
        body = {"schema": SCHEMA, "rules": chosen, "cache": cache}
        answer = self.ask(process, "admin", "PUT", f"/collections/{name}", json=body)
        present = self.model.collections.get(name)
        assert answer.status_code == (200 if present else 201), answer.text
        if present:
            present.rules = chosen
        else:
            self.model.collections[name] = Collection(chosen)
        self.settle(process, self.tokens, [name])

    @precondition(lambda self: self.model.collections)
    @rule(process=processes, choice=st.data())
    def drop(self, process: int, choice: st.DataObject) -> None:
        name = choice.draw(st.sampled_from(list(self.model.collections)))
        answer = self.ask(process, "admin", "DELETE", f"/collections/{name}?confirm={name}")
        assert answer.status_code == 204, answer.text
        del self.model.collections[name]
        self.settle(process, self.tokens, [name])

    # Records

    @rule(process=processes, choice=st.data(), given=data, key=st.booleans())
    def create(
        self, process: int, choice: st.DataObject, given: dict[str, Any], *, key: bool
    ) -> None:
        who, name = choice.draw(self.whoever()), choice.draw(self.some_collection())
        self.create_as(who, process, name, given, key=key)
        self.compare_everywhere(name, choice.draw(self.whoever()))

    def create_as(
        self, who: str, process: int, name: str, given: dict[str, Any], *, key: bool
    ) -> None:
        answer = self.write(
            process, who, "POST", f"/collections/{name}/records", key=key, json=given,
            needs=("create",),
        )  # fmt: skip
        self.written(answer, 201, lambda id_: self.model.create(who, name, given, id_))

    @rule(
        process=processes, choice=st.data(), given=data, wanted=st.sampled_from([*"ppsnc"]),
        key=st.booleans(),
    )  # fmt: skip
    def put(
        self, process: int, choice: st.DataObject, given: dict[str, Any], wanted: str, *, key: bool
    ) -> None:
        """`wanted`: the present version, a stale one, none, or to create."""
        who, name = choice.draw(self.whoever()), choice.draw(self.some_collection())
        id_ = choice.draw(self.some_record(name))
        headers, version, needs = {}, None, ("update",)
        if wanted == "c":
            headers, needs = {"If-None-Match": "*"}, ("create",)
            if choice.draw(st.booleans()):
                id_ = str(uuid4())
        elif wanted != "n":
            version = self.version(name, id_, "present" if wanted == "p" else "stale")
            headers = {"If-Match": f'"{version}"'}
        answer = self.write(
            process, who, "PUT", f"/collections/{name}/records/{id_}", key=key, json=given,
            headers=headers, needs=needs,
        )  # fmt: skip
        if wanted == "c":
            self.written(answer, 201, lambda _: self.model.put_new(who, name, given, id_))
        else:
            self.written(answer, 200, lambda _: self.model.put(who, name, id_, given, version))
        self.compare_everywhere(name, choice.draw(self.whoever()), id_)

    @rule(
        process=processes, choice=st.data(), given=patches, wanted=versions, key=st.booleans()
    )  # fmt: skip
    def patch(
        self, process: int, choice: st.DataObject, given: dict[str, Any], wanted: str | None,
        *, key: bool,
    ) -> None:  # fmt: skip
        who, name = choice.draw(self.whoever()), choice.draw(self.some_collection())
        id_ = choice.draw(self.some_record(name))
        version = self.version(name, id_, wanted)
        answer = self.write(
            process, who, "PATCH", f"/collections/{name}/records/{id_}", key=key, json=given,
            headers={} if version is None else {"If-Match": f'"{version}"'}, needs=("update",),
        )  # fmt: skip
        self.written(answer, 200, lambda _: self.model.patch(who, name, id_, given, version))
        self.compare_everywhere(name, choice.draw(self.whoever()), id_)

    @rule(process=processes, choice=st.data(), wanted=versions, key=st.booleans())
    def delete(self, process: int, choice: st.DataObject, wanted: str | None, *, key: bool) -> None:
        who, name = choice.draw(self.whoever()), choice.draw(self.some_collection())
        id_ = choice.draw(self.some_record(name))
        version = self.version(name, id_, wanted)
        answer = self.write(
            process, who, "DELETE", f"/collections/{name}/records/{id_}", key=key,
            headers={} if version is None else {"If-Match": f'"{version}"'}, needs=("delete",),
        )  # fmt: skip
        agreed(answer, 204, lambda: self.model.delete(who, name, id_, version))
        self.compare_everywhere(name, choice.draw(self.whoever()), id_)

    @rule(process=processes, choice=st.data(), key=st.booleans())
    def batch(self, process: int, choice: st.DataObject, *, key: bool) -> None:
        who, name = choice.draw(self.whoever()), choice.draw(self.some_collection())
        record = self.some_record(name)
        create = st.fixed_dictionaries({"op": st.just("create"), "data": data})
        update = st.fixed_dictionaries({"op": st.just("update"), "id": record, "data": patches})
        delete = st.fixed_dictionaries({"op": st.just("delete"), "id": record})
        operations = choice.draw(
            st.lists(st.one_of(create, create, update, delete), min_size=1, max_size=4)
        )
        answer = self.write(
            process, who, "POST", f"/collections/{name}/records:batch", key=key,
            json={"operations": operations}, needs=("create", "update", "delete"),
        )  # fmt: skip
        told = answer.json().get("results", [])
        made = [
            result["id"]
            for result, operation in zip(told, operations, strict=False)
            if operation["op"] == "create"
        ]
        results = agreed(answer, 200, lambda: self.model.batch(who, name, operations, made))
        assert [(result["id"], result["version"]) for result in told] == (results or [])
        self.compare_everywhere(name, choice.draw(self.whoever()), choice.draw(record))

    @precondition(lambda self: self.kept)
    @rule(process=processes, choice=st.data())
    def send_again(self, process: int, choice: st.DataObject) -> None:
        first = choice.draw(st.sampled_from(self.kept))
        answer = self.ask(process, first.who, first.method, first.path, **first.rest)
        if agreed(answer, first.answer.status_code, lambda: self.admitted(first)):
            assert answer.headers.get("Idempotency-Replayed") == "true"
            assert answer.content == first.answer.content

    @precondition(lambda self: self.kept)
    @rule(process=processes, choice=st.data())
    def send_something_else(self, process: int, choice: st.DataObject) -> None:
        first = choice.draw(st.sampled_from(self.kept))
        rest = first.rest | {"params": {"other": "1"}}
        answer = self.ask(process, first.who, first.method, first.path, **rest)
        if agreed(answer, 422, lambda: self.admitted(first)):
            assert answer.json()["code"] == "idempotency_key_reused"

    # Reading

    @rule(process=processes, choice=st.data())
    def get(self, process: int, choice: st.DataObject) -> None:
        who, name = choice.draw(self.whoever()), choice.draw(self.some_collection())
        id_ = choice.draw(self.some_record(name))
        answer = self.ask(process, who, "GET", f"/collections/{name}/records/{id_}")
        self.written(answer, 200, lambda _: self.model.get(who, name, id_))

    @rule(
        choice=st.data(), filter_=st.sampled_from(sorted(FILTERS)), sort=st.sampled_from(SORTS),
        limit=st.integers(1, 3), count=st.booleans(),
    )  # fmt: skip
    def walk(
        self, choice: st.DataObject, filter_: str, sort: str, limit: int, *, count: bool
    ) -> None:
        """Walk the list page by page, each page on a random process."""
        who, name = choice.draw(self.whoever()), choice.draw(self.some_collection())
        query: dict[str, Any] = {"filter": filter_, "sort": sort, "limit": limit}
        if count:
            query["count"] = "exact"
        found: list[dict[str, Any]] = []
        for page in self.pages(choice, who, name, query):
            expected = agreed(page, 200, lambda: self.model.listed(who, name, filter_, sort))
            if expected is None:
                return
            items = page.json()["items"]
            found += [without_times(item) for item in items]
            assert len(items) <= limit
            assert page.json().get("total") == (len(expected) if count else None)
        assert found == [record.json for record in self.model.listed(who, name, filter_, sort)]

    def pages(
        self, choice: st.DataObject, who: str, name: str, query: dict[str, Any]
    ) -> Iterator[httpx.Response]:
        while True:
            process = choice.draw(processes)
            path = f"/collections/{name}/records"
            page = self.ask(process, who, "GET", path, params=query)
            yield page
            if page.status_code != 200 or page.json()["next"] is None:
                return
            query["cursor"] = page.json()["next"]


@pytest.fixture(scope="module")
def machine(database_url: str) -> Iterator[type[Machine]]:
    with (
        redis_store() as redis_url,
        replicas(database_url, redis_url, PROCESSES, RATE_LIMIT_ANONYMOUS="off",
                 RATE_LIMIT_API_KEY="off", RATE_LIMIT_LOGIN="off") as running,
    ):  # fmt: skip
        Machine.replicas = running
        answer = running.ask(0, None, "POST", "/auth/login", json=ADMIN)
        Machine.admin_token = answer.json()["access_token"]
        Machine.admin_id = running.ask(0, Machine.admin_token, "GET", "/auth/me").json()["id"]
        yield seed(SEED)(Machine)


def test_three_processes_are_as_one(machine: type[Machine]) -> None:
    print(f"SEED={SEED} EXAMPLES={EXAMPLES}")  # noqa: T201 - these values repeat a failure
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
