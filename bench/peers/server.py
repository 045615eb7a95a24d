"""All that the benchmark knows of a server: how to run and fill it, and what to ask of it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import asyncpg

from bench.peers.calls import Call
from bench.peers.records import FIELDS, Record, dump
from bench.stage import MEMBER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import ExitStack

    import psutil

    from bench.stage import Stage

ITEMS = (
    "get", "get_hot", "list", "list_hot", "login", "update", "mixed", "create", "batch",
)  # fmt: skip
# As many as there are connections: a server may take many tries for one account for an attack.
MEMBERS = (MEMBER, *({**MEMBER, "email": f"member{n}@example.com"} for n in range(1, 64)))


class Server(ABC):
    """A server of the comparison. Methods raise Failed or WrongAnswer where it cannot take part."""

    name: ClassVar[str]
    title: ClassVar[str]
    settings: ClassVar[str]
    # The work that differs from Listo's, told beside the figures.
    differs: ClassVar[tuple[str, ...]] = ()
    # Items that the server has no counterpart for, each with the reason.
    lacks: ClassVar[Mapping[str, str]] = {}
    checks_callers = True
    checks_records = True
    # The members of an answer that the records are in; None where the answer is the record.
    record_in: ClassVar[str | None] = None
    items_in: ClassVar[str] = "items"
    id_field: ClassVar[str] = "id"
    update_method: ClassVar[str] = "PATCH"

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.port = 0
        self.headers: dict[str, str] = {}
        self.ids: list[str] = []
        self.processes: list[psutil.Process] = []

    def install(self) -> None:
        """Have the server's programs in place; Listo's and the floor's are."""
        return

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def start(self, stack: ExitStack) -> None:
        """Run the server until `stack` is left, with its collection, indexes and a member."""

    @abstractmethod
    def load(self, records: Sequence[Record]) -> None:
        """Write the records where the server keeps them; `ids` has their ids afterwards."""

    base: ClassVar[str]
    query: ClassVar[str]

    def get(self, id_: str) -> Call:
        return self.call("GET", f"{self.base}/{id_}")

    def get_hot(self, id_: str) -> Call:
        return self.get(id_)

    def listing(self) -> Call:
        return self.call("GET", f"{self.base}?{self.query}")

    def listing_hot(self) -> Call:
        return self.listing()

    def create(self, record: Record) -> Call:
        return self.call("POST", self.base, self.body(record))

    def update(self, id_: str, change: Record) -> Call:
        return self.call(self.update_method, f"{self.base}/{id_}", self.body(change))

    def delete(self, id_: str) -> Call:
        return self.call("DELETE", f"{self.base}/{id_}")

    # The next three are called for servers that have these items alone.

    def batch(self, records: Sequence[Record]) -> Call:
        raise NotImplementedError

    def login(self, account: Mapping[str, str] = MEMBER) -> Call:
        raise NotImplementedError

    def batch_ids(self, answer: Any) -> list[str]:
        """The ids of the records that a batch made."""
        raise NotImplementedError

    def body(self, fields: Record) -> Any:
        return fields

    def call(self, method: str, path: str, body: Any = None) -> Call:
        return Call(self.port, method, path, body, dict(self.headers))

    def record(self, answer: Any) -> Record:
        return own_fields(answer if self.record_in is None else answer[self.record_in])

    def id_of(self, answer: Any) -> str:
        return str((answer if self.record_in is None else answer[self.record_in])[self.id_field])

    def records(self, answer: Any) -> list[Record]:
        return [own_fields(item) for item in answer[self.items_in]]

    def processes_of(self, item: str) -> list[psutil.Process]:
        """The processes that serve the item; their children come with them."""
        del item
        return self.processes


def own_fields(answer: Mapping[str, Any]) -> Record:
    return {field: answer[field] for field in FIELDS if field in answer}


def fill(url: str, ids: Sequence[str], records: Sequence[Record], *statements: str) -> None:
    """Run statements that take the records from the temporary table `source (n, id, data)`."""

    def rows() -> Iterator[tuple[int, str, str]]:
        for n, (id_, record) in enumerate(zip(ids, records, strict=True)):
            yield n, id_, dump(record)

    async def work() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("CREATE TEMP TABLE source (n int, id text, data jsonb)")
            await connection.copy_records_to_table("source", records=rows())
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(work())
