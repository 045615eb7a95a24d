"""The settings of the stack that have bounds: numbers, sizes, times and addresses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from infra.stack.compose import production, setting

_EXPONENTS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}


@dataclass(frozen=True)
class Kind:
    """A way to write a value: its pattern, the factor of each unit, and its name in messages."""

    pattern: str
    units: dict[str, float]
    what: str

    def read(self, text: str) -> float | None:
        if not re.fullmatch(self.pattern, text, re.ASCII):
            return None
        parts = re.findall(r"(\d+(?:\.\d+)?)([a-z]*)", text.lower())
        return sum(float(number) * self.units[unit] for number, unit in parts)


def _sizes(*endings: str) -> dict[str, float]:
    return {one: 1024.0 ** _EXPONENTS[one[:1]] for one in endings}


WHOLE = Kind(r"0|[1-9]\d{0,8}", {"": 1}, "a whole number")
DECIMAL = Kind(r"\d{1,9}(\.\d{1,3})?", {"": 1}, "a number")
# Sizes of Docker, Redis and Prometheus.
MEMORY = Kind(
    r"(?i)\d{1,12}(\.\d{1,3})?([bkmgt]|[kmgt]i?b)?",
    _sizes("", *"bkmgt", "kb", "mb", "gb", "tb", "kib", "mib", "gib", "tib"), "a size",
)  # fmt: skip
REDIS_SIZE = Kind(
    r"(?i)\d{1,12}([kmg]b?)?", _sizes("", *"kmg", "kb", "mb", "gb"), "a size as Redis reads it"
)
PROMETHEUS_SIZE = Kind(
    r"\d{1,12}([KMGTP]?B)", _sizes("b", "kb", "mb", "gb", "tb", "pb"),
    "a size as Prometheus reads it",
)  # fmt: skip
# GRACE is a time as Go programs read it. RETENTION is a time as Prometheus and Loki read it, with
# days, weeks and years. Neither takes fractions.
GRACE = Kind(r"(\d{1,6}h)?(\d{1,6}m)?(\d{1,6}s)?(?<=.)", _SECONDS, "a time")
RETENTION = Kind(
    r"(\d{1,6}y)?(\d{1,6}w)?(\d{1,6}d)?(\d{1,6}h)?(\d{1,6}m)?(\d{1,6}s)?(?<=.)", _SECONDS, "a time"
)

# A replica's defaults, by whether the stack is in production. The smaller memory is enough for
# records of _RECORD_BYTES; each byte that a record has beyond those takes _RECORD_TIMES bytes.
_API_MEMORY = {True: "1g", False: "384m"}
_API_CPUS = {True: "2", False: "1"}
_RECORD_BYTES, _RECORD_TIMES = 1024**2, 40
# Both memories are enough for _HASHES_THAT_FIT password hashes at a time in each process. Then come
# the MiB of gunicorn's master, a process and a running hash, and the maximum of processes that
# gunicorn.conf.py starts.
_HASHES_THAT_FIT = 2
_MASTER_MIB, _PROCESS_MIB, _HASH_MIB, _MAX_PROCESSES = 60, 120, 35, 8
_PORT = (WHOLE, "1", "65535")
BOUNDS: dict[str, tuple[Kind, str, str]] = {
    "REPLICAS": (WHOLE, "1", "100"),
    "WEB_CONCURRENCY": (WHOLE, "1", "64"),
    "GUNICORN_MAX_REQUESTS": (WHOLE, "0", "100000000"),
    "HTTP_PORT": _PORT,
    "HTTPS_PORT": _PORT,
    "GRAFANA_PORT": _PORT,
    "PROMETHEUS_PORT": _PORT,
    "ALERTMANAGER_PORT": _PORT,
    "API_MEMORY": (MEMORY, "256m", "1t"),
    "API_CPUS": (DECIMAL, "0.1", "256"),
    "POSTGRES_MEMORY": (MEMORY, "256m", "16t"),
    "POSTGRES_CPUS": (DECIMAL, "0.1", "256"),
    "POSTGRES_CONNECTIONS": (WHOLE, "50", "5000"),
    "REDIS_MEMORY": (MEMORY, "64m", "1t"),
    "REDIS_MAXMEMORY": (REDIS_SIZE, "16mb", "1024gb"),
    "STOP_GRACE": (GRACE, "10s", "1h"),
    "METRICS_RETENTION": (RETENTION, "2h", "10y"),
    "METRICS_SIZE": (PROMETHEUS_SIZE, "256MB", "1PB"),
    # Loki deletes nothing that is younger than a day.
    "LOG_RETENTION": (RETENTION, "24h", "10y"),
    "LOG_FILE_SIZE": (MEMORY, "64k", "10g"),
    "LOG_FILES": (WHOLE, "1", "1000"),
    "ACME_CHECK_SECONDS": (WHOLE, "1", "604800"),
    "ACME_RETRY_SECONDS": (WHOLE, "1", "604800"),
    "ACME_RETRY_MAX_SECONDS": (WHOLE, "1", "604800"),
}


def faults(*, ports: list[str], cores: int | None) -> list[str]:
    """A line for each setting of the environment or `.env` that cannot be used. `ports`: the
    settings of published ports; `cores`: the number of the engine's processors."""
    found = [fault for name in BOUNDS if (fault := _fault(name, cores))]
    taken: dict[str, str] = {}
    given = ((name, setting(name)) for name in ports)
    found += [
        f"{name} and {other} are both {port}"
        for name, port in given
        if port and (other := taken.setdefault(port, name)) != name
    ]
    limit, data = (setting(name) for name in ("REDIS_MEMORY", "REDIS_MAXMEMORY"))
    if not found and limit and data and (MEMORY.read(limit) or 0) <= (REDIS_SIZE.read(data) or 0):
        found.append(f"REDIS_MAXMEMORY={data} does not fit into REDIS_MEMORY={limit}")
    if not found:
        found += [one for one in (_too_small_for_records(), _too_small_for_passwords()) if one]
    return found + _addresses()


