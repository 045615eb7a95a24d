"""`listo restore` into an instance that holds something, under each rule."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.cluster import database, execute, fetch
from fixtures.listo import Listo
from fixtures.moving import NOTES, amend, fill, people, rows
from fixtures.server import ADMIN, PASSWORD, serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from fixtures.server import Server


@pytest.fixture(scope="module")
def made(
    server: Server, admin: httpx.Client, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A dump, and what it is of."""
    facts = fill(server, admin)
    path = tmp_path_factory.mktemp("made") / "dump"
    Listo(database_url).succeed("dump", path)
    return path, facts


@pytest.fixture
def dump(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy that a test may change."""
    import shutil

    return shutil.copytree(made[0], tmp_path / "dump")


@pytest.fixture
def facts(made: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    return made[1]


@pytest.fixture
def other_url(cluster_url: str) -> Iterator[str]:
    with database(cluster_url) as url:
        yield url


@pytest.fixture
def other(other_url: str) -> Iterator[Server]:
    """Another instance that is running, with its first admin."""
    with serving(settings(other_url)) as running:
        yield running


def everything(url: str) -> list[Any]:
    return people(url) + fetch(url, "SELECT name, definition::text FROM listo.collections")


def test_again_by_fail_names_the_conflicts_and_does_nothing(
    other_url: str, dump: Path, facts: dict[str, Any]
) -> None:
    listo = Listo(other_url)
    listo.succeed("restore", dump)
    before = everything(other_url)
    fault = listo("restore", dump, "--json").report["error"]
    assert fault.startswith("Nothing was done: these users are here already: ")
    assert "ada@example.com" in fault
    execute(other_url, "DELETE FROM listo.users WHERE email <> 'bob@example.com'")
    execute(other_url, "DELETE FROM listo.users")
    before = everything(other_url)
    fault = listo("restore", dump, "--json").report["error"]
    first = json.loads((dump / "records/notes.ndjson").read_text().splitlines()[0])["id"]
    assert fault.startswith(f"Nothing was done: records of notes are here already: {first}, ")
    assert everything(other_url) == before


def test_again_by_the_other_rules_changes_nothing(other_url: str, dump: Path) -> None:
    listo = Listo(other_url)
    listo.succeed("restore", dump)
    before = everything(other_url) + rows(other_url, "notes")
    for rule in ("skip", "replace"):
        report = listo.succeed("restore", dump, "--on-conflict", rule, "--json").report
        assert report["collections"]["notes"]["records"] == {"new": 0, "replaced": 0, "kept": 4}
        assert report["users"] == {"new": 0, "replaced": 0, "kept": 3}
        assert report["api_keys"] == {"new": 0, "replaced": 0, "kept": 1}
        assert everything(other_url) + rows(other_url, "notes") == before


def test_skip_keeps_what_is_here_and_adds_what_is_missing(
    other: Server, other_url: str, dump: Path, facts: dict[str, Any]
) -> None:
    listo = Listo(other_url)
    listo.succeed("restore", dump)
    ada = other.login("ada@example.com", PASSWORD)
    changed = ada.patch(facts["path"], json={"size": 77}).json()
    execute(other_url, f"DELETE FROM records.notes WHERE id = '{facts['of_bob']}'")
    report = listo.succeed("restore", dump, "--on-conflict", "skip", "--json").report
    assert report["collections"]["notes"]["records"] == {"new": 1, "replaced": 0, "kept": 3}
    assert ada.get(facts["path"]).json() == changed
    assert ada.get(f"/collections/notes/records/{facts['of_bob']}").status_code == 200


def test_replace_brings_the_records_of_the_dump_with_a_version_above_both(
    other: Server, other_url: str, dump: Path, facts: dict[str, Any]
) -> None:
    listo = Listo(other_url)
    listo.succeed("restore", dump)
    ada = other.login("ada@example.com", PASSWORD)
    dumped = ada.get(facts["path"])
    changed = ada.patch(facts["path"], json={"size": 77}).json()
    assert changed["version"] == 3
    # Cached by the server, whose processes have to let go of it.
    assert ada.get(facts["path"]).json() == changed
    assert ada.get("/collections/notes/records").is_success
    listo.succeed("restore", dump, "--on-conflict", "replace")
    now = ada.get(facts["path"], headers={"If-None-Match": '"3"'})
    assert now.status_code == 200
    assert now.json() == {
        **dumped.json(), "version": 4, "updated_at": now.json()["updated_at"]
    }  # fmt: skip
    listed = ada.get("/collections/notes/records").json()["items"]
    assert now.json() in listed


def test_replaced_users_have_the_password_of_the_dump_and_no_session(
    other: Server, other_url: str, dump: Path
) -> None:
    listo = Listo(other_url)
    listo.succeed("restore", dump)
    ada = other.login("ada@example.com", PASSWORD)
    new = "quite another password"
    change = {"current_password": PASSWORD, "new_password": new}
    assert ada.post("/auth/password", json=change).status_code == 204
    report = listo.succeed("restore", dump, "--on-conflict", "replace", "--json").report
    assert report["users"] == {"new": 0, "replaced": 1, "kept": 2}
    assert ada.get("/auth/me").status_code == 401
    assert other.client().post(
        "/auth/login", json={"email": "ada@example.com", "password": new}
    ).status_code == 401  # fmt: skip
    other.login("ada@example.com", PASSWORD)


@pytest.mark.parametrize("rule", ["skip", "replace"])
def test_owners_become_the_users_that_have_their_addresses_here(
    other: Server, other_url: str, dump: Path, facts: dict[str, Any], rule: str
) -> None:
    here = other.member("ada@example.com")
    assert here.put("/collections/notes", json=NOTES).status_code == 403
    id_ = here.get("/auth/me").json()["id"]
    assert id_ != facts["ada"]
    listo = Listo(other_url)
    refused = listo("restore", dump, "--json")
    assert "these users are here already" in refused.report["error"]
    outcome = listo.succeed("restore", dump, "--on-conflict", rule, "--json").report
    assert outcome["users_with_another_id"] == 2
    ada = other.login("ada@example.com", PASSWORD)
    assert ada.get(facts["path"]).json()["owner"] == id_
    assert ada.patch(facts["path"], json={"size": 5}).status_code == 200
    assert other.client(facts["key"]).get(facts["path"]).json()["owner"] == id_
    bob = other.login("bob@example.com", PASSWORD)
    record = bob.get(f"/collections/notes/records/{facts['of_bob']}").json()
    assert record["owner"] == facts["bob"]
    roles = {"skip": ["member"], "replace": ["editor", "member"]}
    assert ada.get("/auth/me").json()["roles"] == roles[rule]


def test_keys_of_users_that_are_disabled_here_stay_ended(
    other: Server, other_url: str, dump: Path, facts: dict[str, Any]
) -> None:
    other.member("ada@example.com")
    users = other.admin().get("/users").json()["items"]
    (ada,) = (each["id"] for each in users if each["email"] == "ada@example.com")
    assert other.admin().patch(f"/users/{ada}", json={"disabled": True}).is_success
    report = Listo(other_url).succeed("restore", dump, "--on-conflict", "skip", "--json").report
    assert report["api_keys"] == {"new": 0, "replaced": 0, "kept": 1}
    assert other.admin().patch(f"/users/{ada}", json={"disabled": False}).is_success
    assert other.client(facts["key"]).get(facts["path"]).status_code == 401


def test_another_definition_is_refused_kept_or_replaced(
    other: Server, other_url: str, dump: Path
) -> None:
    listo = Listo(other_url)
    admin = other.admin()
    theirs = {**NOTES, "rules": {"list": ""}, "indexes": []}
    assert admin.put("/collections/notes", json=theirs).status_code == 201
    fault = listo("restore", dump).refusal
    assert fault == "Nothing was done: these collections have another definition here: notes."
    listo.succeed("restore", dump, "--on-conflict", "skip")
    assert admin.get("/collections/notes").json()["rules"] == {"list": ""}
    report = listo.succeed("restore", dump, "--on-conflict", "replace", "--json").report
    assert report["collections"]["notes"]["definition"] == "replaced"
    shown = other.admin().get("/collections/notes").json()
    assert shown["rules"]["create"] == "@user.id is not null"
    assert [index["state"] for index in shown["indexes"]] == ["ready", "ready"]


def test_records_that_the_schema_here_refuses_are_refused_by_skip(
    other: Server, other_url: str, dump: Path
) -> None:
    stricter = {**NOTES, "schema": {**NOTES["schema"], "required": ["title", "z"]}}
    assert other.admin().put("/collections/notes", json=stricter).status_code == 201
    fault = Listo(other_url)("restore", dump, "--on-conflict", "skip").refusal
    assert fault.startswith("records/notes.ndjson, line 1: ")
    assert "/z" in fault
    assert rows(other_url, "notes") == []


def test_records_here_that_the_schema_of_the_dump_refuses_are_named(
    other: Server, other_url: str, dump: Path
) -> None:
    admin = other.admin()
    assert admin.put("/collections/notes", json={"schema": {}}).status_code == 201
    record = admin.post("/collections/notes/records", json={"title": 1}).json()
    fault = Listo(other_url)("restore", dump, "--on-conflict", "replace").refusal
    assert fault.startswith("Nothing was done: notes: ")
    assert record["id"] in fault


def test_unique_values_that_are_taken_here_are_named(
    other: Server, other_url: str, dump: Path, facts: dict[str, Any]
) -> None:
    admin = other.admin()
    assert admin.put("/collections/notes", json=NOTES).status_code == 201
    record = admin.post("/collections/notes/records", json={"title": "one"}).json()
    for rule in ("skip", "replace"):
        fault = Listo(other_url)("restore", dump, "--on-conflict", rule).refusal
        assert fault.startswith("Nothing was done: notes has records with the same title: ")
        assert record["id"] in fault
        assert facts["path"].rpartition("/")[2] in fault
        assert len(rows(other_url, "notes")) == 1


def test_unique_values_that_come_twice_in_an_edited_dump_are_named(
    other_url: str, dump: Path
) -> None:
    amend(dump, "records/notes.ndjson", lambda text: text.replace(b'"of Bob"', b'"one"'))
    fault = Listo(other_url)("restore", dump).refusal
    assert fault.startswith("Nothing was done: notes has records with the same title: ")
    assert fetch(other_url, "SELECT FROM listo.collections") == []
    assert people(other_url) == []


def test_clients_go_on_writing_during_a_restore(
    other: Server, other_url: str, dump: Path, facts: dict[str, Any]
) -> None:
    from threading import Event, Thread

    listo = Listo(other_url)
    listo.succeed("restore", dump)
    execute(other_url, f"DELETE FROM records.notes WHERE id = '{facts['of_bob']}'")
    ada = other.login("ada@example.com", PASSWORD)
    began, stop = Event(), Event()
    answers: list[int] = []

    def write() -> None:
        while not stop.is_set():
            body = {"title": f"new {len(answers)}"}
            answers.append(ada.post("/collections/notes/records", json=body).status_code)
            answers.append(ada.patch(facts["path"], json={"size": len(answers)}).status_code)
            began.set()

    writer = Thread(target=write)
    writer.start()
    assert began.wait(30)
    report = listo.succeed("restore", dump, "--on-conflict", "skip", "--json").report
    stop.set()
    writer.join()
    assert report["collections"]["notes"]["records"] == {"new": 1, "replaced": 0, "kept": 3}
    assert set(answers) == {200, 201}
    assert len(rows(other_url, "notes")) == 4 + answers.count(201)


def test_the_last_admin_stays_one(other: Server, other_url: str, dump: Path) -> None:
    amend(
        dump,
        "users.ndjson",
        lambda text: text.replace(b'"admin", ', b"").replace(b'["admin","member"]', b'["member"]'),
    )
    outcome = Listo(other_url)("restore", dump, "--on-conflict", "replace")
    assert (outcome.status, outcome.refusal) == (
        1, "This is the last admin who can log in; make another one first."
    )  # fmt: skip
    assert other.login(ADMIN["email"], ADMIN["password"]).get("/users").status_code == 200


def test_users_that_are_two_here_are_refused(other: Server, other_url: str, dump: Path) -> None:
    Listo(other_url).succeed("restore", dump)
    swap = (
        "UPDATE listo.users SET email = CASE email WHEN 'ada@example.com' THEN 'x@example.com'"
        " WHEN 'bob@example.com' THEN 'ada@example.com' ELSE email END"
    )
    execute(other_url, swap)
    fault = Listo(other_url)("restore", dump, "--on-conflict", "replace").refusal
    assert fault == "Nothing was done: users of the dump are two users here: ada@example.com."


def test_large_records_are_announced_before_they_come(
    other: Server, other_url: str, dump: Path
) -> None:
    def grow(text: bytes) -> bytes:
        return text.replace(b'"of Bob"', b'"' + b"x" * 900_000 + b'"')

    definition = {"schema": {"properties": {"title": {"type": "string"}}}}
    text = json.dumps({"name": "notes", **definition}).encode()
    amend(dump, "collections/notes.json", lambda _: text)
    amend(dump, "records/notes.ndjson", grow)
    Listo(other_url).succeed("restore", dump)
    (row,) = fetch(other_url, "SELECT max(bytes) FROM listo.record_sizes")
    assert row[0] >= 900_000
    refused = Listo(other_url)("restore", dump, "--on-conflict", "skip", MAX_RECORD_BYTES="100000")
    assert "a record has at most 100,000 here" in refused.refusal
