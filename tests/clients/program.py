"""Every operation on every collection, through the client that openapi-python-client makes.

Type-checked strictly, and then run against a server: URL and TOKEN are in the environment.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TypeVar
from uuid import uuid4

from listo_client import AuthenticatedClient, models
from listo_client.api.books import (
    batch_books_records,
    create_books_record,
    delete_books_record,
    get_books_record,
    list_books_records,
    replace_books_record,
    update_books_record,
)
from listo_client.api.flags import (
    batch_flags_records,
    create_flags_record,
    delete_flags_record,
    get_flags_record,
    list_flags_records,
    replace_flags_record,
    update_flags_record,
)
from listo_client.api.tree_nodes import (
    batch_tree_dash_nodes_records,
    create_tree_dash_nodes_record,
    delete_tree_dash_nodes_record,
    get_tree_dash_nodes_record,
    list_tree_dash_nodes_records,
    replace_tree_dash_nodes_record,
    update_tree_dash_nodes_record,
)
from listo_client.types import UNSET

Value = TypeVar("Value")
Answer = TypeVar("Answer")

client = AuthenticatedClient(base_url=os.environ["URL"], token=os.environ["TOKEN"])


def known(value: Answer | models.Problem | None) -> Answer:
    """The value, which is neither a problem nor missing."""
    assert value is not None
    assert not isinstance(value, models.Problem), value
    return value


def use_books() -> None:
    melville = models.BooksPerson("Melville", teacher=models.BooksPerson("Hawthorne"))
    sent = models.BooksInput("Moby Dick", year=1851, authors=[melville], parent=uuid4())
    made = known(create_books_record.sync(client=client, body=sent))
    assert isinstance(made.authors, list)
    assert made.authors[0].to_dict() == {"name": "Melville", "teacher": {"name": "Hawthorne"}}
    got = known(get_books_record.sync(made.id, client=client))
    assert (got.title, got.year, got.parent) == ("Moby Dick", 1851, sent.parent)
    page = known(list_books_records.sync(client=client, filter_="year > 1800", limit=1))
    assert [item.id for item in page.items] == [made.id]
    patch = models.BooksPatch(year=None, parent=None)
    changed = known(update_books_record.sync(made.id, client=client, body=patch))
    assert (changed.title, changed.year, changed.version) == ("Moby Dick", UNSET, 2)
    late = update_books_record.sync(made.id, client=client, body=patch, if_match='"1"')
    assert isinstance(late, models.Problem)
    assert late.code == "version_conflict"
    whole = models.BooksInput("Typee", publisher=models.BooksInputPublisher("Wiley"))
    replaced = known(replace_books_record.sync(made.id, client=client, body=whole))
    assert (replaced.title, replaced.authors) == ("Typee", UNSET)
    create = models.BooksBatchCreate("create", models.BooksInput("Omoo"), id=uuid4())
    update = models.BooksBatchUpdate("update", made.id, models.BooksPatch(title="Mardi"))
    delete = models.BatchDelete("delete", made.id)
    batch = models.BooksBatch([create, update, delete])
    done = known(batch_books_records.sync(client=client, body=batch))
    assert [result.version for result in done.results] == [1, replaced.version + 1, None]
    assert isinstance(create.id, type(made.id))
    assert delete_books_record.sync_detailed(create.id, client=client).status_code == 204


def use_flags() -> None:
    level = models.FlagsInputLevel.VALUE_2
    for mixed, size in ((models.FlagsInputMixedType0.AUTO, models.FlagsBox(1.5)), (None, "large")):
        sent = models.FlagsInput(
            on=True,
            either=False,
            level=level,
            ratio=0.5,
            mixed=mixed,
            size=size,
            yes=True,
            any_=[1],
        )
        made = known(create_flags_record.sync(client=client, body=sent))
        got = known(get_flags_record.sync(made.id, client=client))
        assert (got.on, got.either, got.ratio, got.yes, got.any_) == (True, False, 0.5, True, [1])
        assert got.level == models.FlagsRecordLevel.VALUE_2
        assert got.to_dict()["mixed"] == sent.to_dict()["mixed"]
        assert got.size == size
    patch = models.FlagsPatch(either=None, level=models.FlagsPatchLevelType0.VALUE_3)
    changed = known(update_flags_record.sync(made.id, client=client, body=patch))
    assert (changed.either, changed.level) == (UNSET, models.FlagsRecordLevel.VALUE_3)
    whole = models.FlagsInput(on=True, mixed=2.5, size=7)
    replaced = known(replace_flags_record.sync(made.id, client=client, body=whole))
    assert (replaced.mixed, replaced.size, replaced.level) == (2.5, 7, UNSET)
    page = known(list_flags_records.sync(client=client, sort="-created_at"))
    assert page.items[0].id == made.id
    batch = models.FlagsBatch([models.FlagsBatchCreate("create", models.FlagsInput(on=True))])
    assert known(batch_flags_records.sync(client=client, body=batch)).results[0].version == 1
    assert delete_flags_record.sync_detailed(made.id, client=client).status_code == 204


def use_trees() -> None:
    leaf = models.TreeDashNodesNode(name="leaf", at=datetime(2026, 1, 31, tzinfo=UTC))
    tree = models.TreeDashNodesNode(name="root", children=[leaf])
    made = known(create_tree_dash_nodes_record.sync(client=client, body=tree))
    got = known(get_tree_dash_nodes_record.sync(made.id, client=client))
    assert isinstance(got.children, list)
    assert got.children[0].at == leaf.at
    patch = models.TreeDashNodesPatch(children=[])
    changed = known(update_tree_dash_nodes_record.sync(made.id, client=client, body=patch))
    assert (changed.name, changed.children) == ("root", [])
    whole = models.TreeDashNodesNode(alias="other")
    replaced = known(replace_tree_dash_nodes_record.sync(made.id, client=client, body=whole))
    assert (replaced.name, replaced.alias) == (UNSET, "other")
    page = known(list_tree_dash_nodes_records.sync(client=client, fields="alias"))
    assert [item.alias for item in page.items] == ["other"]
    update = models.TreeDashNodesBatchUpdate("update", made.id, models.TreeDashNodesPatch(name="x"))
    batch = models.TreeDashNodesBatch([update])
    done = known(batch_tree_dash_nodes_records.sync(client=client, body=batch))
    assert done.results[0].version == replaced.version + 1
    assert delete_tree_dash_nodes_record.sync_detailed(made.id, client=client).status_code == 204


use_books()
use_flags()
use_trees()
