"""Reads and creates of several callers in one statement: the answers of separate statements."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from app.core.errors import RequestTimeout
from fixtures.cluster import fetch
from fixtures.gathered import SCHEMA, define, standing_still, statements_on
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

pytestmark = pytest.mark.usefixtures("asked")


def test_each_reader_sees_by_its_own_rights(
    server: Server,
    database_url: str,
    admin: httpx.Client,
    ada: httpx.Client,
    bob: httpx.Client,
    anonymous: httpx.Client,
    asked: list[Any],
) -> None:
    rule = 'owner = @user.id or text = "shared" or @user.roles has "reader"'
    records = define(admin, {"read": rule, "create": ""})
    reader = server.member("reader@example.com", ("reader",))
    own = {client: client.post(records, json={"n": 1}).json()["id"] for client in (ada, bob)}
    shared = anonymous.post(records, json={"text": "shared"}).json()["id"]
    expected = [
        (ada, own[ada], 200), (ada, own[bob], 404), (ada, shared, 200),
        (bob, own[ada], 404), (bob, own[bob], 200), (bob, shared, 200),
        (anonymous, own[ada], 404), (anonymous, own[bob], 404), (anonymous, shared, 200),
        (reader, own[ada], 200), (reader, own[bob], 200), (reader, str(uuid4()), 404),
    ]  # fmt: skip
    server.statements.clear()
    with ThreadPoolExecutor(len(expected)) as pool:
        with standing_still(database_url, records, asked, len(expected)):
            sent = [pool.submit(who.get, f"{records}/{id_}") for who, id_, _ in expected]
        answers = [each.result() for each in sent]
    assert [answer.status_code for answer in answers] == [status for *_, status in expected]
    for answer, (_, id_, status) in zip(answers, expected, strict=True):
        if status == 200:
            assert answer.json()["id"] == id_
            assert answer.headers["etag"] == '"1"'
    # Those that came first, and all the others.
    assert len(statements_on(server, records)) <= 2


def test_each_patch_is_by_its_own_rights(
    server: Server,
    database_url: str,
    admin: httpx.Client,
    ada: httpx.Client,
    bob: httpx.Client,
    anonymous: httpx.Client,
    asked: list[Any],
) -> None:
    rules = {"read": "", "create": "", "update": "owner = @user.id"}
    records = define(admin, rules)
    ids = {who: who.post(records, json={"n": 1, "secret": "s"}).json()["id"] for who in (ada, bob)}
    todo = [
        (ada, ids[ada], {"n": 2}, 200), (ada, ids[bob], {"n": 3}, 403),
        (bob, ids[bob], {"text": "b"}, 200), (anonymous, ids[bob], {"n": 4}, 401),
        (bob, str(uuid4()), {"n": 5}, 404), (bob, ids[bob], {"n": "six"}, 422),
    ]  # fmt: skip
    server.statements.clear()
    with ThreadPoolExecutor(len(todo)) as pool:
        with standing_still(database_url, records, asked, len(todo)):
            sent = [
                pool.submit(who.patch, f"{records}/{id_}", json=body) for who, id_, body, _ in todo
            ]
        answers = [each.result() for each in sent]
    assert [answer.status_code for answer in answers] == [status for *_, status in todo]
    # Patches that came first, and all the others: their reads, and their writes.
    joint = [each for each in statements_on(server, records) if "_asked" in each]
    assert sum("UPDATE" not in each for each in joint) <= 2
    assert 1 <= sum("UPDATE" in each for each in joint) <= 2
    events = (
        "SELECT subject::text, actor::text FROM listo.events WHERE collection = $1 AND type = $2"
    )
    assert {
        tuple(row) for row in fetch(database_url, events, records.split("/")[2], "record.updated")
    } == {(ids[who], who.get("/auth/me").json()["id"]) for who in (ada, bob)}
    after = {who: admin.get(f"{records}/{id_}").json() for who, id_ in ids.items()}
    assert (after[ada]["n"], after[ada]["version"]) == (2, 2)
    assert (after[bob]["n"], after[bob]["text"], after[bob]["version"]) == (1, "b", 2)
    stored = fetch(database_url, f"SELECT data->>'secret' FROM records.{records.split('/')[2]}")
    assert [row[0] for row in stored] == ["s", "s"]


def test_each_create_is_by_its_own_rights(
    server: Server,
    database_url: str,
    admin: httpx.Client,
    ada: httpx.Client,
    bob: httpx.Client,
    anonymous: httpx.Client,
    asked: list[Any],
) -> None:
    rule = '(@user.id is not null and n < 10) or @user.roles has "maker"'
    records = define(admin, {"read": "", "list": "", "create": rule})
    maker = server.member("maker@example.com", ("maker",))
    key = {"name": "k", "scopes": ["records:read", "records:write"]}
    by_key = server.client(ada.post("/auth/api-keys", json=key).json()["key"])
    # A record that is larger than all before goes alone; after it the others share statements.
    assert ada.post(records, json={"n": 0, "text": "a" * 400}).status_code == 201
    wait_until(lambda: ada.post(records, json={"n": 0}) and shared(server, records)[-1])
    todo: list[tuple[httpx.Client, dict[str, Any], int]] = [
        (ada, {"n": 1}, 201), (ada, {"n": 10}, 403), (bob, {"n": 2, "secret": "s"}, 201),
        (bob, {"n": 3, "text": "x"}, 201), (anonymous, {"n": 4}, 401), (maker, {"n": 50}, 201),
        (by_key, {"n": 5}, 201), (by_key, {"n": 11}, 403), (admin, {"n": 60}, 201),
    ]  # fmt: skip
    server.statements.clear()
    with ThreadPoolExecutor(len(todo)) as pool:
        with standing_still(database_url, records, asked, len(todo)):
            sent = [pool.submit(who.post, records, json=body) for who, body, _ in todo]
        answers = [each.result() for each in sent]
    assert [answer.status_code for answer in answers] == [status for *_, status in todo]
    assert all(shared(server, records))
    assert len(shared(server, records)) < len(todo)
    for answer, (who, body, status) in zip(answers, todo, strict=True):
        if status == 201:
            shown = {name: value for name, value in body.items() if name != "secret"}
            owner = who.get("/auth/me").json()["id"]
            assert answer.json() == {**answer.json(), **shown, "owner": owner, "version": 1}
            assert "secret" not in answer.json()
            assert who.get(answer.headers["location"]).json() == answer.json()
    listed = admin.get(f"{records}?limit=500").json()["items"]
    events = "SELECT subject::text, actor::text FROM listo.events WHERE collection = $1"
    assert {tuple(row) for row in fetch(database_url, events, records.split("/")[2])} == {
        (record["id"], record["owner"]) for record in listed
    }


def shared(server: Server, records: str) -> list[bool]:
    """Whether each insert so far was a joint statement."""
    return ["_asked" in each for each in statements_on(server, records) if "INSERT" in each]


def test_a_row_at_fault_harms_no_other(
    database_url: str, admin: httpx.Client, ada: httpx.Client, bob: httpx.Client, asked: list[Any]
) -> None:
    records = define(admin, {"create": ""}, indexes=["text"])
    wait_until(
        lambda: admin.get(records.removesuffix("/records")).json()["indexes"][0]["state"] == "ready"
    )
    assert ada.post(records, json={"n": 0, "text": "a" * 20_000}).status_code == 201
    # Too long for the index, even compressed.
    long = "".join(uuid4().hex for _ in range(400))
    bodies = [{"n": 1}, {"n": 2, "text": long}, {"n": 3}, {"n": 4}]
    with ThreadPoolExecutor(4) as pool:
        with standing_still(database_url, records, asked, 4):
            sent = [
                pool.submit(who.post, records, json=body)
                for who, body in zip((ada, bob, ada, bob), bodies, strict=True)
            ]
        assert [each.result().status_code for each in sent] == [201, 422, 201, 201]
    assert [row["n"] for row in admin.get(f"{records}?sort=n").json()["items"]] == [0, 1, 3, 4]


def splits() -> float:
    labels = {"outcome": "split"}
    return REGISTRY.get_sample_value("listo_database_joint_statements_total", labels) or 0.0


def test_a_collection_may_have_any_name(server: Server, admin: httpx.Client) -> None:
    before = splits()
    for name in ("asked", "changed", "event", "new"):
        records, body = f"/collections/{name}/records", {"schema": SCHEMA, "rules": {}}
        assert admin.put(f"/collections/{name}", json=body).is_success
        # The first create is larger than all before, so it goes alone.
        wait_until(lambda: admin.post(records, json={}) and shared(server, records)[-1])  # noqa: B023
        made = admin.post(records, json={"n": 1})
        assert admin.get(made.headers["location"]).json() == made.json()
    assert splits() == before


def test_a_fault_after_the_commit_is_no_refusal(
    server: Server, admin: httpx.Client, ada: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = define(admin, {"list": "", "create": ""}, cache={"list": "5m"})
    assert ada.post(records, json={"n": 1}).status_code == 201

    async def acknowledge() -> None:
        raise RequestTimeout

    async def prepare(*_: object) -> Any:
        return acknowledge

    with monkeypatch.context() as patch:
        patch.setattr(server.services.database, "invalidating", prepare)
        answer = ada.post(records, json={"n": 2})
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert admin.get(f"{records}?count=exact").json()["total"] == 2


def test_creates_in_a_cached_collection_go_alone(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client, asked: list[Any]
) -> None:
    """While Redis is away, the answer to each takes seconds, which must not add up."""
    records = define(admin, {"list": "", "create": ""}, cache={"list": "5m"})
    assert ada.post(records, json={"n": 1}).status_code == 201
    assert len(ada.get(records).json()["items"]) == 1
    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(who.post, records, json={"n": 1}) for who in (ada, bob, ada, bob)]
        assert [each.result().status_code for each in sent] == [201] * 4
    assert len(ada.get(records).json()["items"]) == 5
    assert asked == []


def test_creates_beside_cached_records_are_shared(
    server: Server, admin: httpx.Client, ada: httpx.Client
) -> None:
    """A create makes no cached record untrue."""
    records = define(admin, {"list": "", "create": ""}, cache={"record": "5m"})
    wait_until(lambda: ada.post(records, json={"n": 1}) and shared(server, records)[-1])
