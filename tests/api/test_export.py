"""Exports: everything that the caller may list, whole, in one of the formats."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from typing import TYPE_CHECKING

import pytest
import zstandard

from fixtures.exports import (
    OPEN,
    PLAIN,
    define,
    export,
    fill,
    is_running,
    lines,
)

if TYPE_CHECKING:
    import httpx


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


def test_the_document_describes_it(admin: httpx.Client) -> None:
    path = define(admin)
    operation = admin.get("/openapi.json").json()["paths"][f"{path}/export"]["get"]
    assert [each["name"] for each in operation["parameters"]] == [
        "format", "filter", "sort", "fields", "formulas", "trailer",
    ]  # fmt: skip
    assert operation["responses"]["200"]["content"].keys() == {
        "application/x-ndjson", "text/csv", "application/json",
    }  # fmt: skip
