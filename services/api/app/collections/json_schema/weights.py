"""The maximum time for checking one value against a schema, computed from the schema only.

Times are upper bounds in nanoseconds on an ordinary core, from the validator's times for values
made to be slow. A schema is a graph: some keywords lead to schemas for the same value (`allOf`,
`$ref`), others to schemas for values within it (`properties`, `items`).
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Maximum levels of values within values in JSON from outside.
LEVELS = 64
# A cost above every limit.
BOUNDLESS = 1e15

_SAME_VALUE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
_CHILD_VALUE = ("additionalProperties", "contains", "propertyNames")
_UNEVALUATED = frozenset({"unevaluatedProperties", "unevaluatedItems"})
# Cost factor of `unevaluated…` (measured: 2.7): at each level the validator re-evaluates the
# subschemas to find the evaluated members.
_REEVALUATION_FACTOR = 3
_NUMBER_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_TEXT_BOUNDS = ("minLength", "maxLength")
_COUNT = re.compile(r"\{(\d{1,6})(?:,(\d{0,6}))?\}")
_ATOM = re.compile(r"\\[pP]\{[^}]*\}|\\.|\[\^?(?:\\.|[^\]\\])*\]|.", re.DOTALL)


class Weights:
    """Upper bounds in nanoseconds per value, per byte of text, and per value when errors are
    reported; each a list indexed by record depth."""

    def __init__(self, schema: Any) -> None:
        graph = _Graph(schema)
        self.loops = graph.loops
        # Length of the longest chain of schemas applied to the same value; it bounds recursion.
        self.longest_chain = max(graph.longest_chain)
        # The most schema evaluations that one value at one location can cause.
        self.evaluations = max(graph.in_place([1.0] * len(graph.nodes)))
        self.patterns = sum(map(_pattern_sizes, graph.nodes))
        self.per_value = graph.levels([_value_weight(node) for node in graph.nodes])
        self.per_byte = graph.levels([_text_weight(node) for node in graph.nodes])
        self.per_fault = graph.levels([_fault_weight(node) for node in graph.nodes])


class _Graph:
    def __init__(self, schema: Any) -> None:
        self.nodes: list[dict[str, Any]] = []
        self._bases: list[dict[str, Any]] = []
        self._index_of: dict[int, int] = {}
        self._anchors: dict[tuple[int, str], list[tuple[Any, Any]]] = {}
        self._root = schema if isinstance(schema, dict) else {}
        self._find_anchors(schema, self._root)
        self.same_value: list[list[list[int]]] = []
        self.child_values: list[list[list[int]]] = []
        self._index(self._root, self._root)
        done = 0
        while done < len(self.nodes):
            node, base = self.nodes[done], self._bases[done]
            self.same_value.append(self._indices(self._same_value_groups(node, base)))
            self.child_values.append(self._indices(_child_value_groups(node, base)))
            done += 1
        self.loops = False
        self._order = self._ordered()
        self.longest_chain = [1] * len(self.nodes)
        for number in self._order:
            after = (
                self.longest_chain[each] for group in self.same_value[number] for each in group
            )
            self.longest_chain[number] = 1 + max(after, default=0)

    def levels(self, weights: list[float]) -> list[float]:
        """The maximum total weight for one value, indexed by the record's depth."""
        now = self.in_place(weights)
        most = [now[0]]
        while len(most) <= LEVELS and most[-1] < BOUNDLESS:
            then = self.in_place([_costliest(groups, now) for groups in self.child_values])
            if then == now or not any(then):
                break
            now = then
            most.append(min(BOUNDLESS, max(most[-1], now[0])))
        return most

    def in_place(self, own: list[float]) -> list[float]:
        """The weight of each schema, including all schemas that it leads to for the same value."""
        total = own.copy()
        for number in self._order:
            if groups := self.same_value[number]:
                factor = 1 if _UNEVALUATED.isdisjoint(self.nodes[number]) else _REEVALUATION_FACTOR
                total[number] = min(BOUNDLESS, own[number] + factor * _costliest(groups, total))
        return total

    def _ordered(self) -> list[int]:
        """The schemas, each after those that it leads to for the same value."""
        order: list[int] = []
        state = [0] * len(self.nodes)
        for start in range(len(self.nodes)):
            waiting = [start]
            while waiting:
                number = waiting[-1]
                if state[number]:
                    waiting.pop()
                    if state[number] == 1:
                        state[number] = 2
                        order.append(number)
                    continue
                state[number] = 1
                for group in self.same_value[number]:
                    for each in group:
                        self.loops = self.loops or state[each] == 1
                        if not state[each]:
                            waiting.append(each)
        return order

    def _indices(self, groups: Iterable[list[tuple[Any, Any]]]) -> list[list[int]]:
        numbered = (
            [self._index(node, base) for node, base in group if isinstance(node, dict)]
            for group in groups
        )
        return [group for group in numbered if group]

    def _index(self, node: dict[str, Any], base: dict[str, Any]) -> int:
        number = self._index_of.setdefault(id(node), len(self.nodes))
        if number == len(self.nodes):
            self.nodes.append(node)
            self._bases.append(node if isinstance(node.get("$id"), str) else base)
        return number

    def _same_value_groups(
        self, node: dict[str, Any], base: Any
    ) -> Iterator[list[tuple[Any, Any]]]:
        for key in _SAME_VALUE:
            value = node.get(key)
            for each in value if isinstance(value, list) else [value]:
                yield [(each, base)]
        dependent = node.get("dependentSchemas")
        for each in dependent.values() if isinstance(dependent, dict) else ():
            yield [(each, base)]
        for key in ("$ref", "$dynamicRef"):
            if isinstance(reference := node.get(key), str):
                yield self._targets(reference, base, dynamic=key == "$dynamicRef")

    def _targets(self, reference: str, base: Any, *, dynamic: bool) -> list[tuple[Any, Any]]:
        name = unquote(reference.removeprefix("#"))
        if name and not name.startswith("/"):
            if dynamic:
                return [
                    each
                    for (_, known), found in self._anchors.items()
                    if known == name
                    for each in found
                ]
            return self._anchors.get((id(base), name), [])
        for start in (base, self._root):
            with suppress(LookupError, TypeError, ValueError):
                return [_walk(start, name)]
        return []

    def _find_anchors(self, schema: Any, base: Any) -> None:
        waiting = [(schema, base)]
        while waiting:
            each, base = waiting.pop()
            if isinstance(each, dict):
                if isinstance(each.get("$id"), str):
                    base = each
                for key in ("$anchor", "$dynamicAnchor"):
                    if isinstance(each.get(key), str):
                        self._anchors.setdefault((id(base), each[key]), []).append((each, base))
                waiting += ((value, base) for value in each.values())
            elif isinstance(each, list):
                waiting += ((value, base) for value in each)


