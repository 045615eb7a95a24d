"""A collection's own paths in the OpenAPI document, typed by its schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from app.filters import sort
from app.filters.language import parser
from app.http.openapi import ONLY_CREATE, precondition, problems
from app.ratelimit import costs
from app.records.aggregates.aggregate import FUNCTIONS, MAX_KEYS
from app.records.aggregates.keys import PARTS
from app.records.aggregates.parameters import DEFAULT_LIMIT as DEFAULT_GROUPS
from app.records.aggregates.parameters import MAX_LIMIT as MAX_GROUPS
from app.records.lists import fields
from app.records.lists.listing import DEFAULT_LIMIT, MAX_LIMIT
from app.records.openapi.components import identifier, reference
from app.records.openapi.embedding import COMPONENTS
from app.records.upsert import Resolution

if TYPE_CHECKING:
    from app.collections.models import Collection, Operation
    from app.core.actor import Actor

_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "The record's version, quoted."}}
# With a schema for this answer, the answer to any caller would be a choice of two schemas.
_NOT_READ = "A key without `records:read` gets `id` and `version` alone."

_LIST_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "Of the whole answer."}}
_CACHED = {
    "Age": {"schema": {"type": "integer"}, "description": "Of a hit, in seconds."},
    "Cache-Status": {
        "schema": {"type": "string"},
        "description": "How it came about, RFC 9211.",
        "example": "listo; hit; ttl=17",
    },
}


def parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


LIST_PARAMETERS = [
    parameter(
        "filter",
        {"type": "string", "maxLength": parser.MAX_LENGTH},
        "An expression, see the guide.",
    ),
    parameter(
        "sort", {"type": "string", "maxLength": sort.MAX_LENGTH}, "Fields, - in front descends."
    ),
    parameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
        f"Items, {DEFAULT_LIMIT} where it is not given.",
    ),
    parameter("cursor", {"type": "string"}, "next or prev of another page of the same list."),
    parameter(
        "fields", {"type": "string", "maxLength": fields.MAX_LENGTH}, "Only these top-level fields."
    ),
    parameter(
        "count",
        {"type": "string", "enum": ["none", "estimated", "exact"]},
        f"Fill `total`, else it is absent. `exact` counts for {costs.EXACT_COUNT} requests.",
    ),
]
_FILTER = LIST_PARAMETERS[0]
_LIST_OF_FIELDS = {"type": "string", "maxLength": sort.MAX_LENGTH}
_AGGREGATE_PARAMETERS = [
    parameter(
        "group",
        _LIST_OF_FIELDS,
        f"Up to {MAX_KEYS} keys: fields, or {', '.join(PARTS)} of one, like month(created_at).",
    ),
    *(
        parameter(name, _LIST_OF_FIELDS, f"Fields of numbers: their {meaning} in each group.")
        for name, meaning in (
            ("sum", "sum"), ("avg", "average"), ("min", "least"), ("max", "greatest"),
        )
    ),
    _FILTER,
    parameter(
        "sort", _LIST_OF_FIELDS, "count, functions like sum(size), and keys; - in front descends."
    ),
    parameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_GROUPS},
        f"Groups, {DEFAULT_GROUPS} where it is not given.",
    ),
    parameter("zone", {"type": "string"}, "The time zone of parts of times, UTC if not given."),
]  # fmt: skip
_NUMBERS = {"type": "object", "additionalProperties": True}
_GROUPS = {
    "type": "object",
    "required": ["items", "truncated"],
    "properties": {
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["group", "count"],
                "properties": {
                    "group": {"type": "object", "additionalProperties": True},
                    "count": {"type": "integer"},
                    **dict.fromkeys(FUNCTIONS, _NUMBERS),
                },
            },
        },
        "truncated": {"type": "boolean", "description": "Whether there are more groups."},
    },
}
_ID = {
    "name": "record_id", "in": "path", "required": True,
    "schema": {"type": "string", "format": "uuid"},
}  # fmt: skip


def paths_of(collection: Collection, actor: Actor) -> dict[str, Any]:
    """The paths of one collection, with the operations that the caller may try."""
    return _Paths(collection, actor).build()


class _Paths:
    def __init__(self, collection: Collection, actor: Actor) -> None:
        self.collection = collection
        self.actor = actor
        self.base = f"/collections/{collection.name}/records"
        self.input, self.record = (reference(collection.name, kind) for kind in ("input", "record"))

    def build(self) -> dict[str, Any]:
        operations = {
            self.base: {"get": self.list_(), "post": self.create()},
            f"{self.base}:batch": {"post": self.batch()},
            f"/collections/{self.collection.name}/aggregate": {"get": self.aggregate()},
            f"{self.base}/{{record_id}}": {
                "get": self.get(), "put": self.put(),
                "patch": self.patch(), "delete": self.delete(),
            },
        }  # fmt: skip
        shown = {
            path: {method: operation for method, operation in methods.items() if operation}
            for path, methods in operations.items()
        }
        return {path: methods for path, methods in shown.items() if methods}

    def _operation(
        self, rules: tuple[Operation, ...], name: str, summary: str, **rest: Any
    ) -> dict[str, Any] | None:
        if not self.actor.is_admin and all(self.collection.rules[rule] is False for rule in rules):
            return None
        return {
            # Distinct from built-in ids and from ids made of the names of an extension's functions.
            "operationId": name.format(identifier(self.collection.name)),
            "summary": summary,
            "tags": [self.collection.name],
            **rest,
        }

    def list_(self) -> dict[str, Any] | None:
        parameters, headers, more = LIST_PARAMETERS, None, {}
        if self.collection.list_cache is not None:
            parameters = [*parameters, precondition("If-None-Match")]
            headers = {**_LIST_ETAG, **_CACHED}
            more = {"304": {"description": "Not modified"}}
        return self._operation(
            ("list",), "list_{}_records", "List records",
            parameters=parameters,
            responses={
                "200": _json("A page", reference(self.collection.name, "page"), headers),
                **more, **_problems(403, 404),
            },
        )  # fmt: skip

    def create(self) -> dict[str, Any] | None:
        headers = {**_ETAG, "Location": {"schema": {"type": "string"}}}
        more: dict[str, Any] = {}
        present = {}
        if unique := self._readable_unique():
            more["parameters"] = [
                parameter(
                    "on_conflict",
                    {"type": "string", "enum": unique},
                    "Fields of a unique index: a record that has their values already is no "
                    "conflict. Goes with `resolution`.",
                ),
                parameter(
                    "resolution",
                    {"type": "string", "enum": list(get_args(Resolution))},
                    "`merge` patches that record, `replace` replaces its fields, `ignore` leaves "
                    "it as it is.",
                ),
            ]
            present = {"200": _json(f"Was there. {_NOT_READ}", self.record, _ETAG)}
        return self._operation(
            ("create",), "create_{}_record", "Create a record",
            **more,
            requestBody=_body(self.input),
            responses={
                **present,
                "201": _json("Created", self.record, headers),
                **_problems(403, 404, 409, 415, 422),
            },
        )  # fmt: skip

    def _readable_unique(self) -> list[str]:
        """The fields of each unique index whose values the caller may know of."""
        hidden = self.collection.readable.hidden
        fields = (
            ",".join(index.spec.fields)
            for index in self.collection.unique_indexes
            if index.key is not None and not any(path[0] in hidden for path in index.key.paths)
        )
        return list(dict.fromkeys(fields))

    def batch(self) -> dict[str, Any] | None:
        return self._operation(
            ("create", "update", "delete"), "batch_{}_records",
            f"Up to {costs.MAX_OPERATIONS:,} operations, all or none",
            description=f"Counts for one request per {costs.CREATES_OF_A_BATCH} creates and per "
            f"{costs.CHANGES_OF_A_BATCH} updates or deletions.",
            requestBody=_body(reference(self.collection.name, "batch")),
            responses={
                "200": _json("All done", {"$ref": f"{COMPONENTS}BatchResults"}),
                **_problems(403, 404, 409, 412, 415, 422),
            },
        )  # fmt: skip

    def aggregate(self) -> dict[str, Any] | None:
        return self._operation(
            ("list",), "aggregate_{}_records", "Count, sum and average over groups of records",
            description=f"Counts for {costs.AGGREGATE} requests, and more if it takes PostgreSQL "
            "long.",
            parameters=_AGGREGATE_PARAMETERS,
            responses={"200": _json("The groups", _GROUPS), **_problems(403, 404)},
        )  # fmt: skip

    def get(self) -> dict[str, Any] | None:
        headers = _ETAG if self.collection.record_cache is None else {**_ETAG, **_CACHED}
        return self._operation(
            ("read",), "get_{}_record", "Get a record",
            parameters=[_ID, precondition("If-None-Match")],
            responses={
                "200": _json("The record", self.record, headers),
                "304": {"description": "Not modified"},
                **_problems(403, 404),
            },
        )  # fmt: skip

    def put(self) -> dict[str, Any] | None:
        return self._operation(
            ("create", "update"), "replace_{}_record",
            "Replace a record, or create it with If-None-Match: *",
            parameters=[_ID, precondition("If-Match"), precondition("If-None-Match", ONLY_CREATE)],
            requestBody=_body(self.input),
            responses={
                "200": _json(f"Replaced. {_NOT_READ}", self.record, _ETAG),
                "201": _json("Created", self.record, _ETAG),
                **_problems(403, 404, 409, 412, 415, 422),
            },
        )  # fmt: skip

    def patch(self) -> dict[str, Any] | None:
        schema = {"schema": reference(self.collection.name, "patch")}
        content = {"application/json": schema, "application/merge-patch+json": schema}
        return self._operation(
            ("update",), "update_{}_record", "Change some fields of a record",
            parameters=[_ID, precondition("If-Match")],
            requestBody={"required": True, "content": content},
            responses={
                "200": _json(f"Changed. {_NOT_READ}", self.record, _ETAG),
                **_problems(403, 404, 409, 412, 415, 422),
            },
        )  # fmt: skip

    def delete(self) -> dict[str, Any] | None:
        return self._operation(
            ("delete",), "delete_{}_record", "Delete a record",
            parameters=[_ID, precondition("If-Match")],
            responses={"204": {"description": "Deleted"}, **_problems(403, 404, 409, 412)},
        )  # fmt: skip


def _json(
    description: str, schema: dict[str, Any], headers: dict[str, Any] | None = None
) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": description,
        "content": {"application/json": {"schema": schema}},
    }
    if headers:
        response["headers"] = headers
    return response


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _problems(*statuses: int) -> dict[str, Any]:
    return {str(status): response for status, response in problems(*statuses).items()}
