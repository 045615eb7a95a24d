"""Imports of NDJSON: what becomes of each line, and of all if one is refused."""

from __future__ import annotations

import gzip
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
import zstandard

from fixtures.exports import OPEN, SCHEMA, fill
from fixtures.imports import define, export, import_, imported, lines, ndjson, records

COUNTS = {"inserted": 0, "updated": 0, "unchanged": 0, "refused": 0, "errors": []}
KEYED: dict[str, Any] = {
    "properties": {
        "slug": {"type": "string"},
        "n": {"type": "integer"},
        "rank": {"type": "integer", "default": 7},
        "more": {"type": "object"},
        "checked": {"type": "boolean", "readOnly": True},
    },
    "required": ["slug", "n"],
    "additionalProperties": False,
}


def keyed(admin: httpx.Client, rules: Any = OPEN, **fields: Any) -> str:
    path = f"/collections/k{uuid4().hex[:12]}"
    unique = {"fields": ["slug"], "unique": True, "case_insensitive": True}
    schema = {**KEYED, "properties": {**KEYED["properties"], **fields}}
    response = admin.put(path, json={"schema": schema, "rules": rules, "indexes": [unique]})
    assert response.status_code == 201, response.text
    return path


def faults(response: httpx.Response) -> list[tuple[int, str, str]]:
    return [(each["line"], each["pointer"], each["code"]) for each in response.json()["errors"]]


