"""The example extension, loaded as a user would load it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.core.env_file import SettingsError
from fixtures.cluster import fetch
from fixtures.server import serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fixtures.server import Server


@pytest.fixture(scope="module")
def server(database_url: str) -> Iterator[Server]:
    """In place of the usual one: with the extension."""
    extensions = ("examples.extension.loans:router",)
    with serving(settings(database_url, listo_extensions=extensions)) as running:
        yield running


def test_an_extension_works_like_a_part_of_it(server: Server) -> None:
    admin, ada = server.admin(), server.member("ada@example.com")
    schema = {"type": "object", "properties": {"title": {}, "lent": {}, "shelf": {}}}
    rules = {"read": 'shelf = "open"', "create": "", "update": 'shelf = "open"'}
    admin.put("/collections/books", json={"schema": schema, "rules": rules})
    path = "/collections/books/records"
    open_ = admin.post(path, json={"title": "Moby Dick", "shelf": "open"}).json()["id"]
    closed = admin.post(path, json={"title": "Secrets", "shelf": "closed"}).json()["id"]

    assert server.client().post(f"/loans/{open_}").status_code == 401
    before = _loans(ada)
    lent = ada.post(f"/loans/{open_}")
    assert lent.status_code == 201
    assert lent.json()["title"] == "Moby Dick"
    assert ada.get(f"{path}/{open_}").json()["lent"] is True

    # The rules of the collection hold in the extension as well.
    hidden = ada.post(f"/loans/{closed}")
    assert hidden.status_code == 404
    assert hidden.json()["code"] == "record_not_found"

    again = ada.post(f"/loans/{open_}")
    assert again.status_code == 409
    assert again.json()["code"] == "already_lent"
    assert again.headers["content-type"] == "application/problem+json"
    assert ada.get(f"{path}/{open_}").json()["version"] == 2

    url = server.settings.database_url.get_secret_value()
    events = fetch(url, "SELECT type FROM listo.events WHERE subject = $1 ORDER BY id", open_)
    assert [row[0] for row in events] == ["record.created", "record.updated", "loan.created"]
    assert _loans(ada) == before + 1
    assert "/loans/{book}" in ada.get("/openapi.json").json()["paths"]


def _loans(client: httpx.Client) -> float:
    """The example's own counter; it lasts as long as the process, so tests share it."""
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("app_loans_total "))


def test_an_extension_takes_idempotency_keys(server: Server) -> None:
    admin, ada = server.admin(), server.member("ada@example.com")
    schema = {"type": "object", "properties": {"title": {}, "lent": {}}}
    admin.put("/collections/books", json={"schema": schema, "rules": {"read": "", "update": ""}})
    book = admin.post("/collections/books/records", json={"title": "Emma"}).json()["id"]
    for key, status in (("first", 201), ("second", 409)):
        headers = {"Idempotency-Key": key}
        once, again = (ada.post(f"/loans/{book}", headers=headers) for _ in range(2))
        assert once.status_code == again.status_code == status
        assert once.content == again.content
        assert again.headers["idempotency-replayed"] == "true"
    assert ada.get(f"/collections/books/records/{book}").json()["version"] == 2


def test_an_extension_has_a_limit_of_its_own(server: Server) -> None:
    bob = server.member("bob@example.com")
    path = "/loans/01a00000-0000-7000-8000-000000000000"
    answers = [bob.post(path) for _ in range(70)]
    assert answers[0].headers["ratelimit-policy"] == '"loans";q=60;w=60'
    refused = answers[-1]
    assert refused.status_code == 429
    assert refused.json()["violated-policies"] == ["loans"]
    assert refused.headers["retry-after"] == "1"
    assert server.member("carol@example.com").post(path).status_code == 404


@pytest.mark.parametrize("name", ["no.such.module:router", "examples.extension.loans:nothing",
                                  "examples.extension.loans:LOANS"])  # fmt: skip
def test_an_extension_that_cannot_be_loaded(database_url: str, name: str) -> None:
    with pytest.raises(SettingsError, match="LISTO_EXTENSIONS"):
        with serving(settings(database_url, listo_extensions=(name,))):
            pass
