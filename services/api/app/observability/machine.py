"""The cores and memory that this process may use, by cgroup v1 and v2, or else by the machine."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def cores(root: Path = _CGROUPS, own: Path = _OWN) -> float:
    """How many cores may be kept busy; a quota of one and a half is 1.5."""
    found = [float(_available())]
    for folder in _folders(root, own, "cpu"):
        quota, period = _words(folder / "cpu.max", 2) or (
            *_words(folder / "cpu.cfs_quota_us", 1), *_words(folder / "cpu.cfs_period_us", 1),
        ) or ("max", "0")  # fmt: skip
        # No limit is "max" in v2, -1 in v1.
        if quota.isdigit() and int(period) > 0:
            found.append(int(quota) / int(period))
    return min(found)


def memory(root: Path = _CGROUPS, own: Path = _OWN) -> int:
    """The bytes of memory that all processes here may use."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in _folders(root, own, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            found += [int(word) for word in _words(folder / name, 1) if word.isdigit()]
    return min(found)


def share() -> int:
    """The bytes of memory for one of the processes that serve here."""
    return memory() // max(1, int(os.environ.get("LISTO_WORKERS", "1")))


def resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not say."""
    words = _words(Path("/proc/self/statm"), 7)
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if words else 0


def _available() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _folders(root: Path, own: Path, controller: str) -> list[Path]:
    """The folders of our group and the groups above, in the hierarchy of `controller` (v1) and v2.

    In a container the path in /proc may be the host's, which leads nowhere; the root then is the
    container's own group.
    """
    found = []
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in [*lines, "0::/", f"1:{controller}:/"]:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        tops = (root,) if not controllers else (root / controller, root / controllers)
        relative = Path(path.lstrip("/"))
        found += [top / part for top in tops for part in (relative, *relative.parents)]
    return found


def _words(file: Path, number: int) -> tuple[str, ...]:
    """The words of the file if it exists and has `number` words, otherwise an empty tuple."""
    try:
        words = tuple(file.read_text().split())
    except OSError:
        return ()
    return words if len(words) == number else ()
