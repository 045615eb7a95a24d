"""The parts that a take-over brings, and those that it does not."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.moving.pocketbase.people import People
    from app.moving.pocketbase.rules.translate import Rule

# Records that are named where they are left out.
SHOWN = 10


@dataclass
class TakenCollection:
    """A collection: its name there and here, its records, and what was left out of it."""

    former: str
    name: str
    rules: list[Rule] = field(default_factory=list)
    records: int = 0
    left_out: int = 0
    left_out_shown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def leave_out(self, id_: str, why: str) -> None:
        self.left_out += 1
        if len(self.left_out_shown) < SHOWN:
            self.left_out_shown.append(f"{id_}: {why}")


@dataclass
class Report:
    """The collections, the users, and what has no place here."""

    collections: list[TakenCollection]
    people: People
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        return {
            "collections": [asdict(each) for each in self.collections],
            "users": asdict(self.people),
            "notes": self.notes,
        }
