"""Reads and creates of several callers in one statement: to each what a statement alone gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from app.db.pool import gathering
from app.db.pool.gathering import Gathering
from fixtures.cluster import fetch
from fixtures.open_transactions import open_transaction
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fixtures.server import Server

SCHEMA = {"properties": {"n": {"type": "integer"}, "text": {"type": "string"}}}


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The questions so far. Every read and create goes by a joint statement, one at a time."""
    monkeypatch.setattr(gathering, "AT_ONCE", 0)
    ask, questions = Gathering.ask, list[Any]()

    async def noted(self: Gathering[Any, Any], question: Any, weight: int) -> Any:
        questions.append(question)
        return await ask(self, question, weight)

    monkeypatch.setattr(Gathering, "ask", noted)
    return questions


def define(admin: httpx.Client, rules: dict[str, Any], **rest: Any) -> str:
    path = f"/collections/c{uuid4().hex[:12]}"
    body = {"schema": SCHEMA, "rules": rules, **rest}
    assert admin.put(path, json=body).status_code == 201
    return f"{path}/records"


@contextmanager
def standing_still(url: str, records: str, asked: list[Any], number: int) -> Iterator[None]:
    """No statement on the collection ends before so many questions were asked in here."""
    asked.clear()
    table = records.split("/")[2]
    with open_transaction(url, f'LOCK TABLE records."{table}" IN ACCESS EXCLUSIVE MODE'):
        yield
        wait_until(lambda: len(asked) == number)


def statements_on(server: Server, records: str) -> list[str]:
    return [each for each in server.statements if f'records."{records.split("/")[2]}"' in each]


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


def test_each_create_is_by_its_own_rights_and_faults(
    database_url: str,
    admin: httpx.Client,
    ada: httpx.Client,
    bob: httpx.Client,
    anonymous: httpx.Client,
    asked: list[Any],
) -> None:
    records = define(
        admin,
        {"read": "", "list": "", "create": "@user.id is not null and n < 10"},
        indexes=["text"],
    )
    wait_until(
        lambda: admin.get(records.removesuffix("/records")).json()["indexes"][0]["state"] == "ready"
    )
    # A larger record than the collection has had goes alone.
    assert ada.post(records, json={"n": 0, "text": "a" * 20_000}).status_code == 201
    # Too long for the index, once it is compressed as well.
    long = "".join(uuid4().hex for _ in range(400))
    expected: list[tuple[httpx.Client, dict[str, Any], int]] = [
        (ada, {"n": 1}, 201), (ada, {"n": 10}, 403), (bob, {"n": 2}, 201),
        (bob, {"n": 3, "text": "x"}, 201), (anonymous, {"n": 4}, 401),
    ]  # fmt: skip
    for broken in ([], [(bob, {"n": 5, "text": long}, 422)]):
        todo = [*expected, *broken]
        with ThreadPoolExecutor(len(todo)) as pool:
            with standing_still(database_url, records, asked, len(todo)):
                sent = [pool.submit(who.post, records, json=body) for who, body, _ in todo]
            answers = [each.result() for each in sent]
        assert [answer.status_code for answer in answers] == [status for *_, status in todo]
        for answer, (who, body, status) in zip(answers, todo, strict=True):
            if status == 201:
                owner = who.get("/auth/me").json()["id"]
                assert answer.json() == {**answer.json(), **body, "owner": owner, "version": 1}
                assert who.get(answer.headers["location"]).json() == answer.json()
    listed = admin.get(f"{records}?limit=500").json()["items"]
    events = "SELECT subject::text, actor::text FROM listo.events WHERE collection = $1"
    assert {tuple(row) for row in fetch(database_url, events, records.split("/")[2])} == {
        (record["id"], record["owner"]) for record in listed
    }


def test_a_joint_create_brings_cached_lists_up_to_date(
    database_url: str, admin: httpx.Client, ada: httpx.Client, bob: httpx.Client, asked: list[Any]
) -> None:
    records = define(admin, {"list": "", "create": ""}, cache={"list": "5m"})
    assert ada.post(records, json={"n": 1}).status_code == 201
    assert len(ada.get(records).json()["items"]) == 1
    with ThreadPoolExecutor(4) as pool:
        with standing_still(database_url, records, asked, 4):
            sent = [pool.submit(who.post, records, json={"n": 1}) for who in (ada, bob, ada, bob)]
        assert [each.result().status_code for each in sent] == [201] * 4
    assert len(ada.get(records).json()["items"]) == 5


def test_a_definition_that_changed_is_read_anew_by_all(
    database_url: str, admin: httpx.Client, ada: httpx.Client, bob: httpx.Client, asked: list[Any]
) -> None:
    records = define(admin, {"create": ""})
    assert ada.post(records, json={"n": 1}).status_code == 201
    # As another process may have changed it a moment ago.
    raised = "UPDATE listo.collections SET version = version + 1 WHERE name = $1 RETURNING version"
    assert fetch(database_url, raised, records.split("/")[2])
    asked.clear()
    with ThreadPoolExecutor(3) as pool:
        sent = [pool.submit(who.post, records, json={"n": 1}) for who in (ada, bob, ada)]
        assert [each.result().status_code for each in sent] == [201] * 3
    assert len(asked) > 3
