"""Rules of PocketBase are said here with the same meaning, or not at all.

The answers of the real program to all of these were looked at: which records each gives to a
user and to nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.filters.compiler import compile_filter
from app.filters.fields import Fields
from app.filters.language.parser import parse_filter
from app.filters.params import Params
from app.moving.pocketbase.ids import Ids, record_id
from app.moving.pocketbase.names import Naming
from app.moving.pocketbase.rules.translate import Rule, rules_of
from app.moving.pocketbase.schema import schema_of
from app.moving.pocketbase.source import Field, SourceCollection
from fixtures.pocketbase import TIMES, relation, select

if TYPE_CHECKING:
    from typing import Any

_FIELDS: list[dict[str, Any]] = [
    {"name": "title", "type": "text"},
    {"name": "other", "type": "text"},
    {"name": "body", "type": "editor"},
    {"name": "n", "type": "number"},
    {"name": "flag", "type": "bool"},
    {"name": "at", "type": "date"},
    {"name": "meta", "type": "json"},
    {"name": "where", "type": "geoPoint"},
    {"name": "like", "type": "text"},
    {"name": "version", "type": "number"},
    {"name": "pw", "type": "password"},
    select("kind", ["a", "b"]),
    select("kinds", ["a", "b"], 2),
    relation("author", "users"),
    relation("editors", "users", 9),
    relation("tag", "tags"),
    relation("tags", "tags", 9),
    relation("owner", "users"),
    *TIMES,
]


def collection(id_: str, fields: list[dict[str, Any]], type_: str = "base") -> SourceCollection:
    given = [{"name": "id", "type": "text"}, *fields]
    made = tuple(Field(each["name"], each["type"], each) for each in given)
    return SourceCollection(id_, id_, type_, False, made, (), {}, {})


USERS = collection(
    "users",
    [{"name": "email", "type": "email"}, {"name": "verified", "type": "bool"},
     {"name": "bio", "type": "text"}],
    "auth",
)  # fmt: skip
ADMINS = collection("admin", [], "auth")
TAGS = collection("tags", [{"name": "label", "type": "text"}])
POSTS = collection("posts", _FIELDS)
NAMING = Naming([USERS, ADMINS, TAGS, POSTS], Ids())


def said(rule: str, operation: str = "list", of: SourceCollection = POSTS) -> Rule:
    from dataclasses import replace

    given = replace(of, rules={operation: rule})
    (found,) = rules_of(given, NAMING, schema_of(given, NAMING, lambda _: None))
    return found


TAG = record_id("tags", "abcdefghijklmno")
SAID = {
    '@request.auth.id != ""': "@user.id is not null",
    "@request.auth.id = ''": "@user.id is null",
    "@request.auth.id != null": "@user.id is not null",
    "author = @request.auth.id": "author = @user.id",
    "@request.auth.id = author": "author = @user.id",
    "author.id = @request.auth.id": "author = @user.id",
    "author ?= @request.auth.id": "author = @user.id",
    "author != @request.auth.id":
        "(author != @user.id and (@user.id is not null or author is not null))",
    "owner = @request.auth.id": "owner = @user.id",
    "editors.id ?= @request.auth.id": "editors has @user.id",
    "editors:each ?= @request.auth.id": "editors has @user.id",
    "@request.auth.id ?= editors.id": "editors has @user.id",
    "editors ~ @request.auth.id": "editors has @user.id",
    "editors !~ @request.auth.id": "(not (editors has @user.id) and @user.id is not null)",
    '@request.auth.collectionName = "users"': '@user.roles has "users"',
    '@request.auth.collectionId != "users"': 'not (@user.roles has "users")',
    '@request.auth.collectionName = "admin"': '@user.roles has "admin_users"',
    "flag = true": "flag = true",
    "flag != false": "flag != false",
    "true = flag": "flag = true",
    "n > 1.50": "n > 1.50",
    "5 >= n": "n <= 5",
    "version != -3": "version_ != -3",
    'title = "x"': 'title = "x"',
    "title != 'it\\'s \"x\"'": 'title != "it\'s \\"x\\""',
    'like = "x"': '`like` = "x"',
    'title = ""': '(title is null or title = "")',
    "title != null": '(title is not null and title != "")',
    'title ~ "Abc"': 'title ilike "%Abc%"',
    'title !~ "a_b"': 'title not ilike "%a\\\\_b%"',
    'title ~ "a%"': 'title ilike "a%"',
    'kind = "a"': 'kind = "a"',
    'kind ?= "a"': 'kind = "a"',
    'kinds:each ?= "a"': 'kinds has "a"',
    "tag = 'abcdefghijklmno'": f'tag = "{TAG}"',
    "tags.id ?= 'abcdefghijklmno'": f'tags has "{TAG}"',
    'tag = ""': "tag is null",
    "tag != null": "tag is not null",
    'id = "abcdefghijklmno"': f'id = "{record_id("posts", "abcdefghijklmno")}"',
    'id != ""': "id is not null",
    "meta = null": "meta is null",
    'at = ""': "at is null",
    'at > "2024-01-31 10:00:00.000Z"': 'at > "2024-01-31T10:00:00.000Z"',
    'at > "2024-01-31"': 'at >= "2024-01-31T00:00:00.000Z"',
    'at <= "2024-01-31"': '(at < "2024-01-31T00:00:00.000Z" or at is null)',
    'at >= "2024-01-31 10:05"': 'at >= "2024-01-31T10:05:00.000Z"',
    'created < "2024-01-31 10:05:06"': 'created_at < "2024-01-31T10:05:06.000Z"',
    "title = other": "title = other",
    "flag = true && n = 1 || n = 2": "((flag = true and n = 1) or n = 2)",
    "flag = true && (n = 1 || n = 2)": "(flag = true and (n = 1 or n = 2))",
    'flag=true&&title="a && b" // and so on': '(flag = true and title = "a && b")',
    "": "",
    "  ": "",
}  # fmt: skip
# Each with a word of the reason.
UNSAID = {
    "editors ?= @request.auth.id": "several values",
    "editors = @request.auth.id": "several values",
    "editors.id = @request.auth.id": "several values",
    "kinds = 'a'": "several values",
    "kinds ~ 'a'": "several values",
    "kinds:each = 'a'": "several values",
    "kinds:each ?!= 'a'": "several values",
    "title = @request.auth.id": "no id of a user",
    "tag = @request.auth.id": "no id of a user",
    "id = @request.auth.id": "no id of a user",
    "author.name = 'x'": "another record",
    "author.id != @request.auth.id": "another record",
    "meta.a = 1": "another record, or into one",
    "where.lat > 1": "another record, or into one",
    "@request.auth.verified = true": "id and roles",
    "@request.auth.role = 'x'": "id and roles",
    "@request.auth.id = 'abcdefghijklmno'": "id and roles",
    "@request.auth.collectionName = '_superusers'": "id and roles",
    "@request.auth.id = @request.auth.id": "",
    "@request.body.title = 'x'": "before the change",
    "@request.query.q = 'x'": "no counterpart",
    "@request.headers.x_token = 'x'": "no counterpart",
    "@request.method = 'GET'": "no counterpart",
    "@collection.tags.id ?= id": "no counterpart",
    "created >= @now": "no counterpart",
    "tags:length > 1": "no counterpart",
    "title:lower = 'x'": "no counterpart",
    "title:isset = true": "no counterpart",
    "missing = 1": "no counterpart",
    "pw = 'x'": "no field",
    "geoDistance(where.lon, where.lat, 1, 2) < 5": "no counterpart",
    "title > 'a'": "another order",
    "title ~ 'é'": "case",
    "title ~ ''": "case",
    "title = 2": "a text",
    "title = 'a\\b'": "backslash",
    "title = 'a\\'": "not understood",
    "'x' ~ title": "on its left",
    "n = '1'": "another thing",
    "n = null": "another thing",
    "n ~ 1": "another thing",
    "flag = 1": "another thing",
    "meta = ''": "another thing",
    "where = ''": "another thing",
    "id ~ 'a'": "other ones",
    "tag > 'a'": "other ones",
    "at = '2024-01-31'": "no time equals",
    "at > 'soon'": "no time",
    "at > '2024-02-31'": "no time",
    "title != other": "no counterpart",
    "title = n": "no counterpart",
    "at = created": "no counterpart",
    "'a' = 'a'": "no field",
    "flag": "its end",
    "flag = true &&": "its end",
    "(flag = true": "closed",
    "flag = true)": "not understood",
    "flag = true ; n = 1": "not understood",
    "(" * 30 + "flag = true" + ")" * 30: "levels",
    " && ".join(["flag = true"] * 101): "",
}


@pytest.mark.parametrize(("rule", "expected"), SAID.items())
def test_a_rule_that_means_the_same_is_said(rule: str, expected: str) -> None:
    found = said(rule)
    assert (found.here, found.why) == (expected, None)
    if expected:
        compile_filter(
            parse_filter(expected), Fields(schema_of(POSTS, NAMING, lambda _: None)), Params()
        )


@pytest.mark.parametrize(("rule", "reason"), UNSAID.items())
def test_a_rule_that_would_mean_another_thing_is_for_admins_only(rule: str, reason: str) -> None:
    found = said(rule)
    assert found.here is None
    assert found.why is not None
    assert reason in found.why


def test_no_two_collections_share_a_name_or_a_role() -> None:
    long = "x" * 60
    names = [
        f"{long}a",
        f"{long}b",
        "Admin",
        "admin",
        "admin_users",
        "member",
        "A b",
        "a_b",
        "_a_b",
    ]
    naming = Naming([collection(each, [], "auth") for each in names], Ids())
    assert len(set(naming.names.values())) == len(set(naming.roles.values())) == len(names)
    assert not {"admin", "member"} & set(naming.roles.values())


def test_no_rule_stays_for_admins_only() -> None:
    from dataclasses import replace

    given = replace(POSTS, rules={"list": None})
    (found,) = rules_of(given, NAMING, {})
    assert (found.here, found.why) == (None, None)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("@request.body.author = @request.auth.id", "author = @user.id"),
        ("@request.data.owner = @request.auth.id", "owner = @user.id"),
        ("@request.body.kind != 'b'", 'kind != "b"'),
        ("@request.body.flag = false", None),
        ("@request.body.title:isset = false", None),
        ("@request.body.title ~ 'x'", None),
        ("@request.body.editors ~ @request.auth.id", None),
    ],
)
def test_what_a_client_sends_is_the_new_record(rule: str, expected: str | None) -> None:
    assert said(rule, "create").here == expected
    assert said(rule, "update").here is None


def test_rules_of_users_are_about_their_records() -> None:
    assert said("id = @request.auth.id", "read", USERS).here == "id = @user.id"
    assert said("id != @request.auth.id", "read", USERS).here == "id != @user.id"
    assert said("verified = true", "list", USERS).here == "verified = true"
    assert said('email ~ "x"', "list", USERS).here is None
    for operation in ("create", "delete"):
        assert said("", operation, USERS).here is None
