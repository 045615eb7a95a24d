"""Imports of CSV: cells become values of the field's types, as exports write them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.exports import OPEN
from fixtures.imports import CSV, define, export, import_, imported, lines, records

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

TYPED = {
    "properties": {
        "text": {"type": "string"},
        "maybe": {"type": ["string", "null"]},
        "number": {"type": "number"},
        "whole": {"type": "integer"},
        "flag": {"type": "boolean"},
        "list": {"type": "array"},
        "object": {"type": "object"},
        "either": {"type": ["number", "string"]},
    }
}


def first(client: httpx.Client, path: str) -> dict[str, Any]:
    (record,) = lines(export(client, path))
    return {
        name: value
        for name, value in record.items()
        if name not in ("id", "version", "created_at", "updated_at", "owner")
    }


@pytest.mark.parametrize(
    ("header", "row", "record"),
    [
        ("text,number", "a,1.50", {"text": "a", "number": 1.5}),
        ("text,number", ",", {}),
        ("text,number", '"",""', {"text": ""}),
        ("text,whole", '"a\r\nb"" ,",12345678901234567890', None),
        ("flag,text", "TRUE,TRUE", {"flag": True, "text": "TRUE"}),
        ("text,number", " a , 2 ", {"text": " a ", "number": 2}),
        ("list,object", '"[1,""x""]","{""a"":{}}"', {"list": [1, "x"], "object": {"a": {}}}),
        ("either,maybe", "5,null", {"either": 5, "maybe": "null"}),
        ("either,maybe", "5a,", {"either": "5a"}),
        ("text,maybe", "'=1+1,'it's", {"text": "=1+1", "maybe": "'it's"}),
        ("other,more", "5,[1", {"other": 5, "more": "[1"}),
        ("other,more", 'true,"{""a"":null}"', {"other": True, "more": {"a": None}}),
        ("text,_rest", 'a,"{""x"": 1.50, ""y"": null}"', {"text": "a", "x": 1.5, "y": None}),
    ],
)
def test_cells_become_values(
    admin: httpx.Client, ada: httpx.Client, header: str, row: str, record: dict[str, Any] | None
) -> None:
    path = define(admin, schema=TYPED)
    assert imported(ada, path, f"{header}\r\n{row}\r\n".encode(), CSV)["inserted"] == 1
    expected = {"text": 'a\r\nb" ,', "whole": 12345678901234567890} if record is None else record
    assert first(ada, path) == expected


def test_columns_are_renamed_and_left_out(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin, schema=TYPED)
    columns = json.dumps({"Größe": "number", "Notes": None, "a:b,c": "text"})
    content = '\ufeffGröße,Notes,"a:b,c"\n1,x,y\n'.encode()
    assert imported(ada, path, content, CSV, columns=columns)["inserted"] == 1
    assert first(ada, path) == {"number": 1, "text": "y"}
    missing = import_(ada, path, content, CSV, columns='{"Size":"number"}')
    assert (missing.status_code, missing.json()["code"]) == (400, "unreadable_file")


def test_a_table_changes_records_by_a_key(admin: httpx.Client, ada: httpx.Client) -> None:
    path = f"/collections/t{uuid4().hex[:12]}"
    unique = [{"fields": ["text"], "unique": True}]
    admin.put(path, json={"schema": TYPED, "rules": OPEN, "indexes": unique})
    imported(ada, path, b"text,number,flag\na,1,true\nb,2,false\n", CSV)
    report = imported(ada, path, b"text,number\na,5\nb,2\nc,3\n", CSV, mode="upsert", key="text")
    assert (report["inserted"], report["updated"], report["unchanged"]) == (1, 1, 1)
    assert records(ada, path, "text", "number", "flag") == [
        ["a", 5, True],
        ["b", 2, False],
        ["c", 3, None],
    ]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
# JSON numbers have bounds here, see docs/json.md.
floats = st.floats(-1e300, 1e300, allow_subnormal=False)
scalars = st.none() | st.booleans() | st.integers() | floats
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "text": texts,
        "maybe": texts,
        "number": floats | st.integers(-(2**80), 2**80),
        "whole": st.integers(-(2**80), 2**80),
        "flag": st.booleans(),
        "list": st.lists(values, max_size=3),
        "object": st.dictionaries(texts, values, max_size=3),
    },
)
RESERVED = {"id", "version", "created_at", "updated_at", "owner"}


@pytest.fixture(scope="module")
def collections(admin: httpx.Client) -> Callable[[], str]:
    return lambda: define(admin, schema=TYPED)


@given(st.lists(documents, max_size=6))
@settings(max_examples=25, deadline=None)
def test_an_export_of_an_import_of_an_export_is_the_same(
    admin: httpx.Client, collections: Callable[[], str], given_documents: list[Any]
) -> None:
    one, two, three = collections(), collections(), collections()
    content = "".join([f"{json.dumps(each)}\n" for each in given_documents]).encode()
    imported(admin, one, content)
    exported = export(admin, one, trailer="true").content
    imported(admin, two, exported, system_fields="keep")
    assert export(admin, two, trailer="true").content == exported
    table = export(admin, one, format="csv", formulas="raw").content
    imported(admin, three, table, CSV, formulas="raw", system_fields="keep")
    assert export(admin, three, format="csv", formulas="raw").content == table
    assert lines(export(admin, three)) == lines(export(admin, one))
