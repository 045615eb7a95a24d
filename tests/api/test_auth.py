"""Registration, login and passwords: the answers, and how little these tell strangers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
from argon2 import PasswordHasher
from prometheus_client import REGISTRY

from app.auth.dependencies import CurrentActor
from app.auth.identity import secrets
from app.observability.log import redact
from fixtures.cluster import execute, fetch
from fixtures.server import ADMIN, PASSWORD

if TYPE_CHECKING:
    import httpx

    from app.auth.passwords.pool import Match, Passwords
    from fixtures.server import Server

NEW = "another long password"


def hashes() -> float:
    """The number of passwords that this process has hashed so far."""
    return REGISTRY.get_sample_value("listo_password_hash_seconds_count") or 0.0


def log_in(client: httpx.Client, email: str, password: str = PASSWORD) -> httpx.Response:
    return client.post("/auth/login", json={"email": email, "password": password})


# who, method, path, body, status, code
ROWS: list[tuple[str, str, str, Any, int, str | None]] = [
    ("anonymous", "GET", "/auth/me", None, 401, "authentication_required"),
    ("ada", "GET", "/auth/me", None, 200, None),
    ("anonymous", "POST", "/auth/logout", None, 401, "authentication_required"),
    ("anonymous", "POST", "/auth/password",
     {"current_password": PASSWORD, "new_password": NEW}, 401, "authentication_required"),
    ("ada", "POST", "/auth/password",
     {"current_password": "wrong", "new_password": NEW}, 401, "invalid_credentials"),
    ("ada", "POST", "/auth/password",
     {"current_password": PASSWORD, "new_password": "short"}, 422, "validation_failed"),
    ("anonymous", "POST", "/auth/login", {"email": "ada@example.com", "password": PASSWORD}, 200,
     None),
    ("anonymous", "POST", "/auth/login", {"email": "ada@example.com", "password": ""}, 401,
     "invalid_credentials"),
    ("anonymous", "POST", "/auth/login", {"email": "", "password": PASSWORD}, 401,
     "invalid_credentials"),
    ("anonymous", "POST", "/auth/login", {"email": "ada@example.com", "password": "x" * 1025}, 422,
     "validation_failed"),
    ("anonymous", "POST", "/auth/register", {"email": "a@example.com", "password": "x" * 1024},
     201, None),
    ("anonymous", "POST", "/auth/register", {"email": "b@example.com", "password": "x" * 9}, 422,
     "validation_failed"),
    ("anonymous", "POST", "/auth/register", {"email": "b@example.com", "password": "x" * 1025},
     422, "validation_failed"),
    ("anonymous", "POST", "/auth/register",
     {"email": "b@example.com", "password": PASSWORD, "name": "x" * 201}, 422,
     "validation_failed"),
    ("anonymous", "POST", "/auth/register",
     {"email": "b@example.com", "password": PASSWORD, "roles": ["admin"]}, 422,
     "validation_failed"),
    ("anonymous", "POST", "/auth/register", {"email": "ADA@example.com", "password": PASSWORD},
     409, "email_taken"),
    ("anonymous", "POST", "/auth/register", {"email": "ada@", "password": PASSWORD}, 422,
     "validation_failed"),
    ("anonymous", "POST", "/auth/refresh", {"refresh_token": "lr_" + "x" * 43}, 401,
     "invalid_token"),
    ("anonymous", "POST", "/auth/refresh", {}, 422, "validation_failed"),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[2]} {row[4]} {row[5]}")
def test_each_request_has_its_status_and_code(
    request: pytest.FixtureRequest,
    ada: httpx.Client,
    row: tuple[str, str, str, Any, int, str | None],
) -> None:
    who, method, path, body, status, code = row
    client: httpx.Client = request.getfixturevalue(who)
    response = client.request(method, path, json=body)
    assert response.status_code == status, response.text
    assert response.json().get("code") == code
    assert response.headers["cache-control"] == "no-store"


def test_a_new_account_is_a_member(server: Server, anonymous: httpx.Client) -> None:
    body = {"email": "Grace.Hopper@Example.COM", "password": PASSWORD, "name": "Grace"}
    made = anonymous.post("/auth/register", json=body)
    assert made.status_code == 201
    assert made.json()["email"] == "grace.hopper@example.com"
    assert made.json()["roles"] == ["member"]
    assert PASSWORD not in made.text
    assert "hash" not in made.text
    assert server.login("grace.hopper@example.com").get("/auth/me").json() == made.json()


def test_of_many_registrations_at_once_one_gets_the_address(server: Server) -> None:
    body = {"email": "rush@example.com", "password": PASSWORD}
    clients = [server.client() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = pool.map(lambda client: client.post("/auth/register", json=body), clients)
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5


# {} stands for a valid access token.
FIELDS = [
    ("Bearer {}", 200), ("bearer {}", 200), ("BEARER {}", 200),
    ("{}", 401), ("Basic {}", 401), ("Bearer", 401), ("", 401),
    ("Bearer {} x", 401), ("Bearer {},", 401), ("Bearer {}, Bearer {}", 401), ("Bearer\t{}", 401),
    ("Bearer lk_{}", 401), ("Bearer lr_{}", 401), ("Bearer \xe9", 401), ("Bearer lk_\xff", 401),
    ("Token {}", 401), ("Bearer " + "x" * 20_000, 401),
]  # fmt: skip


@pytest.mark.parametrize(("field", "status"), FIELDS, ids=range(len(FIELDS)))
def test_only_a_bearer_token_is_taken(
    anonymous: httpx.Client, ada: httpx.Client, field: str, status: int
) -> None:
    token = str(ada.headers["authorization"]).removeprefix("Bearer ")
    value = field.replace("{}", token).encode("latin-1")
    response = anonymous.get("/auth/me", headers={b"Authorization": value})
    assert response.status_code == status, response.text
    if status == 401:
        assert response.json()["code"] == "invalid_token"
        assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    "spelled",
    [
        "RENE\u0301@EXAMPLE.com",
        "ren\u00e9@example.com",
        " ren\u00e9@example.com ",
        "Ren\u00c9@Example.Com",
    ],
)
def test_an_address_is_one_however_it_is_spelled(
    server: Server, anonymous: httpx.Client, spelled: str
) -> None:
    body = {"email": "Ren\u00e9@example.com", "password": PASSWORD}
    assert anonymous.post("/auth/register", json=body).status_code in (201, 409)
    assert log_in(anonymous, spelled).status_code == 200
    if spelled == spelled.strip():
        again = anonymous.post("/auth/register", json={"email": spelled, "password": PASSWORD})
        assert again.status_code == 409


@pytest.mark.parametrize(
    "email",
    [
        "\u0130stanbul@example.com",
        "\u1e9e@example.com",
        "\u03a3\u03a3@example.com",
        "\ua7cb@example.com",
        "\U00010d50@example.com",
        "\u01c5@example.com",
        '"a b"@example.com',
        "a@[127.0.0.1]",
        "a@xn--mller-kva.example.com",
        "a@b\u00fccher.example.com",
        "x@" + "a." * 120 + "com",
        "\u202ea@example.com",
        "a\u0000@example.com",
        "a\n@example.com",
    ],
)
def test_odd_addresses_are_taken_or_refused(anonymous: httpx.Client, email: str) -> None:
    body = {"email": email, "password": PASSWORD}
    made = anonymous.post("/auth/register", json=body)
    assert made.status_code in (201, 422), made.text
    if made.status_code == 201:
        assert log_in(anonymous, email).status_code == 200
        assert log_in(anonymous, made.json()["email"]).status_code == 200


def test_log_ins_fail_alike_for_unknown_and_disabled_users_and_wrong_passwords(
    server: Server, admin: httpx.Client, anonymous: httpx.Client
) -> None:
    gone = server.member("gone@example.com").get("/auth/me").json()["id"]
    assert admin.patch(f"/users/{gone}", json={"disabled": True}).status_code == 200
    tries = [
        ("nobody@example.com", PASSWORD),
        ("not an address", PASSWORD),
        (ADMIN["email"], "a wrong password"),
        ("gone@example.com", PASSWORD),
        ("gone@example.com", "a wrong password"),
    ]
    answers = set()
    for email, password in tries:
        before = hashes()
        response = log_in(anonymous, email, password)
        # Hashing takes most of the time, so each try has to hash once.
        assert hashes() - before == 1
        problem = response.json()
        del problem["request_id"]
        answers.add((response.status_code, str(problem), response.headers["www-authenticate"]))
    assert len(answers) == 1
    assert answers.pop()[0] == 401


def test_a_hash_of_old_parameters_is_renewed(
    server: Server, database_url: str, anonymous: httpx.Client
) -> None:
    server.member("old@example.com")
    old = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    query = "SELECT password_hash FROM listo.users WHERE email = 'old@example.com'"
    execute(
        database_url, f"UPDATE listo.users SET password_hash = '{old}' WHERE email LIKE 'old@%'"
    )
    assert log_in(anonymous, "old@example.com", "a wrong password").status_code == 401
    assert fetch(database_url, query)[0][0] == old
    assert log_in(anonymous, "old@example.com").status_code == 200
    assert fetch(database_url, query)[0][0].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert log_in(anonymous, "old@example.com").status_code == 200


COMPOSED, DECOMPOSED = "pass w\u00f6rd \u1ebf", "pass wo\u0308rd e\u0302\u0301"


def test_a_hash_of_bcrypt_is_renewed_by_the_first_log_in(
    server: Server, anonymous: httpx.Client, database_url: str
) -> None:
    server.member("moved@example.com")
    password = "pass w\u00f6rd \U0001f600"
    # As Go's bcrypt writes it.
    old = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4, b"2a")).decode()
    query = "SELECT password_hash FROM listo.users WHERE email = 'moved@example.com'"
    execute(
        database_url, f"UPDATE listo.users SET password_hash = '{old}' WHERE email LIKE 'moved@%'"
    )
    for wrong in ("a wrong password", "", "x" * 73):
        assert log_in(anonymous, "moved@example.com", wrong).status_code == 401
    assert fetch(database_url, query)[0][0] == old
    assert log_in(anonymous, "moved@example.com", password).status_code == 200
    assert fetch(database_url, query)[0][0].startswith("$argon2id$")
    assert log_in(anonymous, "moved@example.com", password).status_code == 200


@pytest.mark.parametrize("given", [COMPOSED, DECOMPOSED])
def test_a_password_is_one_however_its_letters_are_composed(
    server: Server, anonymous: httpx.Client, given: str
) -> None:
    email = f"typed-{len(given)}@example.com"
    made = anonymous.post("/auth/register", json={"email": email, "password": given})
    assert made.status_code == 201
    for typed in (COMPOSED, DECOMPOSED):
        client = server.login(email, typed)
        change = {"current_password": typed, "new_password": given}
        assert client.post("/auth/password", json=change).status_code == 204
    assert log_in(anonymous, email, "pass word \u1ebf").status_code == 401


def test_a_hash_of_letters_that_were_typed_apart_stays_valid(
    server: Server, database_url: str, anonymous: httpx.Client
) -> None:
    server.member("apart@example.com")
    old = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1).hash(DECOMPOSED)
    execute(database_url, f"UPDATE listo.users SET password_hash = '{old}' WHERE email ~ '^apart'")
    before = hashes()
    assert log_in(anonymous, "apart@example.com", "wo\u0308rd, a wrong one").status_code == 401
    known = hashes() - before
    assert log_in(anonymous, "nobody@example.com", "wo\u0308rd, a wrong one").status_code == 401
    # The time does not tell who exists.
    assert hashes() - before == 2 * known
    assert log_in(anonymous, "apart@example.com", DECOMPOSED).status_code == 200
    # From now on the other form matches, too.
    assert log_in(anonymous, "apart@example.com", COMPOSED).status_code == 200


def test_the_length_of_a_password_counts_composed_letters(anonymous: httpx.Client) -> None:
    body = {"email": "short@example.com", "password": "e\u0301" * 9}
    refused = anonymous.post("/auth/register", json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/password"


def test_a_new_password_ends_the_other_sessions(server: Server, anonymous: httpx.Client) -> None:
    here, there = server.member("change@example.com"), server.login("change@example.com")
    tokens = log_in(anonymous, "change@example.com").json()
    body = {"current_password": PASSWORD, "new_password": NEW}
    assert here.post("/auth/password", json=body).status_code == 204
    assert here.get("/auth/me").status_code == 200
    assert there.get("/auth/me").status_code == 401
    assert anonymous.post(
        "/auth/refresh", json={"refresh_token": tokens["refresh_token"]}
    ).status_code == 401  # fmt: skip
    assert log_in(anonymous, "change@example.com").status_code == 401
    assert log_in(anonymous, "change@example.com", NEW).status_code == 200


def test_the_end_of_many_sessions_is_one_message(
    server: Server, database_url: str, anonymous: httpx.Client
) -> None:
    here = server.member("many@example.com")
    others = [server.login("many@example.com") for _ in range(5)]
    number = "SELECT number FROM listo.changes"
    before = fetch(database_url, number)[0][0]
    body = {"current_password": PASSWORD, "new_password": NEW}
    assert here.post("/auth/password", json=body).status_code == 204
    assert fetch(database_url, number)[0][0] == before + 1
    assert here.get("/auth/me").status_code == 200
    assert [other.get("/auth/me").status_code for other in others] == [401] * 5


def during_the_check(server: Server, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """Have the next check of a password commit `statement`, before its caller goes on."""
    passwords: Passwords = server.services.passwords
    verify = passwords.verify
    pending = [statement]

    async def verify_slowly(password: str, hashed: str | None) -> Match:
        matches = await verify(password, hashed)
        if pending:
            await server.services.database.execute(pending.pop())
        return matches

    monkeypatch.setattr(passwords, "verify", verify_slowly)


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE listo.users SET password_hash = '{PasswordHasher().hash(NEW)}'",
        "UPDATE listo.users SET disabled_at = now()",
    ],
)
def test_a_login_fails_if_the_user_changes_meanwhile(
    server: Server,
    anonymous: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    email = f"race-{len(change)}@example.com"
    server.member(email)
    during_the_check(server, monkeypatch, f"{change} WHERE email = '{email}'")
    assert log_in(anonymous, email).json()["code"] == "invalid_credentials"


def test_a_login_renews_no_hash_that_changed_meanwhile(
    server: Server, anonymous: httpx.Client, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.member("renew@example.com")
    update = "UPDATE listo.users SET password_hash = '{}' WHERE email = 'renew@example.com'"
    old = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    execute(database_url, update.format(old))
    during_the_check(server, monkeypatch, update.format(PasswordHasher().hash(NEW)))
    assert log_in(anonymous, "renew@example.com").status_code == 401
    assert log_in(anonymous, "renew@example.com", NEW).status_code == 200


def test_a_change_of_password_does_not_undo_another(
    server: Server, anonymous: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = server.member("twice@example.com")
    update = "UPDATE listo.users SET password_hash = '{}' WHERE email = 'twice@example.com'"
    during_the_check(server, monkeypatch, update.format(PasswordHasher().hash(NEW)))
    body = {"current_password": PASSWORD, "new_password": "the thief's own password"}
    assert client.post("/auth/password", json=body).json()["code"] == "invalid_credentials"
    assert log_in(anonymous, "twice@example.com", NEW).status_code == 200


@pytest.mark.parametrize("path", ["/healthcare", "/health/records", "/metrics2", "/docs.json"])
def test_names_like_those_of_probes_are_protected(
    server: Server, ada: httpx.Client, anonymous: httpx.Client, path: str
) -> None:
    @server.app.get(path)
    async def whoever(actor: CurrentActor) -> str:
        return actor.kind

    assert ada.get(path).json() == "user"
    assert anonymous.get(path).json() == "anonymous"
    assert server.client("x.y.z").get(path).status_code == 401
    assert ada.get(path, headers={"X-Large": "x" * 40_000}).status_code == 431


@pytest.mark.parametrize("prefix", [secrets.API_KEY, secrets.REFRESH_TOKEN])
def test_a_credential_that_gets_into_a_line_is_cut_out(prefix: str) -> None:
    text, _ = secrets.make(prefix)
    assert text.removeprefix(prefix) not in redact(f"what is {text}?")


def test_no_secret_is_logged(
    server: Server, anonymous: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    body = {"email": "quiet@example.com", "password": PASSWORD}
    anonymous.post("/auth/register", json=body)
    tokens = log_in(anonymous, "quiet@example.com").json()
    client = server.client(tokens["access_token"])
    key = client.post("/auth/api-keys", json={"name": "x", "scopes": ["records:read"]}).json()
    server.client(key["key"]).get("/auth/me")
    anonymous.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    log_in(anonymous, "quiet@example.com", NEW)
    client.get("/auth/me", headers={"Authorization": f"Basic {NEW}"})
    anonymous.post("/auth/login", content=f'{{"password":"{NEW}"', headers={
        "Content-Type": "application/json"})  # fmt: skip
    client.get("/health")
    output = "".join(capfd.readouterr())
    assert "/auth/login" in output
    for secret in (PASSWORD, NEW, tokens["access_token"], tokens["refresh_token"], key["key"]):
        assert secret not in output
