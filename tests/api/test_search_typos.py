"""Misspelt words: which are corrected, to what, and what a correction may tell."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from app.collections import repository as collections
from app.core.errors import QueryTooSlow
from app.records.search import words
from fixtures.cluster import fetch
from fixtures.searches import OPEN, SCHEMA, SEARCH, count_words, define, fill, search
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

OWN = {"list": "owner = @user.id", "create": "", "read": ""}


@pytest.fixture(scope="module")
def path(server: Server, admin: httpx.Client, ada: httpx.Client) -> str:
    made = define(admin)
    fill(
        ada,
        made,
        {"title": "Prometheus alerts", "body": "monitoring of containers"},
        {"title": "Prometheus again", "body": "Élan and straße, horse and house"},
        {"title": "house of cards", "body": "small talk, http2"},
        {"title": "xylophone"},
    )
    count_words(server)
    return made


@pytest.mark.parametrize(
    ("q", "meant"),
    [
        ("promethues", "prometheus"),  # two letters in the wrong order
        ("prometeus", "prometheus"),  # a letter missing
        ("promettheus", "prometheus"),  # a letter too many
        ("promotheus", "prometheus"),  # a wrong letter
        ("promotheuss", "prometheus"),  # two slips in a long word
        ("brometheus", "prometheus"),  # a wrong first letter in a long word
        ("hosue", "house"),
        ("PROMETHUES", "prometheus"),
        ("strase", "strasse"),
        ("prometheus contaners", "prometheus containers"),
        ("promethues contaners", "prometheus containers"),
        ("promethues -house", "prometheus -house"),
        ("promethues or nothing", "prometheus or nothing"),
        ('promethues "alerts"', 'prometheus "alerts"'),
    ],
)
def test_slips_are_corrected(ada: httpx.Client, path: str, q: str, meant: str) -> None:
    found = search(ada, path, q=q)
    assert found["did_you_mean"] == meant
    assert found["items"]
    assert found["items"] == search(ada, path, q=meant)["items"]


@pytest.mark.parametrize(
    "q",
    [
        "hose",  # four letters: too short
        "xouse",  # a wrong first letter counts twice
        "huose cards nothing",  # the rest finds nothing either
        "huosse",  # two slips in a short word
        "-promethues",
        '"promethues"',
        "ylophonee",
        "http3",
        "prometheus",
        "zzzzzzzzz",
        "",
    ],
)
def test_other_words_stay(ada: httpx.Client, path: str, q: str) -> None:
    assert "did_you_mean" not in search(ada, path, q=q)


def test_the_finished_words_of_a_prefix_are_corrected(ada: httpx.Client, path: str) -> None:
    found = search(ada, path, q="promethues aler", prefix="true")
    assert found["did_you_mean"] == "prometheus aler"
    assert [item["title"] for item in found["items"]] == ["Prometheus alerts"]


def test_words_with_marks_are_corrected_as_a_whole(
    server: Server, admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, {"fields": {"title": "A"}, "language": "hindi"})
    fill(ada, path, {"title": "हिन्दुस्तान"})
    count_words(server)
    assert search(ada, path, q="हिन्दुसतान")["did_you_mean"] == "हिन्दुस्तान"


def test_further_pages_go_on_with_the_correction(ada: httpx.Client, path: str) -> None:
    first = search(ada, path, q="promethues", limit=1)
    second = search(ada, path, q="promethues", limit=1, cursor=first["next"])
    assert second["did_you_mean"] == "prometheus"
    assert {first["items"][0]["title"], second["items"][0]["title"]} == {
        "Prometheus alerts", "Prometheus again",
    }  # fmt: skip


def test_the_more_frequent_word_is_meant(
    server: Server, admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    fill(ada, path, {"title": "mouse"}, {"title": "moose"}, {"title": "a moose"})
    count_words(server)
    assert search(ada, path, q="mo_se mosse")["items"] == []
    assert search(ada, path, q="mosse")["did_you_mean"] == "moose"


def test_counted_words_are_for_callers_who_see_all_records(
    server: Server, admin: httpx.Client, ada: httpx.Client, bob: httpx.Client
) -> None:
    path = define(admin, rules=OWN)
    fill(bob, path, {"title": "organization of the relational merger"})
    # The stems of some hidden words are those of her own.
    fill(ada, path, {"title": "organ"}, {"title": "relations"}, {"title": "mergar"})
    count_words(server)
    assert search(admin, path, q="organizatoin")["did_you_mean"] == "organization"
    for q in ("organizatoin", "relatoinal", "merger", "mergra"):
        found = search(ada, path, q=q)
        assert (found["items"], found.get("did_you_mean")) == ([], None)
    for q in ("organi", "organiza", "relationa"):
        assert search(ada, path, q=q, prefix="true")["items"] == []
        assert search(admin, path, q=q, prefix="true")["items"]
    for q in ("orga", "rela"):
        assert len(search(ada, path, q=q, prefix="true")["items"]) == 1


def test_words_of_other_fields_are_in_no_correction(
    server: Server, admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    fill(ada, path, {"title": "x", "secret": "password", "section": "category"})
    count_words(server)
    for q in ("pasword", "categroy", "password", "category"):
        found = search(ada, path, q=q)
        assert found["items"] == []
        assert "did_you_mean" not in found


def test_words_of_a_field_that_becomes_hidden_are_in_no_correction(
    server: Server, admin: httpx.Client, ada: httpx.Client
) -> None:
    both = {**SEARCH, "fields": {"title": "A", "section": "B"}}
    path = define(admin, both)
    fill(ada, path, {"title": "treasuring", "section": "treasure"})
    count_words(server)
    assert search(ada, path, q="treasrue")["did_you_mean"] == "treasure"
    section = {"type": "string", "writeOnly": True}
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "section": section}}
    changed = admin.put(path, json={"schema": schema, "rules": OPEN, "search": SEARCH})
    assert changed.status_code == 200
    wait_until(lambda: admin.get(path).json()["search"]["state"] == "ready")
    # The words are counted anew later. Their stem is that of a word that is still there.
    assert "did_you_mean" not in search(ada, path, q="treasrue")
    assert search(ada, path, q="treasured")["items"]


def test_words_are_counted_anew_after_many_writes(
    server: Server, admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    (former,) = fill(ada, path, {"title": "caravan"})
    count_words(server)
    assert search(ada, path, q="carvan")["did_you_mean"] == "caravan"
    fill(ada, path, {"title": "lantern"})
    assert ada.delete(f"{path}/records/{former}").status_code == 204
    count_words(server)
    assert search(ada, path, q="lantren")["did_you_mean"] == "lantern"
    assert "did_you_mean" not in search(ada, path, q="carvan")


def test_words_of_a_deleted_collection_are_forgotten(
    server: Server, database_url: str, admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, SEARCH)
    fill(ada, path, {"title": "forgettable"})
    count_words(server)
    left = "SELECT count(*) FROM listo.search_words WHERE word = 'forgettable'"
    assert fetch(database_url, left)[0][0] == 1
    name = path.rpartition("/")[2]
    assert admin.delete(path, params={"confirm": name}).status_code == 204
    assert fetch(database_url, left)[0][0] == 0


def test_other_collections_are_counted_when_one_is_deleted_meanwhile(
    server: Server, admin: httpx.Client, ada: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, path = define(admin), define(admin)
    fill(ada, path, {"title": "caravan"})
    name, get_all = gone.rpartition("/")[2], collections.get_all

    async def before_the_end(session: Any) -> Any:
        found = await get_all(session)
        await asyncio.to_thread(admin.delete, gone, params={"confirm": name})
        return sorted(found, key=lambda each: each.name != name)

    with monkeypatch.context() as patched:
        patched.setattr(collections, "get_all", before_the_end)
        count_words(server)
    assert admin.get(gone).status_code == 404
    assert search(ada, path, q="carvan")["did_you_mean"] == "caravan"


def test_a_correction_that_takes_too_long_is_left_out(
    ada: httpx.Client, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(*_: object) -> None:
        raise QueryTooSlow

    monkeypatch.setattr(words, "corrected", slow)
    found = search(ada, path, q="promethues")
    assert (found["items"], found.get("did_you_mean")) == ([], None)
