"""Batches: all operations or none, and the operation at fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.answers.asker import MISSING

if TYPE_CHECKING:
    from bench.answers.asker import Asker

LOOSE, BOOKS, OWN = (f"/collections/{name}/records" for name in ("loose", "books", "own"))
CHOSEN = tuple(f"9f3c8b52-6f0e-4d7a-9a39-2f6a1d3e5c8{n}" for n in range(5))
WRONG: tuple[Any, ...] = (
    {}, [], None, {"operations": []}, {"operations": {}}, {"operations": [1]}, {"operation": []},
    {"operations": [], "more": 1}, {"operations": [{}]}, {"operations": [{"op": "read"}]},
    {"operations": [{"op": "create"}]}, {"operations": [{"op": "create", "data": []}]},
    {"operations": [{"op": "create", "data": {}, "version": 1}]},
    {"operations": [{"op": "create", "data": {}, "id": "x"}]},
    {"operations": [{"op": "update", "data": {}}]}, {"operations": [{"op": "update", "id": 5}]},
    {"operations": [{"op": "update", "id": MISSING, "data": {}, "version": "1"}]},
    {"operations": [{"op": "update", "id": MISSING, "data": {}, "version": 0}]},
    {"operations": [{"op": "delete"}]},
    {"operations": [{"op": "delete", "id": MISSING, "data": 1}]},
    {"operations": [{"op": "create", "data": {}}] * 1001},
    {"operations": [{"op": "create", "data": {"id": 1}}]},
    {"operations": [{"op": "delete", "id": MISSING}]},
    {"operations": [{"op": "update", "id": MISSING, "data": {}}]},
    {"operations": [{"op": "create", "data": {"count": "x"}}]},
    {"operations": [{"op": "create", "data": {"count": n}} for n in (1, "")]},
)  # fmt: skip


def ask(ask: Asker) -> None:
    for body in WRONG:
        ask("POST", f"{LOOSE}:batch", body)
    created = [{"op": "create", "data": {"count": n}, "id": id_} for n, id_ in enumerate(CHOSEN)]
    ask("POST", f"{LOOSE}:batch", {"operations": created}, by="ada")
    ask("POST", f"{LOOSE}:batch", {"operations": created}, by="ada")
    ask("POST", f"{LOOSE}:batch", {"operations": [*created[:1], *created[:1]]}, by="ada")
    for id_ in CHOSEN:
        ask("GET", f"{LOOSE}/{id_}")
    mixed = [
        {"op": "update", "id": CHOSEN[0], "data": {"count": 10}},
        {"op": "update", "id": CHOSEN[0], "data": {"count": 10}},
        {"op": "update", "id": CHOSEN[0], "data": {"count": None}, "version": 2},
        {"op": "delete", "id": CHOSEN[1], "version": 1},
        {"op": "create", "id": CHOSEN[1], "data": {"title": "again"}},
        {"op": "create", "data": {"title": "another"}},
        {"op": "delete", "id": CHOSEN[2]},
    ]
    ask("POST", f"{LOOSE}:batch", {"operations": mixed}, by="bob")
    ask("POST", f"{LOOSE}:batch", {"operations": mixed}, by="bob")
    for stale in ({"version": 1}, {"version": 99}, {"data": {"count": "x"}}, {"data": {"id": 1}}):
        last = {"op": "update", "id": CHOSEN[3], "data": {"count": 1}, **stale}
        first = {"op": "update", "id": CHOSEN[4], "data": {"count": 77}}
        ask("POST", f"{LOOSE}:batch", {"operations": [first, last]}, by="ada")
    for id_ in CHOSEN:
        ask("GET", f"{LOOSE}/{id_}")
    _rules(ask)
    many = [{"op": "create", "data": {"count": n}} for n in range(1000)]
    ask("POST", f"{LOOSE}:batch", {"operations": many}, by="admin")


def _rules(ask: Asker) -> None:
    """Operations that a caller may neither do nor see."""
    made = ask("POST", OWN, {"n": 1}, by="ada")
    hidden = [{"op": "delete", "id": made.id}]
    for caller in ("", "bob", "ada"):
        ask("POST", f"{OWN}:batch", {"operations": [{"op": "create", "data": {}}]}, by=caller)
        ask("POST", f"{OWN}:batch", {"operations": hidden}, by=caller)
    closed = {"operations": [{"op": "create", "data": {}}]}
    for collection in ("closed", "members-only", "nothing"):
        for caller in ("", "ada", "admin"):
            ask("POST", f"/collections/{collection}/records:batch", closed, by=caller)
    fields = {"title": "x", "stock": 1, "secret": "s"}
    for caller in ("ada", "admin"):
        ask("POST", f"{BOOKS}:batch", {"operations": [{"op": "create", "data": fields}]}, by=caller)
