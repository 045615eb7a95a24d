"""Batches that touch the same records in opposite order: neither is undone because of the other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from fixtures.rules import ANYONE

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

PATH = "/collections/crossed/records"
ROUNDS = 15
RECORDS = 40


@pytest.fixture(scope="module", autouse=True)
def crossed(admin: httpx.Client) -> None:
    rules = ANYONE
    definition = {"schema": {"type": "object"}, "rules": rules}
    assert admin.put("/collections/crossed", json=definition).is_success


def batch(client: httpx.Client, operations: list[dict[str, Any]]) -> int:
    return client.post(f"{PATH}:batch", json={"operations": operations}).status_code


def update(id_: str) -> dict[str, Any]:
    return {"op": "update", "id": id_, "data": {"by": str(uuid4())}}


def delete(id_: str) -> dict[str, Any]:
    return {"op": "delete", "id": id_}


def create(id_: str) -> dict[str, Any]:
    return {"op": "create", "id": id_, "data": {}}


@pytest.mark.parametrize(
    ("one", "other", "statuses"),
    [
        (update, update, {200}),
        (update, delete, {200, 404}),
        (delete, delete, {200, 404}),
    ],
)
def test_changes_in_opposite_order_are_carried_out(
    ada: httpx.Client,
    bob: httpx.Client,
    one: Callable[[str], dict[str, Any]],
    other: Callable[[str], dict[str, Any]],
    statuses: set[int],
) -> None:
    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            ids = [str(uuid4()) for _ in range(RECORDS)]
            assert batch(ada, [create(id_) for id_ in ids]) == 200
            forth = pool.submit(batch, ada, [one(id_) for id_ in ids])
            back = pool.submit(batch, bob, [other(id_) for id_ in reversed(ids)])
            assert {forth.result(), back.result()} <= statuses


@pytest.mark.parametrize("between", [False, True])
def test_of_creations_in_opposite_order_one_batch_wins(
    ada: httpx.Client,
    bob: httpx.Client,
    between: bool,  # noqa: FBT001
) -> None:
    changed = ada.post(PATH, json={}).json()["id"]

    def operations(ids: list[str]) -> list[dict[str, Any]]:
        made = [create(id_) for id_ in ids]
        # An update between two creates keeps them from being one statement.
        return [each for one in made for each in (one, update(changed))] if between else made

    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            ids = [str(uuid4()) for _ in range(RECORDS)]
            forth = pool.submit(batch, ada, operations(ids))
            # The other batch is a single statement.
            back = pool.submit(batch, bob, [create(id_) for id_ in reversed(ids)])
            assert sorted((forth.result(), back.result())) == [200, 409]


def test_a_batch_that_changes_a_foreign_record_is_refused(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    """A batch locks no record that its caller may not change, and the refusal names its index."""
    rules = dict.fromkeys(("list", "read", "create"), "") | {"update": "owner = @user.id"}
    definition = {"schema": {"type": "object"}, "rules": rules}
    assert admin.put("/collections/owned", json=definition).is_success
    path = "/collections/owned/records"
    own, others = ada.post(path, json={}).json()["id"], admin.post(path, json={}).json()["id"]
    answer = ada.post(f"{path}:batch", json={"operations": [update(own), update(others)]})
    assert (answer.status_code, answer.json()["index"]) == (403, 1)
