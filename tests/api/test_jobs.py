"""Jobs: exports and imports that a worker does, and imports that are undone."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
import zstandard

from app import worker
from app.db.database import Database
from fixtures.exports import OPEN, SCHEMA, fill
from fixtures.imports import CSV, NDJSON, define, export, import_, lines, ndjson, records
from fixtures.open_transactions import open_transaction
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixtures.server import Server


def unzstd(content: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(content)


RUN = next(loop for loop in worker.LOOPS if loop.name == "run_jobs")
LATER = {"Prefer": "respond-async"}


@pytest.fixture
def work(server: Server, database_url: str) -> Callable[[], None]:
    """Have a worker do all jobs that wait."""

    async def run() -> None:
        database = Database(database_url, name="listo-worker")
        await database.open()
        try:
            await database.execute("DELETE FROM listo.leases WHERE name = 'run_jobs'")
            assert await worker.run_once(RUN, database, server.settings)
        finally:
            await database.close()

    return lambda: asyncio.run(run())


def later(client: httpx.Client, path: str, content: Any, **params: Any) -> str:
    """The path of a job that is to import the content."""
    response = client.post(
        f"{path}/import", content=content, params=params, headers={"Content-Type": NDJSON, **LATER}
    )
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/jobs/{response.json()['id']}"
    return str(response.headers["location"])


def job(client: httpx.Client, path: str) -> dict[str, Any]:
    response = client.get(path)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_an_import_can_wait_for_a_worker(
    admin: httpx.Client, ada: httpx.Client, work: Callable[[], None]
) -> None:
    path = define(admin)
    content = gzip.compress(ndjson(*({"n": n, "title": "t" * 200} for n in range(3000))))
    where = later(ada, path, content)
    waiting = job(ada, where)
    assert (waiting["kind"], waiting["state"]) == ("import", "waiting")
    assert waiting["progress"] == {"total_bytes": len(content)}
    work()
    done = job(ada, where)
    assert (done["state"], done["result"]["inserted"]) == ("succeeded", 3000)
    assert done["expires_at"] > done["finished_at"] > done["created_at"]
    assert len(lines(export(ada, path))) == 3000
    me = ada.get("/auth/me").json()["id"]
    assert lines(export(ada, path))[0]["owner"] == me


def test_a_job_that_is_refused_tells_why(
    admin: httpx.Client, ada: httpx.Client, work: Callable[[], None]
) -> None:
    path = define(admin)
    refused = later(ada, path, ndjson({"n": 1}, {"n": "x"}))
    gone = define(admin)
    lost = later(ada, gone, ndjson({"n": 1}))
    name = gone.rpartition("/")[2]
    assert admin.delete(gone, params={"confirm": name}).is_success
    work()
    problem = job(ada, refused)["problem"]
    assert (problem["code"], problem["errors"][0]["line"]) == ("import_refused", 2)
    assert job(ada, refused)["state"] == "failed"
    assert job(ada, lost)["problem"]["code"] == "collection_not_found"
    assert lines(export(ada, path)) == []


def test_the_rights_are_those_of_the_time_when_it_runs(
    admin: httpx.Client, server: Server, work: Callable[[], None]
) -> None:
    path = define(admin)
    eve = server.member(f"eve{uuid4().hex[:8]}@example.com")
    where = later(eve, path, ndjson({"n": 1}))
    admin.put(path, json={"schema": SCHEMA, "rules": {**OPEN, "create": None}})
    work()
    assert job(eve, where)["problem"]["code"] == "forbidden"
    admin.put(path, json={"schema": SCHEMA, "rules": OPEN})
    where = later(eve, path, ndjson({"n": 1}))
    me = eve.get("/auth/me").json()["id"]
    admin.patch(f"/users/{me}", json={"disabled": True})
    work()
    assert job(admin, where)["problem"]["code"] == "forbidden"
    assert lines(export(admin, path)) == []


def test_an_export_can_wait_for_a_worker_and_be_fetched_in_parts(
    admin: httpx.Client, ada: httpx.Client, work: Callable[[], None]
) -> None:
    path = define(admin)
    fill(ada, path, *({"n": n, "title": "é" * 200} for n in range(3000)))
    response = ada.post(f"{path}/exports?trailer=true")
    assert response.status_code == 202
    where = response.headers["location"]
    assert ada.get(f"{where}/result").json()["code"] == "job_file_not_found"
    work()
    whole = export(ada, path, trailer="true").content
    result = job(ada, where)["result"]
    assert (result["records"], result["bytes"]) == (3000, len(whole))
    found = ada.get(f"{where}/result")
    assert found.content == whole
    assert found.headers["content-type"] == "application/x-ndjson"
    size = len(whole)
    for field, part in (
        ("bytes=0-9", whole[:10]),
        ("bytes=262140-262150", whole[262140:262151]),
        (f"bytes={size - 5}-", whole[-5:]),
        (f"bytes={size - 5}-{size + 99}", whole[-5:]),
        ("bytes=-7", whole[-7:]),
        (f"bytes=-{size + 7}", whole),
    ):
        answer = ada.get(f"{where}/result", headers={"Range": field})
        assert (answer.status_code, answer.content) == (206, part), field
    assert answer.headers["content-range"] == f"bytes 0-{size - 1}/{size}"
    beyond = ada.get(f"{where}/result", headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    other = {"Range": "bytes=0-9", "If-Range": '"another"'}
    assert ada.get(f"{where}/result", headers=other).status_code == 200
    assert ada.get(f"{where}/result", headers={"Range": "lines=1"}).status_code == 200


@pytest.mark.parametrize(
    ("compression", "ending", "unpack"),
    [("gzip", "gz", gzip.decompress), ("zstd", "zst", unzstd)],
)
def test_an_export_is_kept_as_a_compressed_file(
    admin: httpx.Client,
    ada: httpx.Client,
    work: Callable[[], None],
    compression: str,
    ending: str,
    unpack: Callable[[bytes], bytes],
) -> None:
    path = define(admin)
    fill(ada, path, *({"n": n} for n in range(500)))
    where = ada.post(f"{path}/exports?format=csv&compression={compression}").headers["location"]
    work()
    found = ada.get(f"{where}/result")
    assert found.headers["content-type"] == f"application/{compression}"
    assert "content-encoding" not in found.headers
    assert found.headers["content-disposition"].endswith(f'result.csv.{ending}"')
    assert unpack(found.content) == export(ada, path, format="csv").content
    assert ada.get(f"{path}/export?compression={compression}").status_code == 400


def test_an_empty_export_has_an_empty_file(
    admin: httpx.Client, ada: httpx.Client, work: Callable[[], None]
) -> None:
    path = define(admin)
    where = ada.post(f"{path}/exports").headers["location"]
    work()
    assert (ada.get(f"{where}/result").status_code, ada.get(f"{where}/result").content) == (
        200,
        b"",
    )


def test_refused_lines_come_back_in_the_form_of_the_file(
    admin: httpx.Client, ada: httpx.Client, work: Callable[[], None]
) -> None:
    path = define(admin)
    taken = str(uuid4())
    import_(ada, path, ndjson({"n": 0, "id": taken}))
    content = b'{"n":1}\n{"n":"x"}\n{"n": 2, "id": "%s"}\n\xff\n{"n":3}' % taken.encode()
    response = import_(ada, path, content, on_error="skip")
    assert response.json()["refused"] == 3
    rejects = ada.get(response.json()["rejects"])
    assert rejects.content == b'{"n":"x"}\n{"n": 2, "id": "%s"}\n\xff\n' % taken.encode()
    table = 'title,n\r\n"a, ""b""",1\r\n"c\nd",x\r\ne,2,3\r\nf,4\r\n'
    response = import_(ada, path, table.encode(), CSV, on_error="skip")
    rejects = ada.get(response.json()["rejects"])
    assert rejects.text == 'title,n\r\n"c\nd",x\r\ne,2,3\r\n'
    mended = rejects.text.replace(",x", ",5").replace(",2,3", ",2")
    assert import_(ada, path, mended.encode(), CSV).json()["inserted"] == 2
    where = later(ada, path, content, on_error="skip")
    work()
    result = job(ada, where)["result"]
    assert ada.get(result["rejects"]).content.count(b"\n") == 3
    assert "rejects" not in import_(ada, path, b'{"n":1}', on_error="skip").json()


