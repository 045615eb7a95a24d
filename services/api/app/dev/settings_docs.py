"""Writes .env.example and docs/settings.md from the settings class, or checks that they are
current (`--check`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from app.core.settings import SECRETS, Settings

ROOT = Path(__file__).parents[4]
ENV_EXAMPLE = ROOT / ".env.example"
MARKDOWN = ROOT / "docs" / "settings.md"


def env_example() -> str:
    """Every setting, commented out, so that a copy changes nothing."""
    lines = ["# All settings, with their defaults. Copy to .env and change what you need.", ""]
    for name, field in Settings.model_fields.items():
        meaning = field.description or ""
        if field.default is PydanticUndefined:
            meaning += " Required, but not by `make dev` and `make up`, which make their own."
        lines += [f"# {line}" for line in _wrapped(meaning)]
        example = (field.examples or [""])[0]
        lines += [f"# {name.upper()}={_default(field.default) or example}", ""]
    return "\n".join(lines)


def markdown() -> str:
    """A table of all settings."""
    lines = [
        "# Settings",
        "",
        "Read from the environment, then from `.env` (`LISTO_ENV_FILE` names another), then from",
        f"files named like the setting in lower case in `{SECRETS}`; the first wins.",
        "Within `.env`, `${NAME}` stands for that variable, also between single quotes.",
        "`listo settings check` says what is wrong.",
        "",
        "| name | default | meaning | example |",
        "|---|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        required = field.default is PydanticUndefined
        default = "required" if required else _default(field.default)
        example = (field.examples or [""])[0]
        lines.append(
            f"| `{name.upper()}` | {f'`{default}`' if default and not required else default} "
            f"| {field.description} | `{example}` |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    wanted = {ENV_EXAMPLE: env_example(), MARKDOWN: markdown()}
    if "--check" not in sys.argv:
        for path, text in wanted.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return 0
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        sys.stderr.write(f"{path.relative_to(ROOT)} is not current; run: make docs\n")
    return 1 if stale else 0


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined or isinstance(value, SecretStr):
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wrapped(text: str, width: int = 96) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


if __name__ == "__main__":
    sys.exit(main())
