"""The data of `make bench-growth`: what grows, and the requests that are made at each size."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from bench.beside import add_stage
from bench.callers import add_callers, keys, tokens
from bench.stage import ADMIN, DEFINITION, MEMBER, PRODUCT, scripts
from fixtures.cluster import execute, fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from bench.stage import Stage

PORT = 8460
RECORDS = "/collections/bench/records"
SORT = "-size"
PAGE = 5
FAR = 2000
LONGEST_PAGE = 500
CONNECTIONS = 4
# Requests a second in all, by however many connections: as many as a single one gets answered.
RATE = 300


@dataclass(frozen=True)
class Place:
    """A size, the data of that size, and wrk's scripts for the requests on it."""

    size: int
    stage: Stage
    scripts: dict[str, Path]
    connections: int = CONNECTIONS


class Data:
    """Databases that are copies of a first one, grown in one way each."""

    def __init__(self, first: Stage, records: int) -> None:
        self.first = first
        self._numbers = count(1)
        with first.server(PRODUCT, PORT):
            # Copies have the member's session as well.
            self.token = first.seed(PORT, records)

    def records(self, sizes: Sequence[int]) -> list[Place]:
        places, former = [], self.first
        for size in sizes:
            former = self._copy(former)
            with former.server(PRODUCT, PORT):
                former.seed(PORT, size)
                lua = {"get": scripts(former.folder, former.ids())["get"]}
                pages = [number for number in (1, FAR) if number * PAGE <= size]
                lua |= self._pages(former, pages)
            places.append(Place(size, former, lua))
        return places

    def collections(self, sizes: Sequence[int]) -> list[Place]:
        """As many records in all, in more and more collections."""
        places = []
        for size in sizes:
            bench = self._copy(self.first)
            names = [f"bench-{number}" for number in range(size)]
            with bench.server(PRODUCT, PORT), closing(bench.client(PORT, ADMIN)) as admin:
                for name in names:
                    admin.put(f"/collections/{name}", json=DEFINITION).raise_for_status()
            total = fetch(bench.database_url, "SELECT count(*) FROM records.bench")[0][0]
            each = max(1, total // size)
            moved = (
                f'INSERT INTO records."{name}" (id, data, owner) SELECT id, data, owner'
                f" FROM records.bench ORDER BY id LIMIT {each} OFFSET {number * each % total}"
                for number, name in enumerate(names)
            )
            execute(bench.database_url, *moved, "ANALYZE")
            rows = fetch(
                bench.database_url,
                # A remainder that gives no whole collection was not moved.
                f"SELECT place / {each} AS number, id FROM (SELECT row_number() OVER (ORDER BY id)"
                f" - 1 AS place, id FROM records.bench) AS placed WHERE place < {size * each}"
                " ORDER BY random() LIMIT 20000",
            )
            gets = [f"/collections/bench-{row[0]}/records/{row[1]}" for row in rows]
            pages = [f"/collections/{name}/records?sort={SORT}&limit={PAGE}" for name in names]
            lua = {
                "get": _drawn(bench.folder / "get", gets, "wrk.format('GET', {})"),
                "page 1": _drawn(bench.folder / "page 1", pages, "wrk.format('GET', {})"),
            }
            places.append(Place(size, bench, lua))
        return places

    def callers(self, sizes: Sequence[int]) -> list[Place]:
        """Users with an API key each, of which any may call."""
        places = []
        for size in sizes:
            bench = self._copy(self.first)
            add_callers(bench, size)
            path = f"{RECORDS}/{bench.ids(1)[0]}"
            request = f"wrk.format('GET', '{path}', {{{{Authorization = 'Bearer ' .. {{}}}}}})"
            lua = {
                "by API key": _drawn(bench.folder / "keys", keys(size), request),
                "by user": _drawn(bench.folder / "users", tokens(bench, size), request),
            }
            places.append(Place(size, bench, lua))
        return places

    def pages(self, sizes: Sequence[int]) -> list[Place]:
        """Pages farther and farther from the first, of the same records."""
        bench = self._copy(self.first)
        with bench.server(PRODUCT, PORT):
            bench.seed(PORT, 2 * PAGE * max(sizes))
            lua = self._pages(bench, sizes)
        return [Place(size, bench, {"page": lua[_page(size)]}) for size in sizes]

    def connections(self, sizes: Sequence[int]) -> list[Place]:
        """The same requests a second, spread over more and more connections."""
        bench = self._copy(self.first)
        get = scripts(bench.folder, bench.ids())["get"].read_text()
        places = []
        for size in sizes:
            path = bench.folder / f"get-{size}.lua"
            # Requests come by chance, from the first second on.
            pause = f"-math.log(1 - math.random()) * {1000 * size / RATE}"
            path.write_text(f"{get}\ndelay = function() return {pause} end")
            places.append(Place(size, bench, {"get": path}, size))
        return places

    def _copy(self, template: Stage) -> Stage:
        return add_stage(self.first, next(self._numbers), template=template)

    @staticmethod
    def _pages(bench: Stage, pages: Iterable[int]) -> dict[str, Path]:
        """Scripts for these pages, in rising order, walked to by cursors in longer steps: a cursor
        is the place that a page ended with, whatever the length of the page."""
        parameters = {"sort": SORT, "limit": str(PAGE)}
        paths = {}
        passed = 0
        cursor: dict[str, str] = {}
        with closing(bench.client(PORT, MEMBER)) as client:
            for page in pages:
                while passed < (page - 1) * PAGE:
                    step = min(LONGEST_PAGE, (page - 1) * PAGE - passed)
                    asked = {**parameters, "limit": str(step), **cursor}
                    answer = client.get(RECORDS, params=asked)
                    cursor = {"cursor": answer.raise_for_status().json()["next"]}
                    passed += step
                url = client.build_request("GET", RECORDS, params={**parameters, **cursor}).url
                paths[_page(page)] = path = bench.folder / f"page-{page}.lua"
                target = url.raw_path.decode()
                path.write_text(f"request = function() return wrk.format('GET', '{target}') end")
        return paths


def _page(number: int) -> str:
    return f"page {number:,}"


def _drawn(path: Path, values: Sequence[str], request: str) -> Path:
    """A script whose requests have one of the values by chance, other ones in each run."""
    values_path, script = path.with_suffix(".txt"), path.with_suffix(".lua")
    values_path.write_text("\n".join(values))
    one = request.format("values[math.random(#values)]")
    script.write_text(
        "math.randomseed(os.time())\nlocal values = {}\n"
        f"for line in io.lines('{values_path}') do values[#values + 1] = line end\n"
        f"request = function() return {one} end"
    )
    return script


WAYS: dict[str, Callable[[Data, Sequence[int]], list[Place]]] = {
    "records": Data.records,
    "collections": Data.collections,
    "users": Data.callers,
    "pages": Data.pages,
    "connections": Data.connections,
}
