"""Searches: ranks, phrases, exclusion, prefixes, languages, filters, cursors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from app.ratelimit import costs
from app.records.search import search as searching
from app.records.search.explain import explained
from fixtures.cluster import database, execute
from fixtures.searches import count_words, define, fill, search, titles
from fixtures.server import serving, settings

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

ODD = (
    "", " ", "the", "?!", "-", '"', '""', "-words", "the and or", "\0", ":*", "!", "&|", "(((",
    "<->", "'", "\\", "a" * 256, '"unclosed words', "—…«»", "\u202e\ud7ff", "\x01awords", "or",
    "- -", "'words", "\U0001f600", "words \u0301",
)  # fmt: skip


def test_records_with_the_word_in_a_heavier_field_come_first(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    fill(
        ada,
        path,
        {"title": "one", "body": "a lantern in the window"},
        {"title": "lantern two", "body": "nothing else"},
        {"title": "three", "body": "a lantern, another lantern and a third lantern"},
        {"title": "four", "body": "candles only"},
    )
    found = search(ada, path, q="lanterns")
    assert [item["title"] for item in found["items"]] == ["three", "lantern two", "one"]
    ranks = [item["_rank"] for item in found["items"]]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[0] > ranks[1] > ranks[2] > 0
    assert found["approximate"] is False
    assert found["next"] is None
    assert found["facets"] == {}


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("blue boat", {"blue boat", "boat, blue"}),
        ('"blue boat"', {"blue boat"}),
        ("boat -blue", {"red boat"}),
        ('boat -"blue boat"', {"red boat", "boat, blue"}),
        ("red or green", {"red boat", "green tree"}),
        ("BOATS", {"blue boat", "boat, blue", "red boat"}),
        ("yacht", set()),
        ("blue AND boat", {"blue boat", "boat, blue"}),
    ],
)
def test_words_phrases_exclusion_and_or(
    admin: httpx.Client, ada: httpx.Client, q: str, expected: set[str]
) -> None:
    path = define(admin)
    fill(ada, path, *({"title": each} for each in ("blue boat", "boat, blue", "red boat")))
    fill(ada, path, {"title": "green tree"})
    assert set(titles(ada, path, q=q)) == expected


def test_a_word_that_is_only_begun(server: Server, admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    fill(ada, path, *({"title": each} for each in ("relational tables", "relief", "the table")))
    assert titles(ada, path, q="relat", prefix="true") == ["relational tables"]
    assert set(titles(ada, path, q="rel", prefix="true")) == {"relational tables", "relief"}
    assert titles(ada, path, q="table rel", prefix="true") == ["relational tables"]
    # The stem is shorter than what was typed.
    assert titles(ada, path, q="relationa", prefix="true") == []
    count_words(server)
    assert titles(ada, path, q="relationa", prefix="true") == ["relational tables"]
    # A word with a blank after it is finished.
    assert titles(ada, path, q="reli ", prefix="true") == []
    assert titles(ada, path, q="reli") == []
    # So is a stop word that may become another word.
    assert titles(ada, path, q="th", prefix="true") == []


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("table or rel", {"relief", "the table", "well-known"}),
        ("table or the rel", {"relief", "the table", "well-known"}),
        ("relief table or well kno", {"well-known"}),
        ("well-kno", {"well-known"}),
        ("table -rel", {"the table"}),
        ("table - rel", {"the table"}),
        ('"the table" -rel', {"the table"}),
        # Exclusion alone finds nothing.
        ("-rel", set()),
        ("relief or -kno", set()),
        ("-table or rel", set()),
    ],
)
def test_the_begun_word_is_joined_as_any_other(
    admin: httpx.Client, ada: httpx.Client, q: str, expected: set[str]
) -> None:
    path = define(admin)
    fill(ada, path, {"title": "relief"}, {"title": "the table"})
    fill(ada, path, {"title": "well-known", "body": "related"})
    assert set(titles(ada, path, q=q, prefix="true")) == expected


@pytest.mark.parametrize(
    ("text", "q"),
    [
        ("東京都に住む", "東京都"),
        ("東京都に住む", "東京都に"),
        ("東京都に住む", "京"),
        ("東京 tower", "東京tow"),
        ("東京 tower", "tow"),
        ("हिन्दी में", "हिन्"),
        ("e\u0301tude", "e\u0301tu"),
    ],
)
def test_words_of_other_scripts_are_begun(
    admin: httpx.Client, ada: httpx.Client, text: str, q: str
) -> None:
    path = define(admin, {"fields": {"title": "A"}, "language": "cjk"})
    fill(ada, path, {"title": text}, {"title": "other words"})
    assert titles(ada, path, q=q, prefix="true") == [text]


@pytest.mark.parametrize(
    ("language", "text", "q"),
    [
        ("german", "Die Häuser am Fluß", "haus fluss"),
        ("french", "Les élèves étudient", "eleve"),
        ("spanish", "Las canciones más bonitas", "canción"),
        ("russian", "Быстрые лисицы", "лисица"),
        ("simple", "The Crème Brûlée", "creme brulee"),
        ("cjk", "東京都に住んでいます", "京都"),
        ("cjk", "東京都に住んでいます", "都"),
        ("cjk", "한국어 문장입니다", "문장"),
        ("cjk", "我们喜欢全文搜索", "全文 搜索"),
        ("cjk", "abc 東京 def", "ABC 東京"),
    ],
)
def test_languages_and_accents(
    admin: httpx.Client, ada: httpx.Client, language: str, text: str, q: str
) -> None:
    path = define(admin, {"fields": {"title": "A"}, "language": language})
    fill(ada, path, {"title": text}, {"title": "other words"})
    assert titles(ada, path, q=q) == [text]


def test_pairs_of_letters_are_a_phrase(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin, {"fields": {"title": "A"}, "language": "cjk"})
    fill(ada, path, {"title": "東京都"}, {"title": "東京 京都"}, {"title": "京東都"})
    assert titles(ada, path, q="東京都") == ["東京都"]
    assert set(titles(ada, path, q="東京 -東京都")) == {"東京 京都"}
    found = search(ada, path, q="東京都")
    assert found["items"][0]["_highlights"]["title"] == [
        {"text": "<mark>東京都</mark>", "offsets": [[0, 3]]}
    ]


def test_stop_words_and_punctuation_are_answered(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    fill(ada, path, {"title": "the words"})
    for q in ODD:
        for prefix in ("false", "true"):
            response = ada.get(f"{path}/search", params={"q": q, "prefix": prefix})
            assert response.status_code == 200, (q, response.text)
    assert titles(ada, path, q='"unclosed words') == []
    assert titles(ada, path, q='"words') == ["the words"]
    assert search(ada, path, q="the", count="exact")["total"] == 0


def test_filters_facets_and_counts_go_with_the_words(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    for number in range(30):
        section = ("games", "libs", "net")[number % 3]
        tags = ["x", "x", "y"] if number % 2 else ["y"]
        record = {"title": f"boat {number}", "section": section, "tags": tags}
        fill(ada, path, record if number % 5 else {**record, "downloads": number})
    found = search(
        ada, path, q="boat", filter='section in ["games", "net"]',
        facets="section,tags,downloads,meta.note", count="exact", limit=5,
    )  # fmt: skip
    assert found["total"] == 20
    assert len(found["items"]) == 5
    assert found["approximate"] is False
    assert found["facets"]["section"] == [
        {"value": "games", "count": 10}, {"value": "net", "count": 10},
    ]  # fmt: skip
    assert found["facets"]["tags"] == [{"value": "y", "count": 20}, {"value": "x", "count": 10}]
    assert {each["value"] for each in found["facets"]["downloads"]} == {0, 5, 15, 20}
    assert found["facets"]["meta.note"] == []
    assert search(ada, path, q="boat", count="estimated")["total"] >= 0


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"q": "a" * 257}, "invalid_parameter"),
        ({"q": "a", "limit": "0"}, "invalid_parameter"),
        ({"q": "a", "limit": "101"}, "invalid_parameter"),
        ({"q": "a", "prefix": "yes"}, "invalid_parameter"),
        ({"q": "a", "count": "some"}, "invalid_parameter"),
        ({"q": "a", "sort": "title"}, "invalid_parameter"),
        ({"q": "a", "filter": "title ="}, "invalid_filter"),
        ({"q": "a", "filter": 'secret = "x"'}, "unknown_field"),
        ({"q": "a", "facets": "secret"}, "unknown_field"),
        ({"q": "a", "facets": "nothing"}, "unknown_field"),
        ({"q": "a", "facets": "owner"}, "invalid_parameter"),
        ({"q": "a", "facets": "title,body,tags,section,downloads,meta"}, "invalid_parameter"),
        ({"q": "a", "cursor": "x"}, "invalid_cursor"),
    ],
)
def test_wrong_parameters_are_told(
    admin: httpx.Client, ada: httpx.Client, params: dict[str, str], code: str
) -> None:
    path = define(admin)
    response = ada.get(f"{path}/search", params=params)
    assert (response.status_code, response.json()["code"]) == (400, code)


def test_highlights_are_offsets_and_safe_text(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin, {"fields": {"title": "A", "tags": "C"}, "language": "english"})
    text = '<b>Ünïcode</b> 😀 & "boats" \x02 tell'
    fill(ada, path, {"title": text, "tags": ["none", "a boat", "boat\x1eboat"]})
    (item,) = search(ada, path, q="boat")["items"]
    (of_title,) = item["_highlights"]["title"]
    assert of_title["text"] == (
        "&lt;b&gt;Ünïcode&lt;/b&gt; 😀 &amp; &quot;<mark>boats</mark>&quot;   tell"
    )
    assert [text[start:end] for start, end in of_title["offsets"]] == ["boats"]
    of_tags = item["_highlights"]["tags"]
    assert [(each["index"], each["offsets"]) for each in of_tags] == [
        (1, [[2, 6]]), (2, [[0, 4], [5, 9]]),
    ]  # fmt: skip
    assert item["title"] == text


def test_a_text_with_a_word_that_is_left_out_has_no_highlights(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    fill(ada, path, {"title": "boat", "body": f"{'x' * 3000} a boat"})
    (item,) = search(ada, path, q="boat")["items"]
    assert list(item["_highlights"]) == ["title"]


def test_long_texts_are_shown_in_fragments(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    body = f"{'some words ' * 100}lantern {'other words ' * 100}lantern at last"
    fill(ada, path, {"title": "x", "body": body})
    (item,) = search(ada, path, q="lantern")["items"]
    fragments = item["_highlights"]["body"]
    assert len(fragments) == 2
    for fragment in fragments:
        assert len(fragment["text"]) < 300
        assert "<mark>lantern</mark>" in fragment["text"]
        assert [body[start:end] for start, end in fragment["offsets"]] == ["lantern"]


def test_pages_cover_all_records_once_while_others_come(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    ids = fill(ada, path, *({"title": f"boat {n}", "body": "boat " * (n % 7)} for n in range(60)))
    met: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        found = search(ada, path, q="boat", limit=7, **cursor)
        met += [item["id"] for item in found["items"]]
        fill(ada, path, {"title": "boat boat boat", "body": "boat " * 20}, {"title": "a boat"})
        if found["next"] is None:
            break
        cursor = {"cursor": found["next"]}
    assert sorted(met) == sorted(ids)


def test_a_cursor_belongs_to_its_search_and_caller(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client
) -> None:
    path = define(admin)
    fill(ada, path, *({"title": f"boat {n}"} for n in range(5)))
    cursor = search(ada, path, q="boat", limit=2)["next"]
    assert len(titles(ada, path, q="boat", limit=2, cursor=cursor)) == 2
    for client, params in (
        (bob, {"q": "boat"}), (ada, {"q": "boats"}), (ada, {"q": "boat", "prefix": "true"}),
        (ada, {"q": "boat", "filter": "version = 1"}),
    ):  # fmt: skip
        response = client.get(f"{path}/search", params={**params, "cursor": cursor})
        assert (response.status_code, response.json()["code"]) == (400, "invalid_cursor")


def test_numbers_and_time_raise_ranks(admin: httpx.Client, ada: httpx.Client) -> None:
    search_ = {"fields": {"title": "A"}, "boost": "log(downloads)", "recency": "created_at"}
    path = define(admin, search_)
    counts = (10, 100_000, 0, None, -5, 10**30)
    for count in counts:
        fill(ada, path, {"title": "boat", **({} if count is None else {"downloads": count})})
    found = [item.get("downloads") for item in search(ada, path, q="boat")["items"]]
    assert found[:3] == [10**30, 100_000, 10]


def test_an_admin_has_a_search_explained(
    server: Server, admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    fill(ada, path, {"title": "prometheus", "body": "a prometheus"}, {"title": "other"})
    count_words(server)
    found = search(admin, path, q="the promethues", explain="true")
    told = found["explain"]
    assert told["dropped_words"] == ["the"]
    assert told["corrected_words"] == {"promethues": "prometheus"}
    assert told["milliseconds"] > 0
    assert told["plan"]
    assert "prometheus 1 in title (A), 1 in body (B)" in told["first"]
    refused = ada.get(f"{path}/search", params={"q": "x", "explain": "true"})
    assert refused.status_code == 403
    assert "first" in search(admin, path, q="?!", explain="true")["explain"]


def test_a_record_that_is_deleted_meanwhile_is_not_explained(
    admin: httpx.Client, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = define(admin)
    fill(admin, path, {"title": "boat"})

    async def before_the_end(*args: Any) -> dict[str, Any]:
        told = await explained(*args)
        await asyncio.to_thread(
            execute, database_url, f'DELETE FROM records."{path.rpartition("/")[2]}"'
        )
        return told

    monkeypatch.setattr(searching, "explained", before_the_end)
    assert "deleted" in search(admin, path, q="boat", explain="true")["explain"]["first"]


def test_slow_searches_are_counted_by_collection(
    admin: httpx.Client, ada: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = define(admin)
    counted = f'listo_slow_searches_total{{collection="{path.rpartition("/")[2]}"}} 1.0'
    assert titles(ada, path, q="boat") == []
    assert counted not in ada.get("/metrics").text
    monkeypatch.setattr(costs, "SLOW_SECONDS", -1)
    assert titles(ada, path, q="boat") == []
    assert counted in ada.get("/metrics").text


def left(response: httpx.Response) -> int:
    return int(response.headers["ratelimit"].split(";")[1].removeprefix("r="))


def test_facets_and_counts_count_for_more(cluster_url: str) -> None:
    with (
        database(cluster_url) as url,
        serving(settings(url, rate_limit_user="10000/day")) as limited,
    ):
        path = define(limited.admin())
        ada = limited.member("counted@example.com")
        for params, cost in (({}, 1), ({"facets": "section"}, 10), ({"count": "exact"}, 10)):
            before = left(ada.get("/auth/me"))
            response = ada.get(f"{path}/search", params={"q": "boat", **params})
            assert before - left(response) == cost
