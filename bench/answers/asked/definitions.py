"""Collections: good and bad definitions, for each caller, changes and deletions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.answers.asker import Asker

OPEN = dict.fromkeys(("list", "read", "create", "update", "delete"), "")
MEMBERS = dict.fromkeys(OPEN, "@user.id is not null")
OWN = {"list": "owner = @user.id", "read": "owner = @user.id", "create": "@user.id is not null",
       "update": "owner = @user.id", "delete": 'owner = @user.id and state != "kept"'}  # fmt: skip
BOOKS: dict[str, Any] = {
    "schema": {
        "type": "object",
        "additionalProperties": False,
        "required": ["title"],
        "properties": {
            "title": {"type": "string", "minLength": 1, "maxLength": 80, "description": "Its name"},
            "year": {"type": "integer", "minimum": -3000, "maximum": 2100},
            "price": {"type": "number", "multipleOf": 0.01},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 5,
                     "uniqueItems": True},
            "state": {"enum": ["draft", "kept", "sold"], "default": "draft"},
            "at": {"type": "string", "format": "date-time"},
            "day": {"type": ["string", "null"], "format": "date"},
            "span": {"type": "string", "format": "duration"},
            "key": {"type": "string", "format": "uuid"},
            "home": {"type": "string", "format": "uri"},
            "author": {"$ref": "#/$defs/person"},
            "editors": {"type": "array", "items": {"$ref": "#/$defs/person"}},
            "stock": {"type": "integer", "readOnly": True, "default": 0},
            "secret": {"type": "string", "writeOnly": True},
        },
        "$defs": {
            "person": {
                "title": "A person",
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "mail": {"format": "email"}},
            }
        },
    },
    "rules": OPEN,
    "indexes": ["year", ["state", "-price"], "tags", "-at"],
}  # fmt: skip
LOOSE: dict[str, Any] = {
    "schema": {"properties": {"title": {"type": "string"}, "count": {"type": "integer"}}},
    "rules": OPEN,
}
# Other parts need these as well.
COLLECTIONS: dict[str, dict[str, Any]] = {
    "books": BOOKS,
    "loose": LOOSE,
    "own": {"schema": {"type": "object"}, "rules": OWN},
    "closed": {"schema": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    "members-only": {"schema": {}, "rules": MEMBERS},
    "choices": {
        "schema": {
            "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
            "properties": {"a": {"const": 1}, "b": {"oneOf": [{"type": "string"}, {"minimum": 5}]}},
            "dependentRequired": {"b": ["c"]},
            "if": {"properties": {"a": {"const": 1}}}, "then": {"maxProperties": 3},
            "patternProperties": {"^x_": {"type": "string"}},
            "unevaluatedProperties": {"type": "integer"},
        },
        "rules": OPEN,
    },
    "listed": {"schema": {"properties": {"n": {"type": "integer"}}}, "rules": OPEN,
               "cache": {"list": "10m", "stale_while_revalidate": "5m"}},
}  # fmt: skip
NAMES = ("A", "1a", "a b", "a.b", "é", "a" * 49, "a;drop", "_a", "-", "%00", "%ff", "a" * 48,
         "select")  # fmt: skip
SCHEMAS: tuple[Any, ...] = (
    {"type": "strin"}, {"type": "array"}, {"type": 5}, [], 5, None, True,
    {"properties": {"a": {"type": 1}}}, {"properties": {"id": {}}}, {"required": ["id"]},
    {"properties": {"a": {"$ref": "https://example.com/x"}}}, {"$ref": "#/$defs/none"},
    {"properties": {"a": {"pattern": "(?=x)"}}}, {"properties": {"a": {"pattern": "("}}},
    {"$schema": "http://json-schema.org/draft-07/schema#"}, {"$schema": 5},
    {"$schema": "https://json-schema.org/draft/2020-12/schema"},
    {"minProperties": -1}, {"properties": []}, {"const": {"id": 1}},
    {"allOf": [{}, {"required": ["owner"]}]}, {"dependentRequired": {"title": ["created_at"]}},
    {"properties": {"a": {"properties": {"b": {"readOnly": True}}}}},
    {"anyOf": [{"properties": {"a": {"writeOnly": True}}}]},
    {"properties": {"a": {"format": "unheard-of"}}},
    {"properties": {"a": {"type": "integer", "default": "x"}}},
    {"properties": {"a": {"unevaluatedItems": False}}}, {"x-own": {"a": 1}},
    {"properties": {"a": {"enum": []}}}, {"title": "x" * 5000}, {"properties": {"": {}}},
    {"properties": {"a": {"maximum": 10**400}}}, {"$id": "https://example.com/own"},
    {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    {"properties": {f"p{n}": {"$ref": "#/properties/p0"} for n in range(40)}},
    {"properties": {"a": {"pattern": "(x+x+)+y{900}"}}},
)  # fmt: skip
BODIES: tuple[Any, ...] = (
    {}, [], None, {"json_schema": {}}, {"schema": {}, "search": {}},
    {"schema": {}, "rules": {"read": "a ="}}, {"schema": {}, "rules": {"read": "@user.name = 1"}},
    {"schema": {}, "rules": {"write": ""}}, {"schema": {}, "rules": {"read": 5}},
    {"schema": {}, "rules": {"read": "x" * 5000}}, {"schema": {}, "rules": None},
    {"schema": BOOKS["schema"], "rules": {"read": "yaer = 1"}},
    {"schema": LOOSE["schema"], "rules": {"read": "titel = 1"}},
    {"schema": {}, "indexes": ["a b"]}, {"schema": {}, "indexes": [[]]},
    {"schema": {}, "indexes": ["a", ["a"]]}, {"schema": {}, "indexes": [list("abcdef")]},
    {"schema": {}, "indexes": ["a,b"]}, {"schema": {}, "indexes": [""]},
    {"schema": {}, "indexes": ["a", "`a`"]}, {"schema": {}, "indexes": "a"},
    {"schema": {}, "indexes": [f"a{n}" for n in range(17)]},
    {"schema": BOOKS["schema"], "indexes": [["tags", "year"]]},
    {"schema": BOOKS["schema"], "indexes": ["secret"]},
    {"schema": BOOKS["schema"], "indexes": ["titel"]},
    {"schema": {}, "cache": {"list": "1h"}}, {"schema": {}, "cache": {"list": "99m"}},
    {"schema": {}, "cache": {}}, {"schema": {}, "cache": {"list": "30s", "more": "1s"}},
)  # fmt: skip


def ask(ask: Asker) -> None:
    ask("GET", "/collections")
    for name, definition in COLLECTIONS.items():
        target = f"/collections/{name}"
        ask("PUT", target, definition)
        ask("PUT", target, definition, by="ada")
        ask("PUT", target, definition, by="admin")
        # The second PUT changes nothing.
        ask("PUT", target, definition, by="admin")
        ask.settle(name)
        ask("GET", target, by="ada")
        ask("GET", target)
    for caller in ("admin", "ada", ""):
        ask("GET", "/collections", by=caller)
        ask("GET", "/collections/nothing", by=caller)
    for name in NAMES:
        ask("PUT", f"/collections/{name}", {"schema": {}}, by="admin")
        ask("GET", f"/collections/{name}")
    for body in (*({"schema": schema} for schema in SCHEMAS), *BODIES):
        ask("PUT", "/collections/tried", body, by="admin")
        # So the next definition is not a change of this one.
        ask("DELETE", "/collections/tried?confirm=tried", by="admin")
    _changes(ask)
    _removals(ask)


def _changes(ask: Asker) -> None:
    """Changes of a collection that has records."""
    target = "/collections/changing"
    ask("PUT", target, {"schema": {}, "rules": OPEN}, by="admin")
    for value in (1, "a", 2.5, None):
        ask("POST", f"{target}/records", {"n": value})
    typed = {"schema": {"properties": {"n": {"type": ["number", "null"]}}}, "rules": OPEN}
    ask("PUT", target, typed, by="admin")
    ask("PUT", target, {**typed, "indexes": ["n", "-n"]}, by="admin")
    ask("PUT", target, {"schema": {}, "rules": OPEN, "indexes": ["n"]}, by="admin")
    ask.settle("changing")
    for tag in ('"1"', '"2"', 'W/"2"', '"2-gzip"', '"9", "3"', "*", "3", '"x"'):
        changed = {"schema": {"title": tag}, "rules": OPEN}
        ask("PUT", target, changed, by="admin", fields=[("If-Match", tag)])
    for name in ("changing", "fresh", "fresh"):
        for tag in ("*", '"1"'):
            fields = [("If-None-Match", tag)]
            ask("PUT", f"/collections/{name}", {"schema": {}}, by="admin", fields=fields)
    both = [("If-Match", "*"), ("If-None-Match", "*")]
    ask("PUT", target, {"schema": {}}, by="admin", fields=both)
    ask("PUT", "/collections/unborn", {"schema": {}}, by="admin", fields=[("If-Match", "*")])


def _removals(ask: Asker) -> None:
    target = "/collections/fresh"
    for more in ("", "?confirm=", "?confirm=other", "?confirm=fresh&confirm=fresh"):
        ask("DELETE", f"{target}{more}", by="admin", fields=[("If-Match", '"7"')])
        ask("DELETE", f"{target}{more}", by="ada")
    ask("DELETE", f"{target}?confirm=fresh")
    ask("DELETE", f"{target}?confirm=fresh", by="admin", fields=[("If-Match", '"7"')])
    ask("DELETE", f"{target}?confirm=fresh", by="admin")
    ask("DELETE", f"{target}?confirm=fresh", by="admin")
    ask("GET", target, by="admin")
    ask("GET", f"{target}/records", by="admin")
