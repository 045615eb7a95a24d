"""The example extension, loaded as a user would load it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from fastapi import Depends, Request, Response
from fastapi_limiter.decorators import skip_limiter
from fastapi_limiter.depends import RateLimiter
from pyrate_limiter import Limiter, Rate

from app.core.env_file import SettingsError
from app.ratelimit.dependencies import limit
from fixtures.cluster import database, fetch
from fixtures.redis import redis_store
from fixtures.server import serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fixtures.server import Server


@pytest.fixture(scope="module")
def server(database_url: str) -> Iterator[Server]:
    """Replaces the usual server: this one has the extension."""
    extensions = ("examples.extension.loans:router",)
    with serving(settings(database_url, listo_extensions=extensions)) as running:
        yield running


def test_an_extension_works_like_a_part_of_listo(server: Server) -> None:
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


def test_our_limiter_counts_for_its_fastapi_limiter(server: Server) -> None:
    lena, path = server.member("lena@example.com"), "/loans"
    answers = [
        # fastapi-limiter's identifier would believe this.
        lena.get(path, headers={"X-Forwarded-For": f"192.0.2.{number}"})
        for number in range(31)
    ]
    assert [answer.status_code for answer in answers] == [200] * 30 + [429]
    assert answers[0].json() == {"books": []}
    assert answers[0].headers["ratelimit-policy"] == '"GET /loans";q=30;w=60'
    assert answers[0].headers["ratelimit"] == '"GET /loans";r=29;t=2'
    refused = answers[-1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["violated-policies"] == ["GET /loans"]
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    # Each caller and route has its own limit.
    assert server.member("mona@example.com").get(path).status_code == 200
    assert lena.post("/loans/01a00000-0000-7000-8000-000000000000").status_code == 404


def test_the_limit_of_an_extension_holds_over_all_servers(cluster_url: str) -> None:
    with database(cluster_url) as url, redis_store() as store:
        configured = settings(
            url, redis_url=store, listo_extensions=("examples.extension.loans:router",)
        )
        with serving(configured) as one, serving(configured) as other:
            here = one.member("nils@example.com")
            token = str(here.headers["authorization"]).removeprefix("Bearer ")
            clients = [here, other.client(token)] * 25
            with ThreadPoolExecutor(10) as pool:
                answers = list(pool.map(lambda client: client.get("/loans").status_code, clients))
            # Every two seconds one more passes, and a busy machine may take some.
            assert 30 <= answers.count(200) <= 35
            assert answers.count(429) == 50 - answers.count(200)


def test_identifiers_callbacks_and_skips_of_fastapi_limiter_work(cluster_url: str) -> None:
    with database(cluster_url) as url, serving(settings(url)) as server:
        told: list[str] = []

        async def everybody(_: Request) -> str:
            return "everybody"

        async def tell(request: Request, _: Response) -> None:
            told.append(request.url.path)

        def limiter() -> Limiter:
            return Limiter([Rate(2, 60_000), Rate(3, 3_600_000)])

        by_all = Depends(RateLimiter(limiter(), identifier=everybody))
        telling = Depends(RateLimiter(limiter(), callback=tell))
        ours = Depends(limit("1/hour", name="ours"))

        @server.app.get("/all", dependencies=[by_all])
        @server.app.get("/telling", dependencies=[telling])
        @server.app.get("/both", dependencies=[ours, Depends(RateLimiter(limiter()))])
        async def answer() -> str:
            return "answered"

        @server.app.get("/skipped", dependencies=[Depends(RateLimiter(limiter()))])
        @skip_limiter
        async def skipped() -> str:
            return "answered"

        ada, bob = server.member("ada@example.com"), server.member("bob@example.com")
        assert [client.get("/all").status_code for client in (ada, bob, ada)] == [200, 200, 429]
        answers = [ada.get("/telling") for _ in range(3)]
        assert [each.status_code for each in answers] == [200] * 3
        assert told == ["/telling"]
        assert answers[2].headers["retry-after"]
        assert answers[0].headers["ratelimit-policy"] == (
            '"GET /telling";q=2;w=60, "GET /telling";q=3;w=3600'
        )
        both = [ada.get("/both") for _ in range(2)]
        assert [each.status_code for each in both] == [200, 429]
        assert both[1].json()["violated-policies"] == ["ours"]
        assert [ada.get("/skipped").status_code for _ in range(4)] == [200] * 4
    assert isinstance(ours.dependency, RateLimiter)


@pytest.mark.parametrize("name", ["no.such.module:router", "examples.extension.loans:nothing",
                                  "examples.extension.loans:LOANS"])  # fmt: skip
def test_an_extension_that_cannot_be_loaded_stops_the_start(database_url: str, name: str) -> None:
    with pytest.raises(SettingsError, match="LISTO_EXTENSIONS"):
        with serving(settings(database_url, listo_extensions=(name,))):
            pass
