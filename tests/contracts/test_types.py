"""Code that the type checker refuses before anything runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
REFUSED = {
    "a misspelt service": (
        """
from starlette.requests import Request
from app.services import services_of

def route(request: Request) -> object:
    return services_of(request.scope).databas
""",
        "attr-defined",
    ),
    "a wrong actor": (
        """
from uuid import UUID
from app.collections.models import Collection
from app.db.session import Session
from app.records import service
from app.records.access import Access

async def route(session: Session, found: Collection, id_: UUID) -> object:
    return await service.get(Access(session, "ada", found), id_)
""",
        "arg-type",
    ),
    "a missing collection": (
        """
from uuid import UUID
from app.core.actor import Actor
from app.db.session import Session
from app.records import service
from app.records.access import Access

async def route(session: Session, actor: Actor, id_: UUID) -> object:
    return await service.get(Access(session, actor), id_)
""",
        "call-arg",
    ),
}


def test_mistakes_in_a_route_are_refused_by_the_type_checker(tmp_path: Path) -> None:
    for number, (text, _) in enumerate(REFUSED.values()):
        (tmp_path / f"wrong_{number}.py").write_text(text)
    files = sorted(str(path) for path in tmp_path.glob("*.py"))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    told = re.findall(r"wrong_(\d)\.py:\d+: error: .*\[([a-z-]+)\]", done.stdout)
    assert sorted(told) == [(str(n), code) for n, (_, code) in enumerate(REFUSED.values())], (
        done.stdout
    )
