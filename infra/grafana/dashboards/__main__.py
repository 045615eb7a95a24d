"""Write ../json, or with --check report whether ../json is what the code renders."""

from __future__ import annotations

import sys
from pathlib import Path

from infra.grafana.dashboards import api, logs, nginx, overview, postgresql, redis, worker

FOLDER = Path(__file__).parents[1] / "json"
PAGES = (
    overview.PAGE,
    api.PAGE,
    postgresql.PAGE,
    redis.PAGE,
    nginx.PAGE,
    logs.PAGE,
    worker.PAGE,
)


def files() -> dict[Path, str]:
    """The files that belong in the folder, with their text."""
    return {FOLDER / f"{page.uid}.json": page.rendered() for page in PAGES}


def differing() -> list[str]:
    """Names of files that are missing or outdated, or that belong to no dashboard."""
    wanted = files()
    found = set(FOLDER.glob("*.json"))
    odd = found - set(wanted)
    odd |= {path for path, text in wanted.items() if path not in found or path.read_text() != text}
    return sorted(path.name for path in odd)


def main() -> int:
    if "--check" in sys.argv[1:]:
        if names := differing():
            sys.stderr.write(
                f"{', '.join(names)}: not what infra/grafana/dashboards says; "
                "run: make dashboards\n"
            )
            return 1
        return 0
    FOLDER.mkdir(exist_ok=True)
    wanted = files()
    for path in set(FOLDER.glob("*.json")) - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
