"""Exports: everything that the caller may list, whole, in one of the formats, or seen to be cut."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
import zstandard
from asyncpg.cursor import Cursor as CursorType

from fixtures.cluster import database, execute, fetch
from fixtures.server import serving, settings
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.server import Server

SCHEMA = {
    "properties": {
        "title": {"type": ["string", "null"]},
        "n": {"type": "number"},
        "tags": {"type": "array"},
        "pin": {"type": "string", "writeOnly": True},
    }
}
PLAIN = {"Accept-Encoding": "identity"}
OPEN = {"list": "", "read": "", "create": "", "update": "", "delete": ""}


def define(admin: httpx.Client, rules: Any = OPEN, schema: Any = SCHEMA) -> str:
    path = f"/collections/e{uuid4().hex[:12]}"
    response = admin.put(path, json={"schema": schema, "rules": rules})
    assert response.status_code == 201, response.text
    return path


def fill(client: httpx.Client, path: str, *records: Any) -> None:
    for start in range(0, len(records), 1000):
        operations = [{"op": "create", "data": each} for each in records[start : start + 1000]]
        response = client.post(f"{path}/records:batch", json={"operations": operations})
        assert response.is_success, response.text


def export(client: httpx.Client, path: str, **params: Any) -> httpx.Response:
    response = client.get(f"{path}/export", params=params, headers=PLAIN)
    assert response.status_code == 200, response.text
    return response


def lines(response: httpx.Response) -> list[Any]:
    return [json.loads(line) for line in response.text.splitlines()]


def test_every_record_is_a_line_as_the_list_gives_it(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    fill(ada, path, *({"n": n, "title": "é\n\u2028" * (n % 7)} for n in range(2345)))
    response = export(ada, path)
    assert response.headers["content-type"] == "application/x-ndjson"
    assert "attachment" in response.headers["content-disposition"]
    found = [json.loads(line) for line in response.content.split(b"\n")[:-1]]
    assert [record["n"] for record in found] == list(range(2345))
    listed = ada.get(f"{path}/records", params={"limit": 100}).json()["items"]
    assert found[:100] == listed


def test_filter_sort_and_fields_are_those_of_lists(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    fill(ada, path, *({"n": n, "title": f"t{n}"} for n in range(10)))
    found = lines(export(ada, path, filter="n >= 7", sort="-n", fields="n"))
    assert [(record["n"], record.keys()) for record in found] == [
        (n, {"id", "n"}) for n in (9, 8, 7)
    ]


@pytest.mark.parametrize("number", [0, 1, 2, 150])
def test_an_array_is_valid_json(admin: httpx.Client, ada: httpx.Client, number: int) -> None:
    path = define(admin)
    fill(ada, path, *({"n": n} for n in range(number)))
    response = export(ada, path, format="json")
    assert response.headers["content-type"] == "application/json"
    assert [record["n"] for record in response.json()] == list(range(number))


@pytest.mark.parametrize("number", [0, 3, 150])
def test_the_last_line_tells_whether_all_is_there(
    admin: httpx.Client, ada: httpx.Client, number: int
) -> None:
    path = define(admin)
    fill(ada, path, *({"n": n} for n in range(number)))
    content = export(ada, path, trailer="true").content
    *records, last = content.splitlines(keepends=True)
    digest = hashlib.sha256(b"".join(records)).hexdigest()
    assert json.loads(last) == {"_end": {"count": number, "sha256": digest}}
    assert len(records) == number


def test_csv_is_sorted_as_lists_are(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    fill(ada, path, *({"n": n} for n in range(12)))
    records = ada.get(f"{path}/records").json()["items"]
    for number, record in enumerate(records):
        for n in range(number):
            ada.patch(f"{path}/records/{record['id']}", json={"title": str(n)})
    text = export(ada, path, format="csv", sort="version", fields="version").text
    assert [row[1] for row in csv.reader(io.StringIO(text))][1:] == [
        str(number + 1) for number in range(12)
    ]


def test_digits_stay_in_csv(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    body = b'{"n": 1.50, "tags": [1e2, 12345678901234567890123, 0.10]}'
    headers = {"Content-Type": "application/json"}
    assert ada.post(f"{path}/records", content=body, headers=headers).status_code == 201
    text = export(ada, path, format="csv", fields="n,tags").text
    (_, row) = csv.reader(io.StringIO(text))
    assert row[1:] == ["1.50", "[100, 12345678901234567890123, 0.10]"]


def test_csv_has_a_column_for_each_field(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    fill(
        ada,
        path,
        {"title": 'a "quoted", text\r\nwith lines', "n": 1.5, "tags": ["x", {"y": None}]},
        {"title": "", "more": {"z": 1}},
        {"title": None, "pin": "secret"},
    )
    response = export(ada, path, format="csv", sort="id")
    assert response.headers["content-type"].startswith("text/csv")
    assert "secret" not in response.text
    header, *rows = csv.reader(io.StringIO(response.text, newline=""))
    assert header == [
        "id", "version", "created_at", "updated_at", "owner", "title", "n", "tags", "_rest",
    ]  # fmt: skip
    own = [row[5:] for row in rows]
    assert own[0] == ['a "quoted", text\r\nwith lines', "1.5", '["x", {"y": null}]', ""]
    assert own[1] == ["", "", "", '{"more": {"z": 1}}']
    assert own[2] == ["", "", "", ""]
    listed = ada.get(f"{path}/records").json()["items"]
    system = ("id", "version", "created_at", "updated_at", "owner")
    assert [row[:5] for row in rows] == [[str(item[name]) for name in system] for item in listed]
    # An empty text differs from none.
    assert [line.split(",")[5] for line in response.text.split("\r\n")[-3:-1]] == ['""', ""]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_spreadsheets_do_not_run_a_text(admin: httpx.Client, ada: httpx.Client, start: str) -> None:
    path = define(admin)
    text = f"{start}cmd|' /C calc'!A0"
    fill(ada, path, {"title": text, "n": -5})
    for formulas, shown in (("escaped", f"'{text}"), ("raw", text)):
        response = export(ada, path, format="csv", fields="title,n", formulas=formulas)
        header, row = csv.reader(io.StringIO(response.text, newline=""))
        assert (header, row[1:]) == (["id", "title", "n"], [shown, "-5"])


def test_rules_hold(admin: httpx.Client, ada: httpx.Client, bob: httpx.Client) -> None:
    path = define(admin, {**OPEN, "list": "owner = @user.id"})
    fill(ada, path, {"n": 1})
    fill(bob, path, {"n": 2})
    for client, seen in ((ada, [1]), (bob, [2]), (admin, [1, 2])):
        assert [record["n"] for record in lines(export(client, path))] == seen
    path = define(admin, {**OPEN, "list": None})
    assert ada.get(f"{path}/export").status_code == 403
    assert ada.get("/collections/nowhere/export").status_code == 404


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("format=xml", "invalid_parameter"),
        ("fromat=csv", "invalid_parameter"),
        ("format=csv&format=json", "invalid_parameter"),
        ("trailer=1", "invalid_parameter"),
        ("format=csv&trailer=true", "invalid_parameter"),
        ("formulas=raw", "invalid_parameter"),
        ("filter=n >", "invalid_filter"),
        ('filter=pin = "1"', "unknown_field"),
        ("format=csv&fields=pin", "unknown_field"),
        ("fields=pin", "unknown_field"),
        ("sort=pin", "unknown_field"),
    ],
)
def test_wrong_parameters_are_refused(
    admin: httpx.Client, ada: httpx.Client, query: str, code: str
) -> None:
    path = define(admin)
    response = ada.get(f"{path}/export?{query}")
    assert (response.status_code, response.json()["code"]) == (400, code), response.text


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("gzip;q=0.5, zstd", "zstd"),
        ("zstd;q=0, gzip;q=0.1", "gzip"),
        ("gzip;q=0", None),
        ("br", None),
        ("gzip;q=x", None),
    ],
)
def test_the_body_is_compressed_as_the_client_accepts(
    admin: httpx.Client, ada: httpx.Client, accepted: str, coding: str | None
) -> None:
    path = define(admin)
    fill(ada, path, *({"n": n, "title": "text " * 50} for n in range(500)))
    plain = export(ada, path).content
    headers = {"Accept-Encoding": accepted}
    with ada.stream("GET", f"{path}/export", headers=headers) as response:
        sent = b"".join(response.iter_raw())
        assert response.headers.get("content-encoding") == coding
    if coding == "gzip":
        sent = gzip.decompress(sent)
    elif coding == "zstd":
        sent = zstandard.ZstdDecompressor().decompressobj().decompress(sent)
    assert sent == plain


def test_an_export_is_of_one_moment(
    admin: httpx.Client, ada: httpx.Client, database_url: str
) -> None:
    path = define(admin)
    fill(ada, path, *({"n": 0, "title": "x" * 5000} for _ in range(4000)))
    with ada.stream("GET", f"{path}/export", headers=PLAIN) as response:
        parts = response.iter_raw()
        content = next(parts)
        assert is_running(database_url, path)
        fill(ada, path, {"n": 1})
        (last,) = ada.get(f"{path}/records", params={"sort": "-id", "limit": 2}).json()["items"][1:]
        ada.patch(f"{path}/records/{last['id']}", json={"n": 1})
        content += b"".join(parts)
    found = [json.loads(line)["n"] for line in content.splitlines()]
    assert found == [0] * 4000


def big(admin: httpx.Client, database_url: str, records: int = 20_000) -> str:
    """A collection of so many records that an export does not fit into buffers."""
    path = define(admin)
    name = path.rpartition("/")[2]
    execute(
        database_url,
        f"INSERT INTO records.\"{name}\" (id, data) SELECT uuidv7_like, jsonb_build_object('n',"
        f" n, 'title', repeat('x', 2000)) FROM (SELECT gen_random_uuid() AS uuidv7_like, n"
        f" FROM generate_series(1, {records}) AS n) AS given",
    )
    return path


def is_running(database_url: str, path: str) -> bool:
    return bool(
        fetch(
            database_url,
            "SELECT FROM pg_locks WHERE relation = to_regclass($1) AND pid <> pg_backend_pid()",
            f'records."{path.rpartition("/")[2]}"',
        )
    )


@contextmanager
def begun(client: httpx.Client, path: str) -> Iterator[Iterator[bytes]]:
    """An export whose first bytes have come."""
    with client.stream("GET", f"{path}/export", headers=PLAIN) as response:
        assert response.status_code == 200
        parts = response.iter_raw()
        next(parts)
        yield parts


def test_a_client_that_leaves_ends_the_statement(admin: httpx.Client, database_url: str) -> None:
    path = big(admin, database_url)
    with begun(admin, path):
        assert is_running(database_url, path)
    wait_until(lambda: not is_running(database_url, path))


def test_a_client_that_takes_nothing_is_given_up(cluster_url: str) -> None:
    with database(cluster_url) as url, serving(settings(url, request_timeout=1)) as impatient:
        admin = impatient.admin()
        path = big(admin, url)
        address = urlsplit(impatient.url)
        with socket.create_connection((address.hostname, address.port)) as peer:
            token = admin.headers["authorization"]
            request = f"GET {path}/export HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
            peer.sendall(request.encode())
            assert peer.recv(12) == b"HTTP/1.1 200"
            assert is_running(url, path)
            wait_until(lambda: not is_running(url, path))
            rest = b""
            while part := peer.recv(1 << 16):
                rest += part
        assert not rest.endswith(b"\r\n0\r\n\r\n")


def test_a_broken_export_is_not_a_whole_one(admin: httpx.Client, database_url: str) -> None:
    path = big(admin, database_url)
    with begun(admin, path) as parts:
        execute(
            database_url,
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE pid <> pg_backend_pid()"
            f" AND relation = to_regclass('records.\"{path.rpartition('/')[2]}\"')",
        )
        with pytest.raises(httpx.RemoteProtocolError):
            list(parts)


def test_a_collection_can_be_deleted_during_an_export(
    admin: httpx.Client, database_url: str
) -> None:
    path = big(admin, database_url)
    with begun(admin, path) as parts:
        name = path.rpartition("/")[2]
        assert admin.delete(path, params={"confirm": name}).status_code == 204
        with pytest.raises(httpx.RemoteProtocolError):
            list(parts)


def test_a_caller_has_one_export_at_a_time_in_a_process(
    admin: httpx.Client, ada: httpx.Client, database_url: str
) -> None:
    path = big(admin, database_url)
    with begun(admin, path):
        second = admin.get(f"{path}/export")
        assert (second.status_code, second.json()["code"]) == (429, "export_in_progress")
        assert "retry-after" in second.headers
        assert ada.get(f"{path}/export", params={"filter": "n < 3"}).status_code == 200
        # Single records and lists do not wait.
        assert admin.get(f"{path}/records", params={"limit": 1}).status_code == 200


def test_when_all_places_are_taken_others_come_later(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client, database_url: str
) -> None:
    path = big(admin, database_url)
    with begun(admin, path), begun(ada, path):
        third = bob.get(f"{path}/export")
        assert (third.status_code, third.json()["code"]) == (503, "overloaded")
        assert "retry-after" in third.headers
        assert bob.head(f"{path}/export").status_code == 200


def test_all_strangers_together_have_one_export(
    server: Server, admin: httpx.Client, database_url: str
) -> None:
    path = big(admin, database_url)
    with begun(server.client(), path):
        assert server.client().get(f"{path}/export").status_code == 429
        assert admin.get(f"{path}/export", params={"filter": "n < 3"}).status_code == 200


def test_an_export_counts_for_several_requests_even_if_it_is_broken_off(cluster_url: str) -> None:
    with (
        database(cluster_url) as url,
        serving(settings(url, rate_limit_user="10000/day")) as limited,
    ):
        admin = limited.admin()

        def left() -> int:
            field = admin.get("/auth/me").headers["ratelimit"]
            return int(field.partition("r=")[2].partition(";")[0])

        path = define(admin)
        before = left()
        export(admin, path)
        assert before - left() == 11
        path = big(admin, url)
        before = left()
        with begun(admin, path):
            pass
        wait_until(lambda: not is_running(url, path))
        assert before - left() >= 11


def test_head_runs_no_export(admin: httpx.Client, database_url: str) -> None:
    path = big(admin, database_url)
    response = admin.head(f"{path}/export")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    assert not is_running(database_url, path)
    assert admin.head(f"{path}/export?format=xml").status_code == 400


def test_a_small_record_and_then_large_ones_are_fetched_within_bounds(
    admin: httpx.Client, ada: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = define(admin)
    fill(ada, path, *({"n": n} for n in range(300)))
    for n in range(30):
        ada.post(f"{path}/records", json={"n": n, "title": "x" * 900_000})
    fetched = []
    fetch_rows = CursorType.fetch

    async def noted(self: Any, number: int, **rest: Any) -> Any:
        rows = await fetch_rows(self, number, **rest)
        fetched.append(sum(len(row[1]) for row in rows))
        return rows

    monkeypatch.setattr(CursorType, "fetch", noted)
    assert len(lines(export(ada, path, sort="id"))) == 330
    assert max(fetched) <= 17 << 20


def test_the_document_describes_it(admin: httpx.Client) -> None:
    path = define(admin)
    operation = admin.get("/openapi.json").json()["paths"][f"{path}/export"]["get"]
    assert [each["name"] for each in operation["parameters"]] == [
        "format", "filter", "sort", "fields", "formulas", "trailer",
    ]  # fmt: skip
    assert operation["responses"]["200"]["content"].keys() == {
        "application/x-ndjson", "text/csv", "application/json",
    }  # fmt: skip
