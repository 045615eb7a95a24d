"""A data directory that the real PocketBase made, while it runs: 10,000 records, users with their
passwords, and rules that show the same records as there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.cluster import database, fetch
from fixtures.listo import Listo
from fixtures.real_pocketbase import (
    PASSWORD,
    ROOT,
    RealPocketBase,
    fields,
    pocketbase,
    record,
    rules,
)
from fixtures.server import Server, serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

RECORDS = int(os.environ.get("RECORDS") or 10_000)
USERS = 12
# Each is the list rule of a collection of its own, there and here.
RULES = [
    '@request.auth.id != ""',
    '@request.auth.id = ""',
    "author = @request.auth.id",
    "@request.auth.id = author",
    "author != @request.auth.id",
    "author.id = @request.auth.id",
    "author ?= @request.auth.id",
    "owner = @request.auth.id",
    "owner != @request.auth.id",
    "editors.id ?= @request.auth.id",
    "editors:each ?= @request.auth.id",
    "editors ~ @request.auth.id",
    "editors !~ @request.auth.id",
    '@request.auth.collectionName = "users"',
    '@request.auth.collectionName != "users"',
    "flag = true",
    "flag != true",
    "flag = false",
    "n > 3",
    "n <= 3.5",
    "n = 0",
    "n != 0",
    "4 > n",
    'title = "Title 3"',
    'title != "Title 3"',
    'title ~ "TITLE 1"',
    'title !~ "title 1"',
    'title ~ "%1"',
    'title ~ "Title_1"',
    'other = ""',
    'other != ""',
    "other = title",
    "mail = null",
    'kind = "a"',
    'kind != "a"',
    'kinds:each ?= "b"',
    'tag = ""',
    'tag != ""',
    'at = ""',
    "at != null",
    'at > "2024-01-05"',
    'at <= "2024-01-05"',
    'at >= "2024-01-05 10:00:00.000Z"',
    'at < "2024-01-05 10:00"',
    'created > "2024-01-05"',
    "meta = null",
    "meta != null",
    'id != ""',
    'flag = true && n > 2 || kind = "b"',
    'flag = true && (n > 2 || kind = "b")',
]
UNSAID = [
    "editors ?= @request.auth.id",
    "@request.auth.verified = true",
    "tags:length > 1",
    "tag.label = 'x'",
    "created >= @now",
    "where.lat > 5",
    '@request.query.q = "x"',
]


class Moved:
    """Both programs, and the same collections in both."""

    def __init__(self, there: RealPocketBase, here: Server, url: str, report: Any) -> None:
        self.there, self.here, self.url, self.report = there, here, url, report

    def visible(self, name: str, client: httpx.Client) -> set[str]:
        answer = client.get(
            f"/collections/{name}/records", params={"limit": 500, "fields": "pocketbase_id"}
        )
        if answer.status_code in (401, 403, 404):
            return set()
        return {each["pocketbase_id"] for each in answer.json()["items"]}


@pytest.fixture(scope="module")
def moved(cluster_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    folder = tmp_path_factory.mktemp("pocketbase")
    with pocketbase(folder) as there, database(cluster_url) as url:
        users = [there.user(number) for number in range(USERS)]
        tags_id = there.collection(
            "Tags", [{"name": "label", "type": "text"}], rules("") | {"viewRule": ""}
        )
        tags = there.add("Tags", [{"label": f"tag {number}"} for number in range(5)])
        of_all = fields(there.users_id(), tags_id)
        there.collection(
            "posts", of_all, rules('@request.auth.id != ""') | {"viewRule": ""},
            indexes=["CREATE UNIQUE INDEX idx_title ON posts (title)"],
        )  # fmt: skip
        there.add("posts", [record(number, users, tags) for number in range(RECORDS)])
        for number, rule in enumerate([*RULES, *UNSAID]):
            there.collection(f"rule_{number}", of_all, rules(rule))
            there.add(f"rule_{number}", [record(each, users, tags) for each in range(12)])
        there.collection("view", [], {}, type="view", viewQuery="SELECT id, title FROM posts")
        with serving(settings(url)) as here:
            listo = Listo(url)
            report = listo.succeed(
                "import", "--from", "pocketbase", there.data, "--superusers", "--json"
            ).report
            yield Moved(there, here, url, report)


def test_all_records_come_over(moved: Moved) -> None:
    counts = {each["name"]: each for each in moved.report["collections"]}
    assert counts["posts"]["records"] == RECORDS
    assert counts["posts"]["left_out"] == 0
    assert not any("do not satisfy" in note for each in counts.values() for note in each["notes"])
    assert fetch(moved.url, "SELECT count(*) FROM records.posts")[0][0] == RECORDS
    query = {"filter": 'title = "Title 4"'}
    client = moved.here.login("u4@example.com", PASSWORD.format(4))
    (found,) = client.get("/collections/posts/records", params=query).json()["items"]
    there = moved.there.call("GET", f"/collections/posts/records/{found['pocketbase_id']}")
    for name in ("title", "other", "body", "n", "flag", "mail", "link", "meta", "where", "kind",
                 "kinds"):  # fmt: skip
        assert found[name] == there[name], name
    assert found["owner"] == found["author"] == client.get("/auth/me").json()["id"]
    assert found["created_at"][:23] == there["created"][:23].replace(" ", "T")
    assert "secret" not in found


def test_users_log_in_with_their_old_passwords(moved: Moved) -> None:
    for number in range(USERS):
        client = moved.here.login(f"u{number}@example.com", PASSWORD.format(number))
        assert client.get("/auth/me").json()["name"] == f"User {number}"
        wrong = {"email": f"u{number}@example.com", "password": PASSWORD.format("x")}
        assert moved.here.client().post("/auth/login", json=wrong).status_code == 401
    admin = moved.here.login(ROOT["email"], ROOT["password"])
    assert admin.get("/users").is_success
    query = "SELECT count(*) FROM listo.users WHERE password_hash LIKE '$2%'"
    assert fetch(moved.url, query)[0][0] == 0


@pytest.mark.parametrize("number", range(len(RULES)), ids=RULES)
def test_rules_show_the_records_that_they_show_there(moved: Moved, number: int) -> None:
    name = f"rule_{number}"
    (collection,) = (each for each in moved.report["collections"] if each["name"] == name)
    (rule,) = (each for each in collection["rules"] if each["operation"] == "list")
    assert rule["why"] is None
    for user in (0, 4, 5):
        token = moved.there.login("users", f"u{user}@example.com", PASSWORD.format(user))
        client = moved.here.login(f"u{user}@example.com", PASSWORD.format(user))
        assert moved.visible(name, client) == moved.there.visible(name, token)
    nobody = moved.visible(name, moved.here.client())
    assert nobody <= moved.there.visible(name, "")


def test_rules_that_cannot_be_said_let_only_admins_through(moved: Moved) -> None:
    client = moved.here.login("u4@example.com", PASSWORD.format(4))
    admin = moved.here.login(ROOT["email"], ROOT["password"])
    for number in range(len(RULES), len(RULES) + len(UNSAID)):
        (collection,) = (
            each for each in moved.report["collections"] if each["name"] == f"rule_{number}"
        )
        (rule,) = (each for each in collection["rules"] if each["operation"] == "list")
        assert rule["here"] is None
        assert rule["why"]
        assert moved.visible(f"rule_{number}", client) == set()
        assert len(moved.visible(f"rule_{number}", admin)) == 12


def test_what_does_not_come_is_named(moved: Moved) -> None:
    assert "The view view is left out." in moved.report["notes"]
    (posts,) = (each for each in moved.report["collections"] if each["name"] == "posts")
    assert "pic: names are kept, and the files left where they are" in posts["notes"]
    again = Listo(moved.url)(
        "import", "--from", "pocketbase", moved.there.data, "--on-conflict", "skip", "--json"
    )
    kept = again.report["restored"]["collections"]["posts"]["records"]
    assert kept == {"new": 0, "replaced": 0, "kept": RECORDS}
