"""The plot: for each item a bar per server, its rate as a share of the fastest."""

from __future__ import annotations

from html import escape
from typing import Any

_COLOURS = {
    "listo": "#0b6e4f",
    "floor": "#9aa5b1",
    "pocketbase": "#3b6fb6",
    "parse": "#c2571a",
    "directus": "#7b4bb3",
    "kinto": "#b8901f",
}
_WIDTH = 860
_LEFT = 96
_BARS = 620
_BAR = 13
_GAP = 14
_FONT = 'font-family="sans-serif" font-size="11"'


def draw(results: dict[str, Any]) -> str:
    """An SVG with white ground, so that it reads on dark pages as well."""
    conns = max(entry["conns"] for entry in results["items"])
    entries = [entry for entry in results["items"] if entry["conns"] == conns]
    titles = {server["name"]: server["title"] for server in results["servers"]}
    parts, y = _legend(titles, conns), 60
    for entry in entries:
        rates = {name: _rate(entry, name) for name in titles}
        drawn, y = _group(entry["item"], rates, y)
        parts += drawn
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" '
        f'viewBox="0 0 {_WIDTH} {y}" role="img" aria-label="Requests a second by item and server">'
    )
    ground = f'<rect width="{_WIDTH}" height="{y}" fill="#ffffff"/>'
    return "\n".join((head, ground, *parts, "</svg>")) + "\n"


def _legend(titles: dict[str, str], conns: int) -> list[str]:
    title = f"Requests a second at {conns} connections; bars to the scale of each item's fastest"
    parts = [_text(_LEFT, 20, title)]
    x = _LEFT
    for name, said in titles.items():
        parts += [
            f'<rect x="{x}" y="32" width="11" height="11" fill="{_colour(name)}"/>',
            _text(x + 16, 42, said),
        ]
        x += 34 + 7 * len(said)
    return parts


def _group(item: str, rates: dict[str, float | None], y: int) -> tuple[list[str], int]:
    most = max((rate for rate in rates.values() if rate), default=1.0)
    parts = [_text(_LEFT - 10, y + _BAR - 2, item, anchor="end", weight="bold")]
    for name, rate in rates.items():
        if rate is None:
            continue
        width = max(1.0, _BARS * rate / most)
        bar = f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 2}"'
        parts.append(f'{bar} fill="{_colour(name)}"/>')
        parts.append(_text(_LEFT + width + 6, y + _BAR - 3, f"{rate:,.0f}"))
        y += _BAR
    return parts, y + _GAP


def _rate(entry: dict[str, Any], name: str) -> float | None:
    found = entry.get(name) or entry["peers"].get(name)
    return float(found["rps"]) if found else None


def _colour(name: str) -> str:
    return _COLOURS.get(name, "#555555")


def _text(x: float, y: int, said: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" {_FONT} font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="#1f2933">{escape(said)}</text>'
    )
