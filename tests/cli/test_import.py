"""`listo import --from pocketbase`: collections, records and users come over, and the report names
what does not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.cluster import database, fetch
from fixtures.listo import Listo
from fixtures.pocketbase import CREATED, OPTIONS, TIMES, Pocket, relation, select, some_id
from fixtures.server import PASSWORD as MEMBER
from fixtures.server import serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixtures.server import Server

PASSWORD = "pass wörd"
FROM = ("import", "--from", "pocketbase")


@pytest.fixture
def pocket(tmp_path: Path) -> Pocket:
    return Pocket(tmp_path / "pb_data")


@pytest.fixture
def url(cluster_url: str) -> Iterator[str]:
    with database(cluster_url) as made:
        yield made


@pytest.fixture
def server(url: str) -> Iterator[Server]:
    with serving(settings(url)) as running:
        yield running


def take_over(url: str, pocket: Pocket, *more: str) -> Any:
    return Listo(url).succeed(*FROM, pocket.folder, *more, "--json").report


def blog(pocket: Pocket) -> dict[str, str]:
    """Users and posts that refer to each other; the ids there."""
    users = pocket.collection(
        "users",
        [{"name": "name", "type": "text"}, {"name": "avatar", "type": "file"}, *TIMES],
        type="auth",
        rules={"listRule": "id = @request.auth.id", "viewRule": "", "createRule": "",
               "updateRule": "id = @request.auth.id", "deleteRule": "id = @request.auth.id"},
    )  # fmt: skip
    tags = pocket.collection("Tags", [{"name": "label", "type": "text", "required": True}],
                             rules={"listRule": "", "viewRule": ""})  # fmt: skip
    pocket.collection(
        "posts",
        [
            {"name": "title", "type": "text", "required": True, "max": 20},
            {"name": "n", "type": "number", "min": 0},
            {"name": "meta", "type": "json"},
            {"name": "at", "type": "date"},
            {"name": "secret", "type": "text", "hidden": True},
            select("kinds", ["a", "b"], 2),
            relation("author", users),
            relation("editors", users, 9),
            relation("tags", tags, 9),
            *TIMES,
        ],
        rules={"listRule": "author = @request.auth.id || editors.id ?= @request.auth.id",
               "viewRule": "@request.auth.verified = true", "createRule": '@request.auth.id != ""',
               "updateRule": "author = @request.auth.id"},
        indexes=["CREATE UNIQUE INDEX `idx_t` ON `posts` (`title`) WHERE `title` != ''",
                 "CREATE INDEX idx_n ON posts (n DESC, created)",
                 "CREATE INDEX idx_l ON posts (lower(title))"],
    )  # fmt: skip
    ada = pocket.user("users", "Ada@Example.com", PASSWORD, name="Ada", avatar="a.png",
                      created=CREATED, updated=CREATED)  # fmt: skip
    bob = pocket.user("users", "bob@example.com", PASSWORD, verified=False)
    label = some_id("tag")
    pocket.records("Tags", {"id": label, "label": "news"})
    pocket.records(
        "posts",
        {"id": some_id(1), "title": "one", "n": 1.5, "meta": '{"x": 12345678901234567890}',
         "at": "2024-05-06 07:08:09.123Z", "secret": "s", "kinds": '["a","b"]', "author": ada,
         "editors": json.dumps([bob]), "tags": json.dumps([label]), "created": CREATED,
         "updated": "2025-01-01 00:00:00.000Z"},
        {"id": some_id(2), "title": "two", "n": 0, "meta": None, "at": "", "secret": "",
         "kinds": "[]", "author": "", "editors": "[]", "tags": "[]", "created": CREATED,
         "updated": CREATED},
    )  # fmt: skip
    return {"ada": ada, "bob": bob, "tag": label}


def test_a_project_comes_over(url: str, server: Server, pocket: Pocket) -> None:
    there = blog(pocket)
    report = take_over(url, pocket)
    assert report["restored"]["users"] == {"new": 2, "replaced": 0, "kept": 0}
    ada = server.login("ada@example.com", PASSWORD)
    me = ada.get("/auth/me").json()
    assert (me["name"], me["roles"]) == ("Ada", ["member", "users"])
    (one,) = ada.get("/collections/posts/records").json()["items"]
    assert one.pop("owner") is None
    editors, tags = one.pop("editors"), one.pop("tags")
    assert one == {
        "id": one["id"],
        "version": 1,
        "created_at": "2024-01-02T03:04:05.678000Z",
        "updated_at": "2025-01-01T00:00:00.000000Z",
        "title": "one",
        "n": 1.5,
        "meta": {"x": 12345678901234567890},
        "at": "2024-05-06T07:08:09.123Z",
        "kinds": ["a", "b"],
        "author": me["id"],
        "pocketbase_id": some_id(1),
    }
    bob = server.login("bob@example.com", PASSWORD)
    assert editors == [bob.get("/auth/me").json()["id"]]
    (tag,) = bob.get("/collections/tags/records").json()["items"]
    assert (tag["label"], tags) == ("news", [tag["id"]])
    assert len(bob.get("/collections/posts/records").json()["items"]) == 1
    found = server.admin().get(
        "/collections/posts/records", params={"filter": f'pocketbase_id = "{some_id(2)}"'}
    )
    (two,) = found.json()["items"]
    own = {"title": "two", "n": 0, "pocketbase_id": some_id(2)}
    assert {name: two[name] for name in two if name not in one or name in own} == own | {
        "owner": None
    }
    profile = ada.get(f"/collections/users/records/{me['id']}").json()
    assert (profile["owner"], profile["avatar"]) == (me["id"], "a.png")
    assert "email" not in profile
    assert profile["pocketbase_id"] == there["ada"]


def test_a_password_is_verified_once_by_bcrypt_and_then_by_argon2id(
    url: str, server: Server, pocket: Pocket
) -> None:
    blog(pocket)
    take_over(url, pocket)
    query = "SELECT password_hash FROM listo.users WHERE email = 'ada@example.com'"
    assert fetch(url, query)[0][0].startswith("$2a$")
    wrong = server.client().post(
        "/auth/login", json={"email": "ada@example.com", "password": "pass word"}
    )
    assert wrong.json()["code"] == "invalid_credentials"
    server.login("ADA@example.com", PASSWORD)
    assert fetch(url, query)[0][0].startswith("$argon2id$")
    server.login("ada@example.com", PASSWORD)


def test_rules_are_translated_or_named(url: str, server: Server, pocket: Pocket) -> None:
    blog(pocket)
    report = take_over(url, pocket)
    (posts,) = (each for each in report["collections"] if each["name"] == "posts")
    rules = {each["operation"]: each for each in posts["rules"]}
    assert rules["list"]["here"] == "(author = @user.id or editors has @user.id)"
    assert rules["read"]["here"] is None
    assert rules["read"]["former"] == "@request.auth.verified = true"
    assert "id and roles" in rules["read"]["why"]
    shown = server.admin().get("/collections/posts").json()
    here = {name: rule["here"] for name, rule in rules.items() if rule["here"] is not None}
    assert shown["rules"] == here
    indexes = [{**each, "state": None} for each in shown["indexes"]]
    assert [each["fields"] for each in indexes] == [
        ["title"],
        ["-n", "created_at"],
        ["pocketbase_id"],
    ]
    assert "index left out: CREATE INDEX idx_l ON posts (lower(title))" in posts["notes"]
    assert "secret: only admins write it, and no client reads it" in posts["notes"]
    (users,) = (each for each in report["collections"] if each["name"] == "users")
    assert "avatar: names are kept, and the files left where they are" in users["notes"]


def test_a_second_take_over_finds_the_same(url: str, server: Server, pocket: Pocket) -> None:
    blog(pocket)
    take_over(url, pocket)
    refused = Listo(url)(*FROM, pocket.folder)
    assert refused.status == 1
    assert "Nothing was done: these users are here already: " in refused.errors
    pocket.records("posts", {"id": some_id(3), "title": "three", "n": 3})
    report = take_over(url, pocket, "--on-conflict", "skip")
    assert report["restored"]["collections"]["posts"]["records"] == {
        "new": 1, "replaced": 0, "kept": 2
    }  # fmt: skip
    assert report["restored"]["users"]["kept"] == 2


def test_a_dry_run_shows_the_report_and_does_nothing(url: str, pocket: Pocket) -> None:
    blog(pocket)
    before = (pocket.folder / "data.db").read_bytes()
    report = take_over(url, pocket, "--dry-run")
    assert report["restored"] is None
    assert {each["name"]: each["records"] for each in report["collections"]} == {
        "posts": 2, "tags": 1, "users": 2
    }  # fmt: skip
    shown = Listo(url).succeed(*FROM, pocket.folder, "--dry-run").output
    assert "Nothing was done, as --dry-run says." in shown
    assert "posts: 2 records" in shown
    assert fetch(url, "SELECT FROM listo.collections") == []
    assert fetch(url, "SELECT FROM listo.users") == []
    assert (pocket.folder / "data.db").read_bytes() == before


def test_superusers_become_admins_only_if_that_is_said(url: str, pocket: Pocket) -> None:
    blog(pocket)
    pocket.user("_superusers", "root@example.com", PASSWORD)
    report = take_over(url, pocket, "--dry-run")
    assert report["users"]["superusers_left_out"] == 1
    assert "1 superusers are left out; with --superusers they become admins." in report["notes"]
    take_over(url, pocket, "--superusers")
    with serving(settings(url, admin_email=None, admin_password=None)) as server:
        root = server.login("root@example.com", PASSWORD)
        assert root.get("/users").status_code == 200


def test_an_auth_collection_called_admin_makes_no_admins(
    url: str, server: Server, pocket: Pocket
) -> None:
    pocket.collection("admin", [], type="auth")
    pocket.user("admin", "eve@example.com", PASSWORD)
    take_over(url, pocket)
    eve = server.login("eve@example.com", PASSWORD)
    assert eve.get("/auth/me").json()["roles"] == ["admin_users", "member"]
    assert eve.get("/users").status_code == 403


def test_addresses_of_two_collections_belong_to_the_first(
    url: str, server: Server, pocket: Pocket
) -> None:
    for name in ("users", "staff"):
        pocket.collection(name, [], type="auth")
    pocket.user("staff", "ADA@example.com", "another pass")
    pocket.user("users", "ada@example.com", PASSWORD)
    pocket.user("users", "", PASSWORD)
    report = take_over(url, pocket)
    assert report["users"]["clashes"] == ["ada@example.com of staff"]
    assert report["users"]["without_email"] == 1
    assert any("ada@example.com of staff" in note for note in report["notes"])
    assert "users" in server.login("ada@example.com", PASSWORD).get("/auth/me").json()["roles"]


@pytest.mark.parametrize(
    ("options", "may"),
    [
        ({}, (True, True)),
        ({"authRule": "verified = true"}, (True, False)),
        ({"authRule": None}, (False, False)),
        ({"authRule": "name != 'x'"}, (False, False)),
        ({"passwordAuth": {"enabled": False, "identityFields": []}}, (False, False)),
    ],
)
def test_who_could_not_log_in_there_cannot_here(
    url: str, server: Server, pocket: Pocket, options: dict[str, Any], may: tuple[bool, bool]
) -> None:
    pocket.collection("users", [{"name": "name", "type": "text"}], type="auth",
                      options=OPTIONS | options)  # fmt: skip
    pocket.user("users", "ada@example.com", PASSWORD)
    pocket.user("users", "bob@example.com", PASSWORD, verified=False)
    take_over(url, pocket)
    for email, allowed in zip(("ada@example.com", "bob@example.com"), may, strict=True):
        answer = server.client().post("/auth/login", json={"email": email, "password": PASSWORD})
        assert answer.is_success is allowed


def test_what_has_no_place_here_is_named(url: str, pocket: Pocket) -> None:
    pocket.collection(
        "users", [], type="auth",
        options={
            "manageRule": "id = @request.auth.id",
            "oauth2": {"enabled": True, "providers": [{"name": "github"}]},
            "mfa": {"enabled": True},
            "passwordAuth": {"enabled": True, "identityFields": ["username"]},
        },
    )  # fmt: skip
    pocket.collection("stats", [], type="view")
    pocket.user("users", "costly@example.com", PASSWORD)
    pocket.execute("UPDATE users SET password = ?", "$2a$31$" + "x" * 53)
    report = take_over(url, pocket)
    notes = "\n".join(report["notes"])
    for part in (
        "The view stats is left out.", "OAuth2 is left out (github).", "a second factor",
        "manageRule", "not by username", "REGISTRATION=closed", "1 users may not log in",
    ):  # fmt: skip
        assert part in notes
    assert [each["name"] for each in report["collections"]] == ["users"]
    assert fetch(url, "SELECT disabled_at IS NOT NULL FROM listo.users")[0][0] is True


def test_options_that_present_records_do_not_satisfy_are_left_out(url: str, pocket: Pocket) -> None:
    """PocketBase checks no record that was there before an option."""
    pocket.collection(
        "things",
        [
            {"name": "title", "type": "text", "required": True, "max": 3, "pattern": "(?<x>a)\\1"},
            {"name": "n", "type": "number", "onlyInt": True, "max": 10},
            {"name": "link", "type": "url"},
            select("kinds", ["a"], 2),
        ],
    )  # fmt: skip
    pocket.records(
        "things",
        {"id": some_id(1), "title": "", "n": 1, "link": "https://example.com"},
        {"id": some_id(2), "title": "much longer", "n": 2.5, "link": "example"},
        {"id": some_id(3), "title": "a", "n": 99, "kinds": '["b"]'},
        {"id": some_id(4), "title": "a\0b", "n": 1},
        {"id": some_id(5), "title": b"a\xff", "n": 1},
    )
    report = take_over(url, pocket)
    (things,) = report["collections"]
    assert (things["records"], things["left_out"]) == (4, 1)
    assert things["left_out_shown"][0].startswith(some_id(4))
    for part in (
        "title: the pattern means nothing here",
        "title: present records do not satisfy maxLength",
        "title: present records do not satisfy required",
        "n: present records do not satisfy maximum",
        "n: present records do not satisfy type",
        "link: present records do not satisfy format",
        "kinds: present records do not satisfy enum",
    ):
        assert part in "\n".join(things["notes"])


def test_records_that_are_being_written_are_those_of_one_moment(url: str, pocket: Pocket) -> None:
    """The file of a PocketBase that runs: committed records are in its write-ahead log."""
    import sqlite3
    from contextlib import closing

    pocket.collection("things", [{"name": "n", "type": "number"}])
    with closing(sqlite3.connect(pocket.folder / "data.db")) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("INSERT INTO things (id, n) VALUES (?, 1)", [some_id(1)])
        writer.commit()
        writer.execute("INSERT INTO things (id, n) VALUES (?, 2)", [some_id(2)])
        assert (pocket.folder / "data.db-wal").stat().st_size > 0
        report = take_over(url, pocket)
    assert report["collections"][0]["records"] == 1


def test_names_and_ids_get_the_form_that_they_have_here(
    url: str, server: Server, pocket: Pocket
) -> None:
    long = "T" + "x" * 70
    kept = "0190a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b"
    pocket.collection("_Own", [{"name": "version", "type": "text"}], rules={"viewRule": ""})
    pocket.collection(long, [])
    pocket.records("_Own", {"id": kept, "version": "v1"})
    report = take_over(url, pocket)
    assert [each["name"] for each in report["collections"]] == ["c__own", f"c_t{'x' * 45}"]
    record = server.client().get(f"/collections/c__own/records/{kept}").json()
    assert (record["version"], record["version_"]) == (1, "v1")


def test_what_is_no_pocketbase_is_told_in_one_line(url: str, tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    listo = Listo(url)
    missing = f"{tmp_path}/data.db is missing: PocketBase keeps its data in a file of that name."
    assert listo(*FROM, tmp_path).fault == missing
    file = tmp_path / "data.db"
    file.write_text("no database, and long enough to look like one " * 100)
    assert listo(*FROM, tmp_path).fault.startswith(f"{file}: SQLite says: file is not a database")
    file.unlink()
    for columns, fault in (("x", "is no database of PocketBase's."), ("schema", "before 0.23")):
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("DROP TABLE IF EXISTS _collections")
            connection.execute(f"CREATE TABLE _collections ({columns})")
        outcome = listo(*FROM, file)
        assert outcome.status == 1
        assert fault in outcome.fault


def test_another_kind_is_wrong_usage(url: str, tmp_path: Path) -> None:
    assert Listo(url)("import", "--from", "firebase", tmp_path).status == 2


@pytest.mark.parametrize("rule", ["skip", "replace"])
def test_users_that_are_here_already_keep_their_ids_everywhere(
    url: str, server: Server, pocket: Pocket, rule: str
) -> None:
    there = blog(pocket)
    mine = server.member("ada@example.com").get("/auth/me").json()["id"]
    refused = Listo(url)(*FROM, pocket.folder)
    assert "these users are here already: ada@example.com" in refused.errors
    for _ in range(2):
        report = take_over(url, pocket, "--on-conflict", rule)
        assert report["restored"]["users_with_another_id"] == 0
    ada = server.login("ada@example.com", PASSWORD if rule == "replace" else MEMBER)
    profile = ada.get(f"/collections/users/records/{mine}").json()
    assert (profile["owner"], profile["pocketbase_id"]) == (mine, there["ada"])
    # The list rule is about a relation to the user.
    (one,) = ada.get("/collections/posts/records").json()["items"]
    assert one["author"] == mine
    assert ada.get("/auth/me").json()["id"] == mine