def test_jobs_are_seen_by_their_user_and_admins(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client, anonymous: httpx.Client
) -> None:
    path = define(admin)
    ids = [import_(ada, path, ndjson({"n": n})).json()["job"] for n in range(5)]
    listed = ada.get("/jobs", params={"limit": 3}).json()
    assert [each["id"] for each in listed["items"]] == ids[:1:-1]
    rest = ada.get("/jobs", params={"limit": 2, "cursor": listed["next"]}).json()["items"]
    assert [each["id"] for each in rest] == ids[1::-1]
    assert not {each["id"] for each in bob.get("/jobs").json()["items"]} & set(ids)
    assert {each["id"] for each in admin.get("/jobs").json()["items"]} >= set(ids)
    assert bob.get(f"/jobs/{ids[0]}").status_code == 404
    assert anonymous.get("/jobs").status_code == 401
    assert anonymous.get(f"/jobs/{ids[0]}").status_code == 404


def test_a_key_sees_the_jobs_of_its_collections(admin: httpx.Client, server: Server) -> None:
    one, two = define(admin), define(admin)
    eve = server.member(f"eve{uuid4().hex[:8]}@example.com")
    ids = [import_(eve, path, ndjson({"n": 1})).json()["job"] for path in (one, two)]
    body = {"name": "k", "scopes": ["records:read"], "collections": [one.rpartition("/")[2]]}
    key = server.client(eve.post("/auth/api-keys", json=body).json()["key"])
    assert [each["id"] for each in key.get("/jobs").json()["items"]] == ids[:1]
    assert key.get(f"/jobs/{ids[1]}").status_code == 404
    assert key.post(f"/jobs/{ids[0]}/undo").status_code == 403


