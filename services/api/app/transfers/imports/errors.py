"""The problems of imports, and why a line is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.core.errors import BadRequest, FieldError, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence


class UnreadableFile(BadRequest):
    """The file cannot be read to its end; nothing was imported."""

    code = "unreadable_file"


class ImportRefused(ValidationFailed):
    """Some records are refused; nothing was imported."""

    code = "import_refused"


@dataclass(frozen=True, slots=True)
class LineError(FieldError):
    """A fault of the record that begins at a line of the file."""

    line: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {"line": self.line, **FieldError.as_dict(self)}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the record that begins at this line of the file is refused. `raw` is its part of the file
    without the last line's end, None where it is too long to keep."""

    line: int
    faults: Sequence[FieldError]
    raw: bytes | None = None

    @property
    def errors(self) -> list[LineError]:
        return [
            LineError(fault.pointer, fault.message, fault.code, line=self.line)
            for fault in self.faults
        ]