def _costliest(groups: list[list[int]], costs: list[float]) -> float:
    total = 0.0
    for group in groups:
        total += costs[group[0]] if len(group) == 1 else max([costs[each] for each in group])
    return total


def _child_value_groups(node: dict[str, Any], base: Any) -> Iterator[list[tuple[Any, Any]]]:
    """Groups of child schemas; at most one schema of each group is charged per child value."""
    for key in ("properties", "patternProperties"):
        members = node.get(key)
        each = [(value, base) for value in members.values()] if isinstance(members, dict) else []
        if key == "properties":
            yield each
        else:
            yield from ([pair] for pair in each)
    first = node.get("prefixItems")
    yield [
        (each, base) for each in (*(first if isinstance(first, list) else ()), node.get("items"))
    ]
    for key in (*_CHILD_VALUE, *_UNEVALUATED):
        yield [(node.get(key), base)]


def target(schema: dict[str, Any], reference: str) -> Any:
    """The target of a reference in the schema, `#…`; None if it is missing."""
    name = unquote(reference.removeprefix("#"))
    if not name or name.startswith("/"):
        with suppress(LookupError, TypeError, ValueError):
            return _walk(schema, name)[0]
        return None
    waiting: list[Any] = [schema]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict) and name in (each.get("$anchor"), each.get("$dynamicAnchor")):
            return each
        if isinstance(each, dict | list):
            waiting += each.values() if isinstance(each, dict) else each
    return None


