"""Changes of several callers in one statement: none waits for another's record."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from app.db.pool.gathering import Gathering
from fixtures.cluster import fetch
from fixtures.gathered import define, standing_still
from fixtures.open_transactions import open_transaction
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

pytestmark = pytest.mark.usefixtures("asked")


def waiting_for_locks(database_url: str) -> int:
    """The number of statements that wait."""
    waiting = (
        "SELECT FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return len(fetch(database_url, waiting))


def test_a_locked_record_holds_up_no_other(
    database_url: str, admin: httpx.Client, ada: httpx.Client
) -> None:
    records = define(admin, {"read": "", "create": "", "update": ""})
    ids = [ada.post(records, json={"n": n}).json()["id"] for n in range(3)]
    lock = f"SELECT FROM records.{records.split('/')[2]} WHERE id = '{ids[0]}' FOR UPDATE"
    with ThreadPoolExecutor(3) as pool:
        with open_transaction(database_url, lock):
            waiting = pool.submit(ada.patch, f"{records}/{ids[0]}", json={"text": "late"})
            # Left out by the joint statement, and asked about alone.
            wait_until(lambda: waiting_for_locks(database_url) == 1)
            for id_ in ids[1:]:
                assert ada.patch(f"{records}/{id_}", json={"text": "x"}).json()["version"] == 2
            assert not waiting.done(), waiting.result().text
        assert waiting.result().json()["version"] == 2


def test_a_guess_at_a_hidden_field_is_not_confirmed_while_its_record_is_locked(
    database_url: str, admin: httpx.Client, ada: httpx.Client
) -> None:
    records = define(admin, {"read": "", "create": "", "update": ""})
    record = ada.post(records, json={"n": 1, "secret": "s"}).headers["location"]
    lock = f"SELECT FROM records.{records.split('/')[2]} FOR UPDATE"
    with ThreadPoolExecutor(2) as pool:
        with open_transaction(database_url, lock):
            guesses = [pool.submit(ada.patch, record, json={"secret": guess}) for guess in "sx"]
            wait_until(lambda: waiting_for_locks(database_url) == 2)
            assert not any(guess.done() for guess in guesses)
        assert {guess.result().json()["version"] for guess in guesses} == {2, 3}


@pytest.mark.parametrize("alone", [False, True])
def test_a_change_that_is_refused_locks_nothing(
    database_url: str,
    admin: httpx.Client,
    ada: httpx.Client,
    bob: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    *,
    alone: bool,
) -> None:
    monkeypatch.setattr(Gathering, "_may_go_alone", lambda _: alone)
    records = define(admin, {"read": "", "create": "", "update": "owner = @user.id"})
    id_ = ada.post(records, json={"n": 1}).json()["id"]
    before = fetch(database_url, f"SELECT xmax FROM records.{records.split('/')[2]}")
    assert bob.put(f"{records}/{id_}", json={"n": 2}).status_code == 403
    stale = {"If-Match": '"7"'}
    assert ada.put(f"{records}/{id_}", json={"n": 2}, headers=stale).status_code == 412
    assert fetch(database_url, f"SELECT xmax FROM records.{records.split('/')[2]}") == before


def test_changes_of_one_record_that_come_together_all_count(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client
) -> None:
    records = define(admin, {"read": "", "create": "", "update": ""})
    record = ada.post(records, json={"n": 0}).headers["location"]
    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(who.put, record, json={"n": n})
                for n, who in enumerate((ada, bob, ada, bob), start=1)]  # fmt: skip
        answers = [each.result().json() for each in sent]
    assert sorted(answer["version"] for answer in answers) == [2, 3, 4, 5]
    last = max(answers, key=lambda answer: answer["version"])
    assert ada.get(record).json() == last


@pytest.mark.parametrize("alone", [False, True])
def test_patches_of_one_record_that_come_together_all_count(
    server: Server, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch, *, alone: bool
) -> None:
    monkeypatch.setattr(Gathering, "_may_go_alone", lambda _: alone)
    schema = {"type": "object"}
    records = define(admin, {"read": "", "create": "", "update": ""}, schema=schema)
    record = admin.post(records, json={"counts": {}}).headers["location"]
    clients = [server.client() for _ in range(30)]

    def patch(number: int) -> int:
        body = {"counts": {f"n{number}": number}}
        return clients[number].patch(record, json=body).status_code

    with ThreadPoolExecutor(len(clients)) as pool:
        assert list(pool.map(patch, range(len(clients)))) == [200] * len(clients)
    after = admin.get(record).json()
    assert after["counts"] == {f"n{number}": number for number in range(len(clients))}
    assert after["version"] == len(clients) + 1


def test_a_change_that_was_not_made_has_its_own_reason(
    server: Server, admin: httpx.Client, ada: httpx.Client, database_url: str, asked: list[Any]
) -> None:
    rules = {"read": "", "create": "", "update": "n < 10"}
    plain: dict[str, Any] = {"properties": {"text": {}, "n": {}}}
    records = define(admin, rules, schema=plain, indexes=["text"])
    wait_until(
        lambda: admin.get(records.removesuffix("/records")).json()["indexes"][0]["state"] == "ready"
    )
    first = ada.post(records, json={"n": 1, "text": "a" * 20_000})
    assert first.status_code == 201
    ids = [ada.post(records, json={"n": n}).json()["id"] for n in (1, 2, 3, 10)]
    # Too long for the index, even compressed.
    long = "".join(uuid4().hex for _ in range(400))
    todo: list[tuple[str, dict[str, Any], dict[str, str], int]] = [
        (ids[0], {"n": 5}, {"If-Match": '"1"'}, 200),
        (ids[1], {"n": 5}, {"If-Match": '"7"'}, 412),
        (ids[2], {"n": 3}, {}, 200),
        (ids[3], {"n": 5}, {}, 403),
        (str(uuid4()), {"n": 5}, {}, 404),
        (first.json()["id"], {"n": 6, "text": long}, {}, 422),
    ]
    with ThreadPoolExecutor(len(todo)) as pool:
        with standing_still(database_url, records, asked, len(todo)):
            sent = [pool.submit(ada.put, f"{records}/{id_}", json=body, headers=headers)
                    for id_, body, headers, _ in todo]  # fmt: skip
        answers = [each.result() for each in sent]
    assert [answer.status_code for answer in answers] == [status for *_, status in todo]
    assert [answers[0].json()["version"], answers[2].json()["version"]] == [2, 1]


def test_a_definition_that_changed_is_read_anew_by_all(
    database_url: str, admin: httpx.Client, ada: httpx.Client, bob: httpx.Client, asked: list[Any]
) -> None:
    records = define(admin, {"create": ""})
    assert ada.post(records, json={"n": 1}).status_code == 201
    # Another process may have changed the definition a moment ago, like this.
    raised = "UPDATE listo.collections SET version = version + 1 WHERE name = $1 RETURNING version"
    assert fetch(database_url, raised, records.split("/")[2])
    with ThreadPoolExecutor(3) as pool:
        with standing_still(database_url, records, asked, 3):
            sent = [pool.submit(who.post, records, json={"n": 1}) for who in (ada, bob, ada)]
        assert [each.result().status_code for each in sent] == [201] * 3
    assert len(asked) > 3
