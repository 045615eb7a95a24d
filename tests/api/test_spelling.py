"""The answer to a name that no schema has suggests similar names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.filters.fields import Fields
from app.filters.language.parser import parse_filter
from app.filters.spelling import check_filter

if TYPE_CHECKING:
    import httpx

PROPERTIES: dict[str, Any] = {
    "title": {"type": "string"},
    "year": {"type": "integer"},
    "meta": {
        "type": "object", "properties": {"kind": {}}, "additionalProperties": False,
    },
}  # fmt: skip
OPEN = {"type": "object", "properties": PROPERTIES}
CLOSED = {**OPEN, "additionalProperties": False}


@pytest.fixture(autouse=True)
def books(admin: httpx.Client) -> None:
    for name, schema in (("open", OPEN), ("closed", CLOSED)):
        defined = admin.put(f"/collections/{name}", json={"schema": schema})
        assert defined.is_success, defined.text


@pytest.mark.parametrize("collection", ["open", "closed"])
@pytest.mark.parametrize(
    ("parameters", "position"),
    [
        ({"filter": "yaer < 1900"}, 0),
        ({"filter": 'title = "x" and not yeat = 1900'}, 20),
        ({"filter": "title = yearr"}, 8),
        ({"sort": "title,-Year"}, 7),
        ({"fields": "title,yera"}, 6),
    ],
)
def test_a_misspelt_field_is_answered_with_a_similar_name(
    admin: httpx.Client, collection: str, parameters: dict[str, str], position: int
) -> None:
    response = admin.get(f"/collections/{collection}/records", params=parameters)
    assert response.status_code == 400, response.text
    problem = response.json()
    assert (problem["code"], problem["position"]) == ("unknown_field", position)
    assert "did you mean year?" in problem["detail"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"filter": "`yaer` < 1900"},
        {"filter": "publisher = 1 and years = 2 and yes = 3 and title.yaer = 1"},
        {"sort": "`yaer`,publisher"},
        {"fields": "`yaer`,publisher"},
    ],
)
def test_an_open_schema_takes_other_names(admin: httpx.Client, parameters: dict[str, str]) -> None:
    assert admin.get("/collections/open/records", params=parameters).status_code == 200


@pytest.mark.parametrize("schema", [OPEN, CLOSED])
@pytest.mark.parametrize(
    ("definition", "pointer"),
    [
        ({"rules": {"read": "yaer = 1900"}}, "/rules/read"),
        ({"indexes": ["title", ["title", "-yaer"]]}, "/indexes/1"),
    ],
)
def test_definitions_are_checked_alike(
    admin: httpx.Client, schema: dict[str, Any], definition: dict[str, Any], pointer: str
) -> None:
    response = admin.put("/collections/misspelt", json={"schema": schema, **definition})
    assert response.status_code == 422
    (fault,) = response.json()["errors"]
    assert (fault["pointer"], fault["code"]) == (pointer, "unknown_field")
    assert "did you mean year?" in fault["message"]


@pytest.mark.parametrize(
    ("record", "pointer", "meant"),
    [
        ({"yaer": 1851}, "/yaer", "; did you mean year?"),
        ({"meta": {"knid": 1}}, "/meta/knid", "; did you mean kind?"),
        ({"zzz": 1}, "/zzz", "was unexpected)"),
    ],
)
def test_a_member_that_a_record_cannot_have_is_refused_with_a_hint(
    admin: httpx.Client, record: dict[str, Any], pointer: str, meant: str
) -> None:
    response = admin.post("/collections/closed/records", json=record)
    assert response.status_code == 422
    (fault,) = response.json()["errors"]
    assert fault["pointer"] == pointer
    assert fault["message"].endswith(meant)


def test_of_many_misspelt_members_one_gets_a_hint(admin: httpx.Client) -> None:
    part = {"properties": {"year": {}}, "additionalProperties": False}
    schema = {"properties": {"n": {"type": "string"}, "parts": {"items": part}}}
    assert admin.put("/collections/parts", json={"schema": schema}).is_success
    record = {"n": 1, "parts": [{"yaer": 1}] * 30}
    faults = admin.post("/collections/parts/records", json=record).json()["errors"]
    assert len(faults) == 20
    assert ["did you mean year?" in fault["message"] for fault in faults].count(True) == 1


def test_an_unknown_parameter_is_answered_with_a_similar_name(admin: httpx.Client) -> None:
    response = admin.get("/collections/open/records", params={"filtr": "year = 1"})
    assert response.status_code == 400
    assert response.json()["detail"] == "There is no parameter 'filtr'; did you mean filter?"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("year == 1", "== is written = here"),
        ("year = 1 && year = 2", "&& is written and here"),
        ("year = 1 || year = 2", "|| is written or here"),
        ("!(year = 1)", "! is written not here"),
        ("year <> 1", "<> is written != here"),
        ("year => 1", "=> is written >= here"),
        ("year ~ 1", "~ is written like here"),
        ("created_at > 2026-01-31", "times and other strings are in double quotes"),
    ],
)
def test_signs_of_other_languages_are_told_what_is_written_here(
    admin: httpx.Client, text: str, hint: str
) -> None:
    response = admin.get("/collections/open/records", params={"filter": text})
    assert response.status_code == 400
    assert f"({hint})" in response.json()["detail"]


@pytest.mark.parametrize("parameter", ["filter", "sort"])
def test_a_path_is_no_longer_than_a_record_is_deep(admin: httpx.Client, parameter: str) -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    assert admin.put("/collections/endless", json={"schema": schema}).is_success
    ending = " = 1" if parameter == "filter" else ""
    answers = [
        admin.get(
            "/collections/endless/records", params={parameter: ".".join("a" * steps) + ending}
        )
        for steps in (64, 65, 500)
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 400]
    assert all(answer.json()["position"] == 0 for answer in answers[1:])


def test_looking_for_slips_takes_a_step_for_each_key_of_a_path() -> None:
    class Counted(Fields):
        steps = 0

        def _plain(self, schema: Any) -> tuple[Any, bool]:
            self.steps += 1
            return super()._plain(schema)

    fields = Counted({"type": "object", "properties": {"aaaa": {"$ref": "#"}}})
    check_filter(parse_filter(".".join(["aaaa"] * 64) + " = 1"), fields)
    assert fields.steps <= 65
