"""Preconditions: If-Match and If-None-Match of records, as clients and proxies write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.answers.asker import MISSING

if TYPE_CHECKING:
    from bench.answers.asker import Asker

LOOSE = "/collections/loose/records"
TAGS = (
    '"1"', '"2"', 'W/"2"', '"2-gzip"', '"2--gzip"', '"2;gzip"', '"2-zip"', '"1", "2"', '"1", W/"3"',
    "*", " * ", "*, *", "2", '"2', '"', "", ",", '"02"', '"-1"', '"a"', '"99999999999999999999"',
    "W/2", 'w/"2"', '"2" "3"',
)  # fmt: skip


def ask(ask: Asker) -> None:
    for tag in TAGS:
        # Each tag meets a new record of version 2.
        made = ask("POST", LOOSE, {"count": 1}, by="ada")
        target = f"{LOOSE}/{made.id}"
        ask("PATCH", target, {"count": 2}, by="ada")
        ask("GET", target, by="ada", fields=[("If-None-Match", tag)])
        ask("PATCH", target, {"count": 3}, by="ada", fields=[("If-Match", tag)])
        ask("PUT", target, {"count": 4}, by="ada", fields=[("If-Match", tag)])
        ask("DELETE", target, by="ada", fields=[("If-Match", tag)])
    gone = f"{LOOSE}/{MISSING}"
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
        body = None if method in ("GET", "HEAD", "DELETE") else {"count": 1}
        for field in ("If-Match", "If-None-Match"):
            for tag in ("*", '"1"', "x"):
                ask(method, gone, body, fields=[(field, tag)])
    for both in ((("If-Match", '"1"'), ("If-None-Match", "*")), (("If-None-Match", '"1"'),)):
        ask("PUT", gone, {"count": 1}, fields=both)