def test_a_job_that_waits_is_cancelled_at_once(
    admin: httpx.Client, ada: httpx.Client, work: Callable[[], None]
) -> None:
    path = define(admin)
    where = later(ada, path, ndjson({"n": 1}))
    assert ada.post(f"{where}/cancel").json()["state"] == "cancelled"
    work()
    assert lines(export(ada, path)) == []
    assert ada.post(f"{where}/cancel").json()["code"] == "job_ended"
    cancelled = ada.post(f"{path}/exports").headers["location"]
    ada.post(f"{cancelled}/cancel")
    assert ada.get(f"{cancelled}/result").json()["code"] == "job_file_not_found"


def test_a_job_that_runs_ends_when_it_is_cancelled(
    admin: httpx.Client, ada: httpx.Client, work: Callable[[], None], database_url: str
) -> None:
    path = define(admin)
    table = f'records."{path.rpartition("/")[2]}"'
    where = later(ada, path, ndjson({"n": 1}))
    with open_transaction(database_url, f"LOCK TABLE {table}"):
        working = threading.Thread(target=work)
        working.start()
        wait_until(lambda: job(ada, where)["state"] == "running")
        assert ada.post(f"{where}/cancel").status_code == 200
        working.join()
    assert job(ada, where)["state"] == "cancelled"
    assert lines(export(ada, path)) == []


def test_a_key_that_may_only_write_gets_its_job(admin: httpx.Client, server: Server) -> None:
    path = define(admin)
    eve = server.member(f"eve{uuid4().hex[:8]}@example.com")
    body = {"name": "k", "scopes": ["records:write"]}
    key = server.client(eve.post("/auth/api-keys", json=body).json()["key"])
    where = later(key, path, ndjson({"n": 1}))
    assert eve.post(f"{where}/cancel").status_code == 200


def test_a_user_has_few_jobs_at_a_time(
    admin: httpx.Client, server: Server, anonymous: httpx.Client
) -> None:
    path = define(admin)
    eve = server.member(f"eve{uuid4().hex[:8]}@example.com")
    first = [later(eve, path, ndjson({"n": 1})) for _ in range(5)]
    headers = {"Content-Type": NDJSON, **LATER}
    refused = eve.post(f"{path}/import", content=b"", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_jobs")
    assert eve.post(f"{path}/exports").status_code == 429
    for where in first:
        eve.post(f"{where}/cancel")
    assert eve.post(f"{path}/exports").status_code == 202
    assert anonymous.post(f"{path}/import", content=b"", headers=headers).status_code == 401


@pytest.mark.parametrize("wait", [True, False])
def test_an_import_with_a_key_is_done_once(
    admin: httpx.Client,
    ada: httpx.Client,
    work: Callable[[], None],
    wait: bool,  # noqa: FBT001
) -> None:
    path = define(admin)
    headers = {"Content-Type": NDJSON, "Idempotency-Key": f'"{uuid4()}"'}
    if not wait:
        headers |= LATER
    content = ndjson({"n": 1}, {"n": 2})
    first = ada.post(f"{path}/import", content=content, headers=headers)
    assert first.is_success
    again = ada.post(f"{path}/import", content=content, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    work()
    assert sorted(records(ada, path, "n")) == [[1], [2]]
    other = ada.post(f"{path}/import", content=content + b'{"n":3}', headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    other = ada.post(f"{path}/import?on_error=skip", content=content, headers=headers)
    assert other.json()["code"] == "idempotency_key_reused"
    ada.post(f"{path}/import", content=content, headers={**headers, "Idempotency-Key": "k-2"})
    work()
    assert len(records(ada, path, "n")) == 4


def test_a_refused_import_may_come_again_with_its_key(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    headers = {"Content-Type": NDJSON, "Idempotency-Key": str(uuid4())}
    assert ada.post(f"{path}/import", content=b'{"n":"x"}', headers=headers).status_code == 422
    assert ada.post(f"{path}/import", content=b'{"n":1}', headers=headers).status_code == 200


def test_the_event_of_an_import_tells_its_numbers(
    admin: httpx.Client, ada: httpx.Client, database_url: str
) -> None:
    from fixtures.cluster import fetch

    path = define(admin)
    import_(ada, path, ndjson({"n": 1}, {"n": 2}))
    (row,) = fetch(
        database_url,
        "SELECT data FROM listo.events WHERE type = 'collection.imported' AND collection = $1",
        path.rpartition("/")[2],
    )
    assert json.loads(row["data"]) == {"inserted": 2, "updated": 0}
