"""Statements of a collection: kept as long as the collection, and no longer."""

from __future__ import annotations

import gc
import weakref
from datetime import UTC, datetime
from uuid import uuid4

from app.collections.models import Collection, Definition
from app.core.actor import ANONYMOUS, SYSTEM
from app.records.sql.statements import statements_of


def test_a_former_definition_is_let_go() -> None:
    now = datetime.now(UTC)
    definition = Definition({"type": "object"}, {"read": "owner = @user.id"})
    collection = Collection(uuid4(), "books", 1, definition, now, now)
    statements = statements_of(collection, ANONYMOUS)
    assert statements is statements_of(collection, ANONYMOUS)
    assert statements.read.sql != statements_of(collection, SYSTEM).read.sql
    gone = weakref.ref(collection), weakref.ref(statements)
    del collection, statements
    gc.collect()
    assert [each() for each in gone] == [None, None]
