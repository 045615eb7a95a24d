"""Shows how far a long command is: a bar on a terminal, a line for each step elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Task

# The bar is told at most this often, in seconds.
_EVERY = 0.1


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


class Bars:
    """A bar for each step."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._told = 0.0
        self._done = 0

    def begin(self, step: str, total: int | None) -> None:
        self.end()
        self._done = 0
        self._task = self._progress.add_task(f"records {step}", total=total)

    def reach(self, done: int) -> None:
        self._done = done
        now = time.monotonic()
        if self._task is not None and now >= self._told + _EVERY:
            self._told = now
            self._progress.update(self._task, completed=done)

    def end(self) -> None:
        if self._task is not None:
            # An estimate may have been wrong.
            self._progress.update(self._task, completed=self._done, total=self._done)


class Lines:
    """A line for each step that has ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._step = ""
        self._began = 0.0
        self._done = 0

    def begin(self, step: str, total: int | None) -> None:  # noqa: ARG002
        self.end()
        self._step, self._began, self._done = step, time.monotonic(), 0

    def reach(self, done: int) -> None:
        self._done = done

    def end(self) -> None:
        if self._step:
            seconds = time.monotonic() - self._began
            rate = f"{self._done / seconds:,.0f}/s" if seconds else ""
            self._console.print(f"{self._done:,} records {self._step}, {seconds:.1f} s, {rate}")
        self._step = ""


class Silence:
    """Shows nothing."""

    def begin(self, step: str, total: int | None) -> None: ...

    def reach(self, done: int) -> None: ...


@contextmanager
def shown(*, as_json: bool) -> Iterator[Bars | Lines | Silence]:
    """Shows a work's progress while the block lasts; nothing beside JSON."""
    terminal = Console(stderr=True, highlight=False)
    if as_json:
        yield Silence()
    elif terminal.is_terminal:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(),
            TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=terminal) as progress:
            bars = Bars(progress)
            yield bars
            bars.end()
    else:
        lines = Lines(Console(highlight=False))
        yield lines
        lines.end()
