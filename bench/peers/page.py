"""The section of docs/performance.md between two markers, written anew from the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.peers.plot import draw
from bench.stage import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance-peers.svg"
BEGIN = "<!-- peers: written by `make bench` -->"
END = "<!-- peers: end -->"
_NONE = "–"  # noqa: RUF001 - a dash in a table

Results = dict[str, Any]
Figures = dict[str, Any]


def publish(results: Results) -> None:
    """Replace the section and the plot."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PLOT.write_text(draw(results))
    PAGE.write_text(f"{before}{BEGIN}\n\n{section(results)}\n\n{END}{after}")


def section(results: Results) -> str:
    parts = [
        _setting(results),
        f"![Requests a second by item and server]({PLOT.name})",
        "Requests a second with a good answer, median (lowest–highest round):",  # noqa: RUF001
        _table(
            results, lambda one: f"{one['rps']:,.0f} ({one['rps_min']:,.0f}-{one['rps_max']:,.0f})"
        ),
        "Latency in ms, 50th / 99th percentile, median of rounds, none where most requests failed:",
        _table(results, _latency),
        "Resident memory of all processes of a server after the item, in MB:",
        _table(results, lambda one: f"{one['rss_mb']:,.0f}"),
        *_faults(results),
        "Versions and settings:",
        "\n".join(_described(server) for server in results["servers"]),
        "Not the same work:",
        "\n".join(_differences(results)),
    ]
    return "\n\n".join(parts)


def table(results: Results) -> str:
    """The rates alone, for the terminal and for each kind of run."""
    return _table(results, lambda one: f"{one['rps']:,.0f}")


def _setting(results: Results) -> str:
    machine = results["machine"]
    return (
        f"{results['measured_at'][:10]}, {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_gb']:.0f} GB, {machine['system']}, PostgreSQL {machine['postgresql']}: "
        f"{results['records']:,} records, {results['rounds']} rounds of {results['seconds']} s. "
        f"A round in which others had over {results['limit_of_others']:.0%} of the machine was "
        "repeated."
    )


def figures(entry: Mapping[str, Any], name: str) -> Figures | None:
    found: Figures | None = entry.get(name) or entry["peers"].get(name)
    return found


def _table(results: Results, cell: Callable[[Figures], str]) -> str:
    servers = results["servers"]
    lines = [
        "| item | connections | " + " | ".join(server["title"] for server in servers) + " |",
        "|---" * (len(servers) + 2) + "|",
    ]
    for entry in results["items"]:
        found = [figures(entry, server["name"]) for server in servers]
        cells = [_NONE if one is None else cell(one) for one in found]
        lines.append(f"| {entry['item']} | {entry['conns']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _latency(one: Figures) -> str:
    if one["errors"] > one["requests"] / 2:
        return _NONE
    return f"{one['p50_ms']:.1f} / {one['p99_ms']:.1f}"


def _faults(results: Results) -> list[str]:
    """Errors, disturbances and gaps, which a reader must know of."""
    titles = {server["name"]: server["title"] for server in results["servers"]}
    found, disturbed = [], []
    for entry in results["items"]:
        where = f"`{entry['item']}` at {entry['conns']}"
        found += [f"- {title}, {where}: {why}." for title, why in entry["missing"].items()]
        measured = {title: one for name, title in titles.items() if (one := figures(entry, name))}
        found += [
            f"- {title}, {where}: {one['errors']:,} of {one['requests']:,} requests failed."
            for title, one in measured.items()
            if one["errors"]
        ]
        most = max((one["foreign"] for one in measured.values()), default=0.0)
        if most > results["limit_of_others"]:
            disturbed.append(f"{where} ({most:.0%})")
    if disturbed:
        found.append(
            "- Others took more than that in each repetition: " + ", ".join(disturbed) + "."
        )
    return ["Beside these figures:", "\n".join(found)] if found else []


def _described(server: Mapping[str, Any]) -> str:
    return f"- {server['title']} {server['version']}: {server['settings']}."


def _differences(results: Results) -> list[str]:
    lines = []
    for server in results["servers"]:
        said = [*server["differs"]]
        said += [f"no `{item}`, since {reason}" for item, reason in server["lacks"].items()]
        if said:
            lines.append(f"- {server['title']}: " + "; ".join(said) + ".")
    lines += [f"- {name} was left out: {why}." for name, why in results["left_out"].items()]
    return lines
