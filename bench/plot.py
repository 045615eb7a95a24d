"""Line plots as SVG, without a library: panels beside each other, each with lines and a legend.

Matplotlib would bring a dozen packages for a few lines in two pages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Colours that are told apart with every kind of colour blindness (Okabe and Ito).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_GOAL = "#999"
_WIDTH, _HEIGHT, _COLUMNS = 400, 300, 2
# Around the lines: title and legend above, numbers below and at the left.
_ABOVE, _RIGHT, _BELOW, _LEFT = 76, 16, 40, 52
_TICKS = 5


@dataclass(frozen=True)
class Line:
    """Points (x, y) in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """A plot; `goal` is a horizontal line, and `log` has equal steps of x multiply."""

    title: str
    across: str
    lines: Sequence[Line]
    goal: float | None = None
    log: bool = False


def svg(panels: Sequence[Panel]) -> str:
    """The picture, two panels in a row, on white, so that it is legible on dark pages as well."""
    width = _WIDTH * min(_COLUMNS, len(panels))
    height = _HEIGHT * math.ceil(len(panels) / _COLUMNS)
    drawn = [
        f'<g transform="translate({number % _COLUMNS * _WIDTH} {number // _COLUMNS * _HEIGHT})">'
        f"{_panel(panel)}</g>"
        for number, panel in enumerate(panels)
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="11" fill="#333">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *drawn, "</svg>\n"])


class _Axes:
    """Where a point of a panel is in the picture."""

    def __init__(self, panel: Panel) -> None:
        points = [point for line in panel.lines for point in line.points]
        self.xs = sorted({x for x, _ in points}) or [1.0]
        self.log = panel.log and self.xs[0] > 0
        highest = max([y for _, y in points] + [panel.goal or 0.0])
        self.step = _step(highest)
        self.top = self.step * max(1, math.ceil(highest / self.step))

    def x(self, value: float) -> float:
        low, high, at = self.xs[0], self.xs[-1], value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        share = (at - low) / (high - low) if high > low else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BELOW - value / self.top * (_HEIGHT - _ABOVE - _BELOW)

    def ticks(self) -> list[float]:
        """Some values of x to name: all where they are few."""
        if len(self.xs) <= _TICKS:
            return self.xs
        return [self.xs[round(n * (len(self.xs) - 1) / (_TICKS - 1))] for n in range(_TICKS)]


def _panel(panel: Panel) -> str:
    axes = _Axes(panel)
    parts = [
        f'<text x="{_LEFT}" y="18" font-size="13" font-weight="bold">{escape(panel.title)}</text>'
    ]
    parts += [_level(axes, n * axes.step) for n in range(round(axes.top / axes.step) + 1)]
    parts += [
        f'<text x="{axes.x(value):.1f}" y="{_HEIGHT - _BELOW + 14}" text-anchor="middle">'
        f"{number(value)}</text>"
        for value in axes.ticks()
    ]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(panel.across)}</text>'
    )
    if panel.goal is not None:
        at = f'y1="{axes.y(panel.goal):.1f}" y2="{axes.y(panel.goal):.1f}"'
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" {at} stroke="{_GOAL}" '
            f'stroke-dasharray="5 4"><title>goal {number(panel.goal)}</title></line>'
        )
    parts += [_line(axes, line, order) for order, line in enumerate(panel.lines)]
    return "\n".join(parts)


def _level(axes: _Axes, value: float) -> str:
    at = axes.y(value)
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e5e5e5"/>'
        f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{number(value)}</text>'
    )


def _line(axes: _Axes, line: Line, order: int) -> str:
    """A line with its name in the legend, three names in a row."""
    colour = _COLOURS[order % len(_COLOURS)]
    places = [(axes.x(x), axes.y(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    left, base = _LEFT + order % 3 * 112, 36 + order // 3 * 14
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in places)
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        f'<g fill="{colour}">{dots if len(places) <= 2 * _TICKS else ""}'
        f'<rect x="{left}" y="{base - 8}" width="9" height="9"/></g>'
        f'<text x="{left + 13}" y="{base}">{escape(line.name)}</text>'
    )


def _step(highest: float) -> float:
    """A round step with at most five of them up to `highest`."""
    if highest <= 0:
        return 1.0
    rough = highest / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def number(value: float) -> str:
    """1,000,000 and 0.25: whole numbers in groups, others with three digits that count."""
    return f"{value:,.0f}" if float(value).is_integer() or value >= 1000 else f"{value:.3g}"
