"""Whether a server does the work of an item: its answers are compared with the records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.peers.calls import Call, WrongAnswer
from bench.peers.items import lacks
from bench.peers.records import BATCH, Record, more, page
from bench.stage import MEMBER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.peers.server import Server

_SAMPLE = 20


def check(server: Server, records: Sequence[Record]) -> None:
    """Raise WrongAnswer at the first answer that differs; what was written is taken back."""
    places = range(0, len(records), max(1, len(records) // _SAMPLE))
    for place in places:
        _same(server, server.get(server.ids[place]), records[place])
    for _ in range(2):
        # The second answer is a cache's, if there is one.
        _same(server, server.get_hot(server.ids[0]), records[0])
    _lists(server, page(list(records)))
    _writes(server, records[0])
    if not lacks(server, "batch"):
        _batch(server)
    if not lacks(server, "login"):
        _login(server)
    if server.checks_callers:
        _strangers(server)
    if server.checks_records:
        _refused(server)


def _same(server: Server, call: Call, expected: Record) -> None:
    found = server.record(call.answer())
    if found != expected:
        raise WrongAnswer(f"{call.path} has {_excerpt(found)}, not {_excerpt(expected)}")


def _lists(server: Server, expected: list[Record]) -> None:
    asked = [server.listing()]
    if not lacks(server, "list_hot"):
        # The second answer is the cache's.
        asked += [server.listing_hot()] * 2
    for call in asked:
        found = server.records(call.answer())
        if found != expected:
            raise WrongAnswer(f"its list has {len(found)} records, and not those {len(expected)}")


def _writes(server: Server, first: Record) -> None:
    record = more(1)[0]
    made = server.id_of(server.create(record).answer())
    _same(server, server.get(made), record)
    server.delete(made).answer()
    changed = {**first, "size": int(first["size"]) + 1}
    for expected in (changed, first):
        server.update(server.ids[0], {"size": expected["size"]}).answer()
        _same(server, server.get(server.ids[0]), expected)


def _batch(server: Server) -> None:
    records = more(BATCH)
    made = server.batch_ids(server.batch(records).answer())
    found = [server.record(server.get(id_).answer()) for id_ in made]
    # The order of the answers is the server's own.
    if sorted(found, key=str) != sorted(records, key=str):
        raise WrongAnswer(f"a batch of {BATCH} creates made {len(found)} records, and not these")
    for id_ in made:
        server.delete(id_).answer()


def _login(server: Server) -> None:
    server.login().answer()
    if server.login({**MEMBER, "password": "another password"}).send().is_success:
        raise WrongAnswer("a wrong password is let in")


def _strangers(server: Server) -> None:
    known = server.get(server.ids[0])
    # The name of an application is no account.
    headers = {name: value for name, value in known.headers.items() if name.endswith("-Id")}
    if Call(known.port, "GET", known.path, None, headers).send().is_success:
        raise WrongAnswer("a record is shown to callers without an account")


def _refused(server: Server) -> None:
    if server.create({**more(1)[0], "size": "not a number"}).send().is_success:
        raise WrongAnswer("a string is taken for the number")


def _excerpt(record: Record) -> str:
    return str({name: str(value)[:20] for name, value in record.items()})
