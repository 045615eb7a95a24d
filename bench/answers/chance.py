"""Records, filters and sorts by chance: the same ones for the same seed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

SHELF: dict[str, Any] = {
    "type": "object",
    "required": ["title", "size"],
    "properties": {
        "title": {"type": "string"},
        "note": {"type": ["string", "null"]},
        "size": {"type": "integer"},
        "ratio": {"type": "number"},
        "flag": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "either": {"type": ["string", "number", "boolean"]},
        "meta": {"type": "object", "properties": {"kind": {"type": "string"}, "n": {}}},
        "at": {"type": "string", "format": "date-time"},
        "day": {"type": ["string", "null"], "format": "date"},
        "opens": {"type": "string", "format": "time"},
        "span": {"type": "string", "format": "duration"},
        "key": {"type": "string", "format": "uuid"},
        "seen": {"type": "array", "items": {"type": "string", "format": "date-time"}},
    },
}
TEXTS = ("", "a", "A", "aB", "b", "é", "É", "😀", "a%", "a_b", "a\\b", "a\nb", "null", "1", '"')
NUMBERS = ("-1", "0", "-0", "1", "1.0", "1e0", "100", "1E+2", "0.1", "9007199254740993",
           "1" + "0" * 40, "1e-300")  # fmt: skip
TIMES = ("2023-08-06T02:00:00+02:00", "2023-08-06T00:00:00.0Z", "2016-12-31T23:59:60Z",
         "0001-01-01T00:00:00.123456789Z", "9999-12-31T23:59:59-23:59")  # fmt: skip
DAYS = ("2024-02-29", "0001-01-01", "1999-12-31")
CLOCKS = ("01:00:00+02:00", "23:00:00Z", "12:00:00.5Z")
SPANS = ("P1D", "PT24H", "P1M", "P30D", "PT60S", "PT1M", "P1Y", "P12M")
KEYS = ("9f3c8b52-6f0e-4d7a-9a39-2f6a1d3e5c70", "9F3C8B52-6F0E-4D7A-9A39-2F6A1D3E5C70")
PATTERNS = ("", "%", "a%", "%b", "_", "a\\\\%", "a\\\\_b", "A_", "%_%_%", "\\\\")
OF: dict[str, tuple[str, ...]] = {
    "at": TIMES, "day": DAYS, "opens": CLOCKS, "span": SPANS, "key": KEYS, "created_at": TIMES[:2],
    "id": KEYS, "owner": KEYS,
}  # fmt: skip
FIELDS = (
    "title", "note", "size", "ratio", "flag", "tags", "either", "meta", "meta.kind", "meta.n", "at",
    "day", "opens", "span", "key", "seen", "other", "other.deep", "`not`", "`a.b`", "id", "version",
    "created_at", "updated_at", "owner", "@user.id", "@user.roles",
)  # fmt: skip
SORTED = tuple(name for name in FIELDS if not name.startswith("@"))
COMPARED = ("=", "!=", ">", ">=", "<", "<=")
# Signs of other languages, and slips of the hand.
SLIPS: tuple[tuple[str, str], ...] = (
    (" = ", " == "), (" and ", " && "), (" or ", " || "), ("not ", "!"), ('"', "'"), ("(", ""),
    (")", ""), ("[", "("), ("title", "titel"), ("size", "sise"), (" != ", " <> "), (" in ", " ni "),
    (" like ", " ~ "), ("null", "nul"), ("@user.id", "@user.name"), (" ", ""), ("]", ",]"),
    ('"', ""), (".", ".."), (" has ", " has has "),
)  # fmt: skip


class Chance:
    """Draws from a single source of chance, so that the order of the draws counts."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def record(self) -> dict[str, Any]:
        """A record that fits SHELF."""
        pick = self._source.choice
        record: dict[str, Any] = {"title": pick(TEXTS), "size": self._source.randint(-3, 12)}
        optional: dict[str, Callable[[], Any]] = {
            "note": lambda: pick((*TEXTS, None)),
            "ratio": lambda: pick((0, 0.1, 1, 1.5, -2, 1e10)),
            "flag": lambda: pick((True, False)),
            "tags": lambda: self._source.sample(TEXTS, self._source.randint(0, 3)),
            "either": lambda: pick((1, "1", True, 0, "a", 2.5)),
            "meta": lambda: {"kind": pick(TEXTS), "n": pick((1, None, "x", [1], {"a": 1}))},
            "at": lambda: pick(TIMES),
            "day": lambda: pick((*DAYS, None)),
            "opens": lambda: pick(CLOCKS),
            "span": lambda: pick(SPANS),
            "key": lambda: pick(KEYS),
            "seen": lambda: self._source.sample(TIMES, 2),
            "other": lambda: pick((1, "x", {"deep": 1}, None)),
            "a.b": lambda: pick((1, 2)),
            "not": lambda: pick((True, "a")),
        }
        for name, make in optional.items():
            if self._source.random() < 0.6:
                record[name] = make()
        return record

    def filter(self, depth: int = 3) -> str:
        """A filter that mostly makes sense."""
        if depth and self._source.random() < 0.6:
            kind = self._source.choice((" and ", " or ", "not"))
            if kind == "not":
                return f"not ({self.filter(depth - 1)})"
            parts = [self.filter(depth - 1) for _ in range(self._source.randint(2, 3))]
            return f"({kind.join(parts)})"
        return self._term()

    def slip(self) -> str:
        """A filter in which something may be wrong."""
        text = self.filter(2)
        for right, wrong in self._source.sample(SLIPS, 4):
            text = text.replace(right, wrong, 1)
        at = self._source.randrange(len(text) + 1)
        return self._source.choice((text, text[:at], text[:at] + "§" + text[at:]))

    def sort(self) -> str:
        names = self._source.sample(SORTED, self._source.randint(1, 3))
        return ",".join(self._source.choice(("", "-")) + name for name in names)

    def fields(self) -> str:
        names = [name for name in SORTED if "." not in name]
        return ",".join(self._source.sample(names, self._source.randint(1, 4)))

    def noise(self, length: int) -> str:
        return self._source.randbytes(length // 2).hex()

    def _term(self) -> str:
        pick = self._source.choice
        left = pick(FIELDS)
        match self._source.randrange(8):
            case 0:
                return f"{left} is {pick(('', 'not '))}null"
            case 1:
                return f"{left} {pick(('in', 'not in'))} {self._items(left)}"
            case 2:
                return f'title {pick(("like", "ilike", "not like"))} "{pick(PATTERNS)}"'
            case 3:
                return f"{pick(('tags', 'seen', left))} has {self._constant(left)}"
            case 4:
                return f"{left} {pick(COMPARED)} {pick(FIELDS)}"
        return f"{left} {pick(COMPARED)} {self._constant(left)}"

    def _items(self, field: str) -> str:
        if self._source.random() < 0.2:
            return self._source.choice(("tags", "@user.roles", "seen"))
        return f"[{', '.join(self._constant(field) for _ in range(self._source.randint(0, 3)))}]"

    def _constant(self, field: str) -> str:
        values = OF.get(field)
        if values is not None and self._source.random() < 0.8:
            return json.dumps(self._source.choice(values))
        text = json.dumps(self._source.choice(TEXTS), ensure_ascii=False)
        return self._source.choice((text, self._source.choice(NUMBERS), "true", "false", "null"))