def test_each_line_becomes_a_record(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    id_ = str(uuid4())
    given = [{"n": n, "title": 'é\n\t\\\u2028"' * (n % 5)} for n in range(2500)]
    given[7] |= {"id": id_}
    report = imported(ada, path, ndjson(*given))
    assert report == {"read": 2500, **COUNTS, "inserted": 2500}
    found = lines(export(ada, path))
    assert sorted((each["n"], each["title"]) for each in found) == [
        (each["n"], each["title"]) for each in given
    ]
    me = ada.get("/auth/me").json()["id"]
    assert {(each["version"], each["owner"]) for each in found} == {(1, me)}
    assert next(each["n"] for each in found if each["id"] == id_) == 7


def test_digits_are_kept(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    text = b'{"n": 1.10, "deep": {"x": 12345678901234567890.5000}, "id": null}\n'
    assert imported(ada, path, text)["inserted"] == 1
    assert b'"n": 1.10' in export(ada, path).content
    assert b"12345678901234567890.5000" in export(ada, path).content


@pytest.mark.parametrize(
    ("content", "read"),
    [
        (b"", 0),
        (b"\n\r\n \n", 0),
        (b'{"n":1}', 1),
        (b'\xef\xbb\xbf{"n":1}\r\n\r\n{"n":2}\r\n', 2),
        (b'{"n":1}\n\t{"n":\t2}\t\n', 2),
    ],
)
def test_empty_lines_and_forms_of_line_ends_count_for_nothing(
    admin: httpx.Client, ada: httpx.Client, content: bytes, read: int
) -> None:
    path = define(admin)
    assert imported(ada, path, content) == {"read": read, **COUNTS, "inserted": read}


def test_one_bad_line_leaves_nothing_and_all_bad_lines_are_named(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    content = b'{"n":1}\n{"n":"x"}\n{"n":2\n[]\n{"n":3,"owner":null,"id":"?"}\n\xff\n{"n":4}\n'
    response = import_(ada, path, content)
    assert response.status_code == 422
    problem = response.json()
    assert (problem["code"], problem["read"], problem["refused"]) == ("import_refused", 7, 5)
    assert faults(response) == [
        (2, "/n", "type"),
        (3, "", "invalid_json"),
        (4, "", "type"),
        (5, "/id", "invalid_id"),
        (6, "", "invalid_json"),
    ]
    assert lines(export(ada, path)) == []


def test_skip_imports_the_rest(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    report = imported(ada, path, b'{"n":1}\n{"n":"x"}\n{"n":2}\n', on_error="skip")
    assert report["errors"][0]["line"] == 2
    assert {**report, "errors": []} == {"read": 3, **COUNTS, "inserted": 2, "refused": 1}
    assert sorted(records(ada, path, "n")) == [[1], [2]]


def test_a_dry_run_tells_and_does_nothing(admin: httpx.Client, ada: httpx.Client) -> None:
    path = keyed(admin)
    imported(ada, path, ndjson({"slug": "a", "n": 1}, {"slug": "b", "n": 1}))
    content = ndjson({"slug": "a", "n": 2}, {"slug": "b"}, {"slug": "c", "n": 1}, {"slug": "d"})
    report = imported(ada, path, content, mode="upsert", key="slug", dry_run="true")
    told = {"read": 4, "inserted": 1, "updated": 1, "unchanged": 1, "refused": 1, "dry_run": True}
    assert {**report, "errors": []} == {**told, "errors": []}
    assert [(each["line"], each["pointer"]) for each in report["errors"]] == [(4, "/n")]
    assert records(ada, path, "slug", "n") == [["a", 1], ["b", 1]]


def test_ids_and_unique_values_that_are_taken_are_refused(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = keyed(admin)
    id_, other = str(uuid4()), str(uuid4())
    imported(ada, path, ndjson({"slug": "a", "n": 1, "id": id_}))
    content = ndjson(
        {"slug": "x", "n": 1, "id": id_},
        {"slug": "A", "n": 1},
        {"slug": "y", "n": 1, "id": other},
        {"slug": "z", "n": 1, "id": other},
        {"slug": "Y", "n": 2},
    )
    response = import_(ada, path, content)
    assert (1, "/id", "record_exists") in faults(response)
    assert (2, "/slug", "not_unique") in faults(response)
    assert (4, "/id", "repeated_key") in faults(response)
    assert len(lines(export(ada, path))) == 1
    report = imported(ada, path, content, on_error="skip")
    assert (report["inserted"], report["refused"]) == (1, 4)
    assert {"y", "Y"} & {slug for (slug,) in records(ada, path, "slug")}


@pytest.mark.parametrize("mode", ["upsert", "replace"])
def test_records_that_are_present_change(admin: httpx.Client, ada: httpx.Client, mode: str) -> None:
    path = keyed(admin)
    first = [{"slug": f"s{n}", "n": n, "rank": 1, "more": {"a": 1}} for n in range(1200)]
    imported(ada, path, ndjson(*first))
    before = {each["slug"]: each for each in lines(export(ada, path))}
    content = ndjson(
        *({"slug": f"S{n}", "n": n, "more": {"b": 2}} for n in range(0, 1200, 2)),
        {"slug": "s1", "n": 1, "rank": 1, "more": {"a": 1}},
        {"slug": "new", "n": 0},
    )
    report = imported(ada, path, content, mode=mode, key="slug")
    assert report == {"read": 602, **COUNTS, "inserted": 1, "updated": 600, "unchanged": 1}
    after = {each["slug"].lower(): each for each in lines(export(ada, path))}
    assert after["s1"] == before["s1"]
    assert after["new"]["rank"] == 7
    changed = after["s4"]
    assert (changed["id"], changed["version"]) == (before["s4"]["id"], 2)
    assert changed["more"] == ({"a": 1, "b": 2} if mode == "upsert" else {"b": 2})
    assert changed["rank"] == (1 if mode == "upsert" else 7)


def test_a_line_may_change_a_part_by_id(admin: httpx.Client, ada: httpx.Client) -> None:
    path = keyed(admin)
    imported(ada, path, ndjson({"slug": "a", "n": 1}))
    (record,) = lines(export(ada, path))
    content = ndjson({"id": record["id"], "rank": 3}, {"rank": 4})
    response = import_(ada, path, content, mode="upsert")
    assert faults(response) == [(2, "/slug", "required"), (2, "/n", "required")]
    report = imported(ada, path, content, mode="upsert", on_error="skip")
    assert (report["updated"], report["refused"]) == (1, 1)
    assert records(ada, path, "slug", "n", "rank") == [["a", 1, 3]]


def test_a_key_that_is_missing_or_repeated_is_refused(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = keyed(admin)
    content = ndjson({"slug": "a", "n": 1}, {"n": 2}, {"slug": "A", "n": 3})
    response = import_(ada, path, content, mode="upsert", key="slug", dry_run="true")
    assert faults(response) == [(2, "/slug", "required"), (3, "", "repeated_key")]


def test_a_change_that_takes_a_unique_value_of_another_is_refused(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = keyed(admin)
    imported(ada, path, ndjson({"slug": "a", "n": 1}, {"slug": "b", "n": 1}, {"slug": "c", "n": 1}))
    a, b, c = (each["id"] for each in lines(export(ada, path)))
    content = ndjson({"id": a, "n": 5}, {"id": b, "slug": "C"}, {"id": c, "n": 6})
    report = imported(ada, path, content, mode="upsert", on_error="skip")
    assert (report["updated"], report["refused"]) == (2, 1)
    assert [(each["line"], each["pointer"], each["code"]) for each in report["errors"]] == [
        (2, "/slug", "not_unique")
    ]
    assert records(ada, path, "slug", "n") == [["a", 5], ["b", 1], ["c", 6]]


def test_a_value_that_is_too_long_for_an_index_is_refused_alone(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = keyed(admin)
    long = "".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(4000))
    content = ndjson(*({"slug": long if n == 6 else f"s{n}", "n": n} for n in range(20)))
    report = imported(ada, path, content, on_error="skip")
    assert (report["inserted"], report["refused"]) == (19, 1)
    assert [(each["line"], each["code"]) for each in report["errors"]] == [
        (7, "indexed_value_too_long")
    ]
    (id_,) = (each[0] for each in records(ada, path, "id", "n") if each[1] == 3)
    report = imported(
        ada, path, ndjson({"id": id_, "slug": long}, {"id": id_}), mode="upsert", on_error="skip"
    )
    assert report["refused"] == 2


def test_a_default_counts_as_the_key(admin: httpx.Client, ada: httpx.Client) -> None:
    path = f"/collections/d{uuid4().hex[:12]}"
    schema = {"properties": {"slug": {"type": "string", "default": "x"}, "n": {"type": "integer"}}}
    unique = [{"fields": ["slug"], "unique": True}]
    admin.put(path, json={"schema": schema, "rules": OPEN, "indexes": unique})
    imported(ada, path, ndjson({"n": 1}))
    report = imported(ada, path, ndjson({"n": 2}), mode="upsert", key="slug")
    assert (report["updated"], report["inserted"]) == (1, 0)


def test_rules_hold_for_each_line(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client
) -> None:
    own = "owner = @user.id"
    path = keyed(
        admin, {"list": "", "read": own, "create": "n < 10", "update": own, "delete": None}
    )
    imported(ada, path, ndjson({"slug": "a", "n": 1}))
    (record,) = lines(export(admin, path))
    content = ndjson({"slug": "b", "n": 10}, {"slug": "c", "n": 2}, {"slug": "a", "n": 3})
    assert faults(import_(bob, path, content)) == [(1, "", "forbidden"), (3, "/slug", "not_unique")]
    assert faults(import_(bob, path, content, mode="upsert", key="slug")) == [
        (1, "", "forbidden"),
        (3, "/slug", "not_unique"),
    ]
    # An id that is taken by a record out of sight looks like any refusal.
    hidden = import_(bob, path, ndjson({"slug": "d", "n": 1, "id": record["id"]}))
    assert [each[2] for each in faults(hidden)] == ["forbidden"]
    for line in ({"n": 2}, {"slug": "e", "n": 11}):
        hidden = import_(bob, path, ndjson({**line, "id": record["id"]}), mode="upsert")
        absent = import_(bob, path, ndjson({**line, "id": str(uuid4())}), mode="upsert")
        assert hidden.json()["errors"] == absent.json()["errors"]
    assert records(admin, path, "slug", "n") == [["a", 1]]


def test_fields_for_admins_alone_are_refused_and_kept(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = keyed(admin)
    imported(admin, path, ndjson({"slug": "a", "n": 1, "checked": True}))
    content = ndjson({"slug": "a", "n": 2, "checked": False})
    for mode in ("upsert", "replace"):
        response = import_(ada, path, content, mode=mode, key="slug")
        assert faults(response) == [(1, "/checked", "read_only")]
    assert imported(ada, path, ndjson({"slug": "a", "n": 2}), mode="replace", key="slug")["updated"]
    assert records(admin, path, "n", "checked") == [[2, True]]


def test_a_comparison_tells_nothing_of_hidden_fields(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = keyed(admin, pin={"type": "string", "writeOnly": True})
    imported(ada, path, ndjson({"slug": "a", "n": 1, "pin": "1234"}))
    for guess in ("1234", "9999"):
        content = ndjson({"slug": "a", "pin": guess})
        report = imported(ada, path, content, mode="upsert", key="slug", dry_run="true")
        assert (report["updated"], report["unchanged"]) == (1, 0)


def test_whatever_an_export_gives_an_import_takes(admin: httpx.Client, ada: httpx.Client) -> None:
    first, second = define(admin), define(admin)
    fill(ada, first, *({"n": n, "title": "x" * n, "tags": [n, "a", None]} for n in range(50)))
    content = export(ada, first, trailer="true").content
    assert imported(ada, second, content)["inserted"] == 50
    assert records(ada, second, "id", "n", "tags") == records(ada, first, "id", "n", "tags")
    third = define(admin)
    assert imported(admin, third, content, system_fields="keep")["inserted"] == 50
    assert export(admin, third, trailer="true").content == content


def test_a_file_that_is_not_whole_is_refused(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    fill(ada, path, *({"n": n} for n in range(50)))
    content = export(ada, path, trailer="true").content
    parts = content.splitlines(keepends=True)
    packed = gzip.compress(content)
    squeezed = zstandard.compress(content)
    for wrong in (
        b"".join([*parts[:10], *parts[11:]]),
        content.replace(b'"n": 7', b'"n": 8'),
        content + parts[0],
        packed[:-9],
        packed[:200],
        packed + b"x",
        packed[:40] + b"\0\0\0\0" + packed[44:],
        squeezed[:-5],
    ):
        response = import_(ada, path, wrong)
        assert (response.status_code, response.json()["code"]) == (400, "unreadable_file")


@pytest.mark.parametrize("coding", ["gzip", "zstd", "two of gzip", "two of zstd"])
@pytest.mark.parametrize("named", [True, False])
def test_compressed_files_are_taken(
    admin: httpx.Client,
    ada: httpx.Client,
    coding: str,
    named: bool,  # noqa: FBT001
) -> None:
    path = define(admin)
    content = ndjson(*({"n": n, "title": "t" * 300} for n in range(3000)))
    compress = gzip.compress if "gzip" in coding else zstandard.compress
    half = len(content) // 2
    parts = [content[:half], content[half:]] if "two" in coding else [content]
    fields = {"Content-Type": "application/x-ndjson"}
    if named:
        fields["Content-Encoding"] = coding.rpartition(" ")[2]
    response = ada.post(f"{path}/import", content=b"".join(map(compress, parts)), headers=fields)
    assert (response.status_code, response.json()["inserted"]) == (200, 3000)


def test_parameters_that_are_wrong_are_named(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    for params in (
        {"format": "xml"},
        {"mode": "merge"},
        {"on_error": "stop"},
        {"dry_run": "yes"},
        {"key": "n"},
        {"mode": "upsert", "key": "n"},
        {"mode": "upsert", "key": "nothing"},
        {"columns": "{}"},
        {"format": "csv", "columns": "a:b"},
        {"format": "csv", "columns": '{"a":1}'},
        {"system_fields": "keep"},
        {"mode": "upsert", "system_fields": "keep"},
        {"colums": "x"},
    ):
        response = import_(ada, path, b"", **params)
        assert response.status_code == 400, (params, response.text)
    assert import_(ada, path, b"", "application/x-www-form-urlencoded").status_code == 415
    assert import_(ada, path, b"", "text/plain", format="ndjson").status_code == 200
    response = ada.post(f"{path}/import?format=ndjson", headers={"Content-Encoding": "br"})
    assert response.status_code == 415


def test_a_line_that_is_too_long_is_refused_and_the_rest_goes_on(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    content = (
        b'{"n":1}\n{"title":"'
        + b"x" * 5_000_000
        + b'"}\n{"n":2}\n{"title":"'
        + b"x" * 1_100_000
        + b'"}'
    )
    report = imported(ada, path, content, on_error="skip")
    assert [(each["line"], each["code"]) for each in report["errors"]] == [
        (2, "line_too_long"),
        (4, "record_too_large"),
    ]
    assert sorted(records(ada, path, "n")) == [[1], [2]]


def test_lists_show_an_import_at_once(admin: httpx.Client, ada: httpx.Client) -> None:
    path = f"/collections/c{uuid4().hex[:12]}"
    cache = {"list": "60s", "record": "60s"}
    admin.put(path, json={"schema": SCHEMA, "rules": OPEN, "cache": cache})
    id_ = str(uuid4())
    assert ada.get(f"{path}/records").json()["items"] == []
    assert ada.get(f"{path}/records/{id_}").status_code == 404
    imported(ada, path, ndjson({"n": 1, "id": id_}))
    assert len(ada.get(f"{path}/records").json()["items"]) == 1
    assert ada.get(f"{path}/records/{id_}").json()["n"] == 1
    imported(ada, path, ndjson({"n": 2, "id": id_}), mode="upsert")
    assert ada.get(f"{path}/records").json()["items"][0]["n"] == 2
    assert ada.get(f"{path}/records/{id_}").json()["n"] == 2


def test_an_import_needs_the_right_to_create(
    admin: httpx.Client, ada: httpx.Client, anonymous: httpx.Client
) -> None:
    path = define(admin, {**OPEN, "create": None})
    assert import_(ada, path, b"").status_code == 403
    assert import_(anonymous, path, b"").status_code == 401
    path = define(admin, {**OPEN, "update": None})
    assert import_(ada, path, b"").status_code == 200
    assert import_(ada, path, b"", mode="upsert").status_code == 403
    assert import_(ada, "/collections/nowhere", b"").status_code == 404


def test_the_first_thousand_refusals_are_told(admin: httpx.Client, ada: httpx.Client) -> None:
    path = keyed(admin)
    content = ndjson(*({"slug": f"s{n}"} for n in range(1500)))
    report = imported(ada, path, content, on_error="skip")
    assert (report["refused"], len(report["errors"])) == (1500, 1000)
    content = ndjson(*({"slug": f"s{n}", "n": 1} for n in range(1500)))
    imported(ada, path, content)
    report = imported(ada, path, content, on_error="skip")
    assert (report["refused"], len(report["errors"])) == (1500, 1000)
    assert [each["line"] for each in report["errors"]] == list(range(1, 1001))
    assert json.dumps(report["errors"]).count("not_unique") == 1000