def _too_small_for_records() -> str | None:
    """A message if API_MEMORY is too small for records, which take many times their size."""
    record, memory = setting("MAX_RECORD_BYTES"), setting("API_MEMORY", _API_MEMORY[production()])
    if not record.isdigit() or int(record) <= _RECORD_BYTES:
        return None
    need = (int(record) - _RECORD_BYTES) * _RECORD_TIMES + 384 * 1024**2
    if need <= (MEMORY.read(memory) or 0):
        return None
    megabytes = -(-need // 1024**2)
    return f"MAX_RECORD_BYTES={record} takes an API_MEMORY of {megabytes}m, not {memory}"


def _too_small_for_passwords() -> str | None:
    """A message if API_MEMORY is too small to hash passwords beside gunicorn's processes."""
    number = setting("PASSWORD_HASH_CONCURRENCY")
    if not number.isdigit() or int(number) <= _HASHES_THAT_FIT:
        return None
    cores = float(setting("API_CPUS", _API_CPUS[production()]))
    processes = int(setting("WEB_CONCURRENCY") or max(1, min(int(cores + 0.5), _MAX_PROCESSES)))
    need = _MASTER_MIB + processes * (_PROCESS_MIB + int(number) * _HASH_MIB)
    memory = setting("API_MEMORY", _API_MEMORY[production()])
    if need * 1024**2 <= (MEMORY.read(memory) or 0):
        return None
    return f"PASSWORD_HASH_CONCURRENCY={number} takes an API_MEMORY of {need}m, not {memory}"


def _fault(name: str, cores: int | None) -> str | None:
    text = setting(name)
    if not text:
        return None
    kind, least, most = BOUNDS[name]
    if cores and name.endswith("_CPUS"):
        # The engine starts no container with a higher limit.
        most = str(cores)
    value, low, high = (kind.read(one) for one in (text, least, most))
    if value is not None and low is not None and high is not None and low <= value <= high:
        return None
    return f"{name}={text!r} is not {kind.what} from {least} to {most}"


def edge() -> tuple[str, str, str]:
    """The network, the part of it that containers get addresses from, and nginx' address."""
    return (
        setting("EDGE_SUBNET", "10.213.240.0/24"), setting("EDGE_RANGE", "10.213.240.128/25"),
        setting("EDGE_ADDRESS", "10.213.240.10"),
    )  # fmt: skip


def _addresses() -> list[str]:
    subnet, pool, address = edge()
    try:
        whole, part, one = IPv4Network(subnet), IPv4Network(pool), IPv4Address(address)
    except ValueError as error:
        return [f"EDGE_SUBNET, EDGE_RANGE and EDGE_ADDRESS: {error}"]
    if part.subnet_of(whole) and one in whole and one not in part:
        return []
    fault = f"EDGE_SUBNET={whole} has to hold EDGE_RANGE={part} and, outside of that, "
    return [f"{fault}EDGE_ADDRESS={one}"]
