"""`listo admin …` and `listo keys …`: admins and keys work on a server that is running."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from fixtures.cluster import execute, fetch
from fixtures.listo import Listo
from fixtures.server import PASSWORD

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

NEW_PASSWORD = "quite another password"


@pytest.fixture(scope="module")
def listo(database_url: str) -> Listo:
    return Listo(database_url)


@pytest.fixture
def email() -> str:
    """An address that no user has yet."""
    return f"{uuid4().hex}@example.com"


@pytest.fixture
def member(server: Server, email: str) -> httpx.Client:
    return server.member(email)


def status_of(client: httpx.Client, path: str) -> int:
    return client.get(path).status_code


def wait_until_refused(client: httpx.Client) -> None:
    """Another process's change comes by notification, soon after the command ends."""
    deadline = datetime.now(UTC) + timedelta(seconds=20)
    while client.get("/auth/me").status_code != 401:
        assert datetime.now(UTC) < deadline, "the session still works"


def test_an_admin_is_made_and_administers(listo: Listo, server: Server, email: str) -> None:
    outcome = listo.succeed("admin", "create", email.upper(), "--password", PASSWORD)
    assert outcome.output == f"Made the admin {email}.\n"
    client = server.login(email)
    assert sorted(client.get("/auth/me").json()["roles"]) == ["admin", "member"]
    assert client.get("/users").status_code == 200


def test_json_names_the_new_admin(listo: Listo, server: Server, email: str) -> None:
    outcome = listo.succeed("admin", "create", email, "--password", PASSWORD, "--json")
    id_ = server.login(email).get("/auth/me").json()["id"]
    assert outcome.report == {"id": id_, "email": email}


def test_the_password_is_asked_for_twice(listo: Listo, server: Server, email: str) -> None:
    answers = f"{PASSWORD}\nsomething else\n{PASSWORD}\n{PASSWORD}\n"
    outcome = listo.succeed("admin", "create", email, answers=answers)
    assert PASSWORD not in outcome.output + outcome.errors
    assert server.login(email)


def test_without_a_password_no_admin_is_made(listo: Listo, database_url: str, email: str) -> None:
    assert listo("admin", "create", email).status == 1
    assert not fetch(database_url, "SELECT 1 FROM listo.users WHERE email = $1", email)


def test_the_password_may_come_from_the_environment(
    listo: Listo, server: Server, email: str
) -> None:
    assert listo("admin", "create", email, LISTO_PASSWORD=PASSWORD).status == 0
    assert server.login(email)


def test_no_user_is_made_twice(listo: Listo, member: httpx.Client, email: str) -> None:
    outcome = listo("admin", "create", email, "--password", NEW_PASSWORD)
    assert outcome.status == 1
    assert outcome.fault == "There already is a user with this e-mail address."
    assert member.get("/auth/me").json()["roles"] == ["member"]


@pytest.mark.parametrize("command", ["create", "reset-password"])
def test_bad_addresses_and_passwords_are_told_at_once(listo: Listo, command: str) -> None:
    outcome = listo("admin", command, "nobody", "--password", "short")
    assert outcome.status == 1
    assert "/email: " in outcome.fault
    assert "/password: String should have at least 10 characters" in outcome.fault


def test_a_reset_password_ends_sessions(
    listo: Listo, server: Server, member: httpx.Client, email: str
) -> None:
    assert status_of(member, "/auth/me") == 200
    outcome = listo.succeed("admin", "reset-password", email, "--password", NEW_PASSWORD)
    assert outcome.output == f"{email} has a new password.\n"
    wait_until_refused(member)
    old = {"email": email, "password": PASSWORD}
    assert server.client().post("/auth/login", json=old).status_code == 401
    assert server.login(email, NEW_PASSWORD)


def test_a_reset_needs_a_user(listo: Listo, email: str) -> None:
    outcome = listo("admin", "reset-password", email, "--password", PASSWORD, "--json")
    assert outcome.status == 1
    assert outcome.report.keys() == {"error"}


def test_a_key_acts_as_its_user_within_its_scopes(
    listo: Listo, server: Server, member: httpx.Client, email: str
) -> None:
    outcome = listo.succeed("keys", "create", email.upper(), "--scope", "records:read")
    client = server.client(outcome.output.strip())
    assert client.get("/auth/me").json()["email"] == email
    assert status_of(client, "/collections") == 200
    assert status_of(client, "/users") == 403
    (key,) = member.get("/auth/api-keys").json()["items"]
    assert key["scopes"] == ["records:read"]
    assert (key["name"], key["collections"], key["expires_at"]) == ("command line", None, None)


def test_a_key_takes_name_collections_and_days(
    listo: Listo, server: Server, member: httpx.Client, email: str
) -> None:
    for name in ("notes", "tags"):
        body = {"schema": {}, "rules": {"read": ""}}
        assert server.admin().put(f"/collections/{name}", json=body).is_success
    outcome = listo.succeed(
        "keys", "create", email, "--scope", "records:read", "--scope", "records:write",
        "--name", "Nightly import", "--collection", "notes", "--collection", "tags",
        "--days", "30", "--rate-limit", "10/second, 600/minute", "--json",
    )  # fmt: skip
    assert status_of(server.client(outcome.report["key"]), "/auth/me") == 200
    (key,) = member.get("/auth/api-keys").json()["items"]
    assert key["name"] == "Nightly import"
    assert key["rate_limit"] == "10/second, 600/minute"
    assert sorted(key["scopes"]) == ["records:read", "records:write"]
    assert sorted(key["collections"]) == ["notes", "tags"]
    left = datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)


def test_keys_of_admins_may_administer(listo: Listo, server: Server, email: str) -> None:
    listo.succeed("admin", "create", email, "--password", PASSWORD)
    outcome = listo.succeed("keys", "create", email, "--scope", "users:admin")
    client = server.client(outcome.output.strip())
    assert status_of(client, "/users") == 200


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--scope", "users:admin"), "A key can only be given what its maker may do."),
        (("--scope", "records:read", "--name", ""), "/name"),
        (("--scope", "records:read", "--name", "x" * 201), "/name"),
        (("--scope", "records:read", "--collection", "No name"), "/collections/0"),
    ],
)
def test_keys_that_nobody_may_have(
    listo: Listo, member: httpx.Client, email: str, arguments: tuple[str, ...], fault: str
) -> None:
    outcome = listo("keys", "create", email, *arguments)
    assert outcome.status == 1
    assert fault in outcome.fault
    assert member.get("/auth/api-keys").json()["items"] == []


def test_a_key_needs_a_user_who_may_log_in(
    listo: Listo, member: httpx.Client, database_url: str, email: str
) -> None:
    create = ("keys", "create", "--scope", "records:read")
    outcome = listo(*create, "nobody@example.com")
    assert (outcome.status, outcome.fault) == (1, "There is no user nobody@example.com.")
    execute(database_url, f"UPDATE listo.users SET disabled_at = now() WHERE email = '{email}'")
    outcome = listo(*create, email)
    assert (outcome.status, outcome.fault) == (1, f"The user {email} is disabled.")