def _walk(start: Any, path: str) -> tuple[Any, Any]:
    found = base = start
    for part in path.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        found = found[int(key)] if isinstance(found, list) else found[key]
        if isinstance(found, dict) and isinstance(found.get("$id"), str):
            base = found
    return found, base


def _value_weight(node: dict[str, Any]) -> float:
    weight = 40.0 + 30 * len(node)
    for key in ("enum", "const"):
        if key in node:
            weight += 1300 * _compared(node[key])
    weight += 40 * _size(node.get("required")) + 40 * _size(node.get("dependentRequired"))
    weight += 1500 * sum(key in node for key in _NUMBER_BOUNDS)
    if "multipleOf" in node:
        step = node["multipleOf"]
        tiny = isinstance(step, float) and 0 < step < 1e-18  # noqa: PLR2004
        weight += 30_000 if tiny else 1500
    if node.get("uniqueItems") is True:
        weight += 1000
    return weight + 1000 * (("pattern" in node) + ("format" in node))


def _text_weight(node: dict[str, Any]) -> float:
    each = sum(key in node for key in _TEXT_BOUNDS) + 40 * ("format" in node)
    # Checking `format: regex` is quadratic: each group is compared with all group names.
    each += 1000 * (node.get("format") == "regex")
    return each + 9.0 * _pattern_sizes(node)


def _fault_weight(node: dict[str, Any]) -> float:
    # An error contains the wrong value and the keyword's own value.
    return 6000.0 * (1 + sum(_size(node.get(key)) for key in ("enum", "const", "required")))


def _compared(value: Any) -> int:
    """1 if all are strings, nulls or 64-bit integers (a hash lookup); otherwise the number of
    values within."""
    values = value if isinstance(value, list) else [value]
    return 1 if all(map(_is_looked_up, values)) else _size(value)


def _is_looked_up(value: Any) -> bool:
    return (
        value is None
        or isinstance(value, str)
        or (isinstance(value, int) and -(1 << 63) <= value < 1 << 63)
    )


def _size(value: Any) -> int:
    size, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        size += each is not None
        if isinstance(each, dict | list):
            waiting += each.values() if isinstance(each, dict) else each
    return size


def _pattern_sizes(node: dict[str, Any]) -> int:
    members = node.get("patternProperties")
    patterns = [node.get("pattern"), *(members if isinstance(members, dict) else ())]
    return sum(pattern_size(each) for each in patterns if isinstance(each, str))


def pattern_size(pattern: str) -> int:
    """The approximate number of states of a pattern, with its repetitions written out."""
    sizes, last, position = [0], 0, 0
    while position < len(pattern):
        if sizes[-1] and (count := _COUNT.match(pattern, position)):
            # The sum already contains the last atom or group once.
            times = max(int(count[1]), int(count[2] or 0), 1)
            sizes[-1] += last * (times - 1)
            last *= times
            position = count.end()
            continue
        atom = _ATOM.match(pattern, position)
        assert atom is not None
        position = atom.end()
        if atom[0] == "(":
            sizes.append(0)
            continue
        if atom[0] == ")" and len(sizes) > 1:
            last = max(sizes.pop(), 1)
        elif atom[0] not in "*+?|":
            last = _states(atom[0])
        else:
            continue
        sizes[-1] += last
    return sum(sizes)


def _states(atom: str) -> int:
    if atom[:2] in ("\\p", "\\P"):
        return 100
    # `.` and a negated class compile to an alternation of UTF-8 byte sequences.
    return 8 if atom == "." or atom[:2] in ("[^", "\\W", "\\D", "\\S") else 1
