"""The cores and the memory that a process may use, by its cgroups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.observability import machine

GB = 1 << 30
ALL_CORES = float(len(os.sched_getaffinity(0)))


V1 = "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n"


@pytest.mark.parametrize(
    ("own", "files", "cores", "bytes_"),
    [
        ("", {}, ALL_CORES, None),
        # Version 2, in a container.
        ("0::/\n", {"cpu.max": "50000 100000", "memory.max": "536870912"}, 0.5, GB // 2),
        ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, ALL_CORES, None),
        # Version 2, in a unit of systemd: the tightest group above counts.
        (
            "0::/a/b.service\n",
            {"a/cpu.max": "25000 100000", "a/b.service/cpu.max": "max 100000",
             "a/memory.max": "max", "a/b.service/memory.max": "1073741824"},
            0.25, GB,
        ),
        # Version 1, in a container that sees the host's path.
        (
            V1,
            {"cpu/cpu.cfs_quota_us": "30000", "cpu/cpu.cfs_period_us": "100000",
             "memory/memory.limit_in_bytes": "268435456"},
            0.3, GB // 4,
        ),
        (
            V1,
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000",
             "memory/memory.limit_in_bytes": "9223372036854771712"},
            ALL_CORES, None,
        ),
        # Version 1, on the host.
        (
            V1,
            {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "10000",
             "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
             "memory/docker/abc/memory.limit_in_bytes": "134217728"},
            0.1, GB // 8,
        ),
        ("nonsense", {}, ALL_CORES, None),
    ],
)  # fmt: skip
def test_cgroups_limit_cores_and_memory(
    tmp_path: Path, own: str, files: dict[str, str], cores: float, bytes_: int | None
) -> None:
    root, own_file = tmp_path / "sys", tmp_path / "own"
    own_file.write_text(own)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    assert machine.cores(root, own_file) == min(cores, ALL_CORES)
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine.memory(root, own_file) == (whole if bytes_ is None else bytes_)


def test_the_resident_memory_is_plausible() -> None:
    assert 10_000_000 < machine.resident() < 10 * GB
