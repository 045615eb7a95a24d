"""The OpenAPI document for each caller, the pages around it, and the metrics of the sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.answers.asker import Asker

NAMED = ("books", "loose,books", " books , loose ", "books,books", "closed", "nothing", "", ",")
# `paths` asks for the rest of /docs.
ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js")


def ask(ask: Asker) -> None:
    for caller in ("admin", "ada", ""):
        found = ask("GET", "/openapi.json", by=caller)
        known = [("If-None-Match", found.field("ETag"))]
        ask("GET", "/openapi.json", by=caller, fields=known)
        ask("HEAD", "/openapi.json", by=caller)
        for names in NAMED:
            target = f"/openapi.json?collections={names.replace(' ', '%20')}"
            ask("GET", target, by=caller, fields=[("If-None-Match", '"other"')])
    for key in ("of books", "definer", "of users"):
        ask("GET", "/openapi.json", by=key)
    ask("GET", "/openapi.json", fields=[("If-None-Match", "x")])
    for asset in ASSETS:
        ask("GET", f"/docs/{asset}")
    ask.measured("/metrics")
