"""Where the settings of `.env` are, whether they can be read, and what is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


class SettingsError(Exception):
    """The settings are wrong; the message lists every error."""


def find_env_file() -> Path | None:
    """The file that LISTO_ENV_FILE names, else the nearest `.env` of the working folder and the
    three above, so that every command finds it. Raises SettingsError if it is unreadable."""
    if named := os.environ.get("LISTO_ENV_FILE"):
        return _readable(Path(named).expanduser())
    here = Path.cwd()
    for folder in (here, *here.parents[:3]):
        if (folder / ".env").is_file():
            return _readable(folder / ".env")
    return None


def _readable(path: Path) -> Path:
    try:
        # A pipe can be read only once, which is left to Settings.
        text = "" if path.is_fifo() else path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{path} cannot be read: line {line} is not UTF-8.") from None
    if "\0" in text:
        raise SettingsError(f"{path} cannot be read: it is no text.")
    return path


def settings_error(settings: type[BaseModel], error: ValidationError) -> SettingsError:
    """The error with a line for every wrong setting, which shows an example of a right value."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{len(faults)} setting{'s are' if len(faults) > 1 else ' is'} wrong:"]
    for fault in faults:
        name = str(fault["loc"][0])
        example = (settings.model_fields[name].examples or [""])[0]
        message = "is missing" if fault["type"] == "missing" else fault["msg"]
        message = message.removeprefix("Value error, ")
        lines.append(f"  {name.upper()}: {message} (example: {name.upper()}={example})")
    return SettingsError("\n".join(lines))
