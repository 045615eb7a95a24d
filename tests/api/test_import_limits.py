"""Imports of files that are too large, wrong, or never come to their end."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from fixtures.imports import CSV, NDJSON, define, export, import_, lines, ndjson
from fixtures.server import serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fixtures.server import Server

MOST = 300_000


@pytest.fixture(scope="module")
def server(database_url: str) -> Iterator[Server]:
    with serving(settings(database_url, max_import_bytes=MOST)) as running:
        yield running


def test_a_file_above_the_limit_is_refused_also_once_it_is_decompressed(
    admin: httpx.Client,
) -> None:
    path = define(admin)
    for bomb in (gzip.compress(b" " * 50_000_000), zstandard.compress(b" " * 50_000_000)):
        assert len(bomb) < 60_000
        response = import_(admin, path, bomb)
        assert (response.status_code, response.json()["code"]) == (413, "content_too_large")
    assert import_(admin, path, b" " * (MOST + 1)).status_code == 413
    assert import_(admin, path, iter([b" " * 160_000] * 2)).status_code == 413
    before = admin.get("/jobs").json()
    later = {"Content-Type": NDJSON, "Prefer": "respond-async"}
    parts = iter([b" " * 160_000] * 2)
    assert admin.post(f"{path}/import", content=parts, headers=later).status_code == 413
    assert admin.get("/jobs").json() == before


HEAD = b"title,n\n"
# The file, its media type, and the line, pointer and code of the fault; without a line, the whole
# file is refused.
WRONG: list[tuple[bytes, str, tuple[int, str, str] | str]] = [
    (b"{", NDJSON, (1, "", "invalid_json")),
    (b'{"n":1}}', NDJSON, (1, "", "invalid_json")),
    (b'{"n":1}{"n":2}', NDJSON, (1, "", "invalid_json")),
    (b'{"n":1,}', NDJSON, (1, "", "invalid_json")),
    (b"{'n':1}", NDJSON, (1, "", "invalid_json")),
    (b'{"n":NaN}', NDJSON, (1, "", "invalid_json")),
    (b'{"n":1,"n":2}', NDJSON, (1, "", "invalid_json")),
    (b'{"title":"\xe9"}', NDJSON, (1, "", "invalid_json")),
    (b'{"title":"\\ud800"}', NDJSON, (1, "", "invalid_json")),
    (b'{"title":"\\u0000"}', NDJSON, (1, "/title", "nul_character")),
    (b'{"title":"\x00"}', NDJSON, (1, "", "invalid_json")),
    (b'{"n":1e999}', NDJSON, (1, "", "number_out_of_range")),
    (b"[1]", NDJSON, (1, "", "type")),
    (b"null", NDJSON, (1, "", "type")),
    (b'"x"', NDJSON, (1, "", "type")),
    (b'{"n":"1"}', NDJSON, (1, "/n", "type")),
    (b'{"n":1,"id":7}', NDJSON, (1, "/id", "invalid_id")),
    (b'{"n":1,"id":"x"}', NDJSON, (1, "/id", "invalid_id")),
    (b'{"a":' * 70 + b"1" + b"}" * 70, NDJSON, (1, "", "invalid_json")),
    ('{"n":1}'.encode("utf-16"), NDJSON, (1, "", "invalid_json")),
    (b"\r\r\r{", NDJSON, (1, "", "invalid_json")),
    (b"title,n", CSV, "nothing"),
    (b"", CSV, "unreadable_file"),
    (b"\n\n", CSV, "unreadable_file"),
    (b"title;n\na;1\n", CSV, "nothing"),
    (b"title,title\na,b\n", CSV, "unreadable_file"),
    (b"title,\na,b\n", CSV, "unreadable_file"),
    (b'ti"tle,n\na,1\n', CSV, "unreadable_file"),
    (b"ti\xe9,n\na,1\n", CSV, "unreadable_file"),
    (HEAD + b'"a,1\n', CSV, "unreadable_file"),
    (HEAD + b"a\n", CSV, (2, "", "invalid_csv")),
    (HEAD + b"a,1,2\n", CSV, (2, "", "invalid_csv")),
    (HEAD + b'a"b"c,1\n', CSV, (2, "", "invalid_csv")),
    (HEAD + b'"a"b,1\n', CSV, (2, "", "invalid_csv")),
    (HEAD + b"a,1\n\xff,1\n", CSV, (3, "", "invalid_utf8")),
    (HEAD + b'"a\n\nb",1\nb,x\n', CSV, (5, "/n", "type")),
    (HEAD + b"a,1.\n", CSV, (2, "/n", "type")),
    (HEAD + b"a,0x1\n", CSV, (2, "/n", "type")),
    (HEAD + b"a,'1\n", CSV, (2, "/n", "type")),
    (HEAD + b'a,"1,5"\n', CSV, (2, "/n", "type")),
    (HEAD + b"a,true\n", CSV, (2, "/n", "type")),
    (HEAD + b"a\x00,1\n", CSV, (2, "/title", "nul_character")),
    (b"n,tags\n1,{}\n", CSV, (2, "/tags", "type")),
    (b"n,tags\n1,[\n", CSV, (2, "/tags", "type")),
    (b"n,id\n1,7\n", CSV, (2, "/id", "invalid_id")),
    (b",".join(b"c%d" % n for n in range(20_000)), CSV, "unreadable_file"),
    (b"n,version\n1,x\n", CSV, (2, "/version", "type")),
    (b'n,_rest\n1,"{""n"":2}"\n', CSV, (2, "", "invalid_json")),
    (b"n,_rest\n1,[]\n", CSV, (2, "", "invalid_json")),
]


@pytest.mark.parametrize(("content", "media_type", "fault"), WRONG)
def test_a_wrong_file_is_refused_by_line_and_reason(
    admin: httpx.Client, content: bytes, media_type: str, fault: Any
) -> None:
    path = define(admin)
    response = import_(admin, path, content, media_type)
    if fault == "nothing":
        assert response.status_code == 200, response.text
        return
    found = response.json()
    if isinstance(fault, str):
        assert (response.status_code, found["code"]) == (400, fault)
    else:
        assert (response.status_code, found["code"]) == (422, "import_refused"), response.text
        (error,) = found["errors"]
        assert (error["line"], error["pointer"], error["code"]) == fault, error
        assert error["message"]
    assert lines(export(admin, path)) == []


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("titel,n", "title"),
        ("title;n", "semicolon"),
        ("title\tn", "a tab"),
    ],
)
def test_a_column_without_a_field_is_named(admin: httpx.Client, header: str, hint: str) -> None:
    closed = {
        "properties": {"title": {"type": "string"}, "n": {"type": "number"}},
        "additionalProperties": False,
    }
    path = define(admin, schema=closed)
    response = import_(admin, path, f"{header}\na,1\n".encode(), CSV)
    assert response.status_code == 400
    assert hint in response.json()["detail"]


def test_a_caller_has_one_import_at_a_time(admin: httpx.Client, server: Server) -> None:
    path = define(admin)
    other = server.admin()
    refused = []

    def parts() -> Iterator[bytes]:
        yield ndjson({"n": 1})
        # The first part has been taken, or is about to be.
        while not (response := import_(other, path, ndjson({"n": 2}))).is_client_error:
            refused.append(response)
        refused.append(response)
        yield ndjson({"n": 3})

    assert import_(admin, path, parts()).json()["inserted"] == 2
    assert refused[-1].status_code == 429
    assert refused[-1].json()["code"] == "import_in_progress"
    assert refused[-1].headers["retry-after"]
