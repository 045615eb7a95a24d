"""The shipper's and Loki's configuration, as far as tests need neither program.

Lines that the services wrote go through the shipper's own parsers (their expressions, by Python's
`re`) and its own script, in LuaJIT, which Fluent Bit contains.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import lupa.luajit21
import pytest
import yaml

INFRA = Path(__file__).parents[2] / "infra"
LINES = Path(__file__).with_name("log_lines.tsv")
LEVELS = {"debug", "info", "warning", "error", "critical", "unknown"}
# A word, or a string in quotation marks.
_LOGFMT = re.compile(r'\s*(?:([^\s="]+)=("(?:[^"\\]|\\.)*"|[^\s"]*)(?=\s|$)|(\S+))')


def load(*path: str) -> Any:
    # Strings such as `on` stay strings, as both programs read them.
    return yaml.load(INFRA.joinpath(*path).read_text(), yaml.BaseLoader)  # noqa: S506


SHIPPER = load("fluent-bit", "fluent-bit.yaml")
LOKI = load("loki", "loki.yaml")
INPUT, OUTPUT = SHIPPER["pipeline"]["inputs"][0], SHIPPER["pipeline"]["outputs"][0]
FILTERS = SHIPPER["pipeline"]["filters"]


class Line(NamedTuple):
    """A line as a service wrote it, and the values that are expected of it."""

    service: str
    level: str
    request_id: str
    trace_id: str
    text: str


ALL = [Line(*row.split("\t")) for row in LINES.read_text().splitlines()]


def logfmt(text: str) -> dict[str, str] | None:
    found = {}
    for key, value, bare in _LOGFMT.findall(text):
        if bare:
            return None
        found[key] = value.strip('"')
    return found or None


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """The first of the filter's parsers that takes the line, and its result."""
    parsers = {one["name"]: one for one in SHIPPER["parsers"]}
    for name in FILTERS[1]["parser"]:
        parser = parsers[name]
        found: Any = None
        if parser["format"] == "json":
            try:
                found = json.loads(text)
            except ValueError:
                continue
            found = found if isinstance(found, dict) else None
        elif parser["format"] == "regex":
            match = re.match(parser["regex"].replace("(?<", "(?P<"), text)
            found = match and {key: value for key, value in match.groupdict().items() if value}
        else:
            found = logfmt(text)
        if found:
            return name, found
    return "", {}


class Script:
    """lines.lua in a LuaJIT of its own."""

    def __init__(self) -> None:
        runtime: Any = lupa.luajit21.LuaRuntime
        self._lua = runtime(unpack_returned_tuples=True)
        self._lua.execute((INFRA / "fluent-bit" / "lines.lua").read_text())

    def __call__(self, name: str, record: dict[str, Any]) -> dict[str, Any] | None:
        """The record after the function, None if the function holds it back."""
        # A JSON null is absent in Lua.
        given = {key: value for key, value in record.items() if value is not None}
        code, _, table = self._lua.globals()[name]("listo.x", 0, self._lua.table_from(given))
        return None if code == -1 else dict(table.items())

    def ship(self, service: str, text: str) -> dict[str, Any]:
        record = {
            "log": text,
            "source": "stdout",
            "container_name": f"/listo-{service}-1",
            "container_id": "0" * 64,
            "com.docker.compose.service": service,
        }
        joined = self("join", record)
        assert joined is not None
        shipped = self("tidy", {**parse(text)[1], **joined})
        assert shipped is not None
        return shipped


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


@pytest.mark.parametrize("line", ALL, ids=lambda line: f"{line.service}-{line.level}")
def test_real_lines_keep_level_and_ids(script: Script, line: Line) -> None:
    shipped = script.ship(line.service, line.text)
    assert shipped["service"] == line.service
    assert shipped["level"] == line.level
    assert shipped.get("request_id", "") == line.request_id
    assert shipped.get("trace_id", "") == line.trace_id
    assert shipped["container"] == f"listo-{line.service}-1"
    if "?" not in line.text:
        assert shipped["log"] == line.text


def test_each_parser_is_needed_by_some_line() -> None:
    used = {parse(line.text)[0] for line in ALL}
    assert used - {""} == {one["name"] for one in SHIPPER["parsers"]}


def test_every_service_has_a_line_in_these_tests() -> None:
    compose = yaml.safe_load((INFRA.parent / "compose.yaml").read_text())
    jobs = {"volumes", "authority", "replicas", "migrate", "acme"}
    unseen = {"grafana", "loki", "fluent-bit"}
    assert set(compose["services"]) - jobs - unseen <= {line.service for line in ALL}


def test_other_lines_are_shipped_as_they_are(script: Script) -> None:
    for text in ("", "plain words", "Traceback (most recent call last):", "{not json", "[1, 2]"):
        shipped = script.ship("api", text)
        assert (shipped["log"], shipped["level"]) == (text, "unknown")


def test_labels_are_few_and_bounded(script: Script) -> None:
    assert OUTPUT["labels"] == "service=$service, level=$level"
    odd = script("tidy", {"log": "x", "level": "LOUD", "com.docker.compose.service": "../../etc"})
    assert odd is not None
    assert (odd["service"], odd["level"]) == ("other", "unknown")
    levels = re.findall(r'[^=~]= "(\w+)"', (INFRA / "fluent-bit" / "lines.lua").read_text())
    assert set(levels) - {"other"} <= LEVELS


@pytest.mark.parametrize("bad", ["x" * 129, "short", "has space in it", 'quo"te-in-it', 12345678])
def test_odd_ids_are_no_metadata(script: Script, bad: object) -> None:
    record = {"log": "x", "request_id": bad, "trace_id": bad, "com.docker.compose.service": "api"}
    shipped = script("tidy", record)
    assert shipped is not None
    assert "request_id" not in shipped
    assert "trace_id" not in shipped


def test_the_line_alone_is_sent_as_it_was_written() -> None:
    kept = {"log", "service", "level", "request_id", "trace_id", "container"}
    shipped = Script().ship("api", ALL[0].text)
    assert set(shipped) == kept
    assert set(OUTPUT["remove_keys"].split(", ")) == kept - {"log"}
    assert (OUTPUT["drop_single_key"], OUTPUT["line_format"]) == ("raw", "json")


def test_nginx_errors_lose_the_query(script: Script) -> None:
    line = next(line for line in ALL if "secret=1" in line.text)
    shipped = script.ship("nginx", line.text)["log"]
    assert "secret" not in shipped
    assert shipped == line.text.replace("?secret=1", "")


def part(text: str, *, last: bool, number: int = 1) -> dict[str, Any]:
    return {
        "log": text,
        "partial_message": "true",
        "partial_id": f"line-{number}",
        "partial_last": str(last).lower(),
    }


def test_lines_that_docker_cut_are_joined() -> None:
    script = Script()
    text = json.dumps({"level": "ERROR", "message": "x" * 40_000})
    parts = [text[start : start + 16_384] for start in range(0, len(text), 16_384)]
    for one in parts[:-1]:
        assert script("join", part(one, last=False)) is None
        # A line that comes between the parts does not mix with them.
        assert script("join", {"log": "other"}) == {"log": "other"}
    joined = script("join", part(parts[-1], last=True))
    assert joined is not None
    assert joined["log"] == text


def test_endless_lines_are_bounded() -> None:
    script = Script()
    for _ in range(100):
        assert script("join", part("y" * 16_384, last=False)) is None
    joined = script("join", part("end", last=True))
    assert joined is not None
    assert len(joined["log"]) == 256 * 1024


def test_lines_without_an_end_do_not_pile_up() -> None:
    script = Script()
    for number in range(2000):
        assert script("join", part("half", last=False, number=number)) is None
    joined = script("join", part("whole", last=True, number=9999))
    assert joined is not None
    assert joined["log"] == "whole"


def nested(levels: int, core: str = "1") -> str:
    return '{"level":"INFO","a":' + "[" * (levels - 1) + core + "]" * (levels - 1) + "}"


@pytest.mark.parametrize("levels", [2, 3, 24])
def test_a_line_of_few_levels_is_parsed(script: Script, levels: int) -> None:
    text = nested(levels)
    assert script("join", {"log": text}) == {"log": text}


@pytest.mark.parametrize("levels", [33, 64, 100, 1000, 3000, 100_000])
@pytest.mark.parametrize("before", ["", " \t", '{"level":"INFO","b":"]]]]]]\\"}}}","a":'])
def test_a_line_too_deep_for_the_shipper_is_shipped_unparsed(
    script: Script, levels: int, before: str
) -> None:
    text = before + nested(levels)
    joined = script("join", {"log": text, "com.docker.compose.service": "api"})
    assert joined is not None
    # The filter that parses looks into `log`.
    assert FILTERS[1]["key_name"] == "log"
    assert "log" not in joined
    shipped = script("tidy", joined)
    assert shipped is not None
    assert (shipped["log"], shipped["level"], shipped["service"]) == (text, "unknown", "api")


def test_brackets_in_a_string_are_no_levels(script: Script) -> None:
    for core in ('"' + "[" * 1000 + '"', '"\\"' + "{" * 1000 + '"', '"\\\\"'):
        text = nested(2, core)
        json.loads(text)
        assert script("join", {"log": text}) == {"log": text}


def test_a_quote_that_begins_no_string_hides_no_level(script: Script) -> None:
    text = '{"a":t" ' + "[" * 1000
    joined = script("join", {"log": text})
    assert joined is not None
    assert "log" not in joined


def test_lines_that_are_no_json_may_have_brackets(script: Script) -> None:
    text = 'level=info msg="' + "[" * 1000
    assert script("join", {"log": text}) == {"log": text}


def test_a_deep_line_that_docker_cut_is_shipped_unparsed() -> None:
    script = Script()
    text = nested(20_000)
    assert script("join", part(text[:16_384], last=False)) is None
    joined = script("join", part(text[16_384:], last=True))
    assert joined is not None
    assert "log" not in joined
    shipped = script("tidy", joined)
    assert shipped is not None
    assert shipped["log"] == text


def bytes_of(size: str) -> int:
    found = re.fullmatch(r"(\d+)([KMG])B?", size)
    assert found is not None, size
    return int(found[1]) << {"K": 10, "M": 20, "G": 30}[found[2]]


def test_the_room_for_lines_is_a_number_of_messages() -> None:
    compose = yaml.safe_load((INFRA.parent / "compose.yaml").read_text())
    limit = compose["x-service"]["logging"]["options"]["fluentd-buffer-limit"]
    # The driver counts messages: `8mb` would be 8,388,608 of them, 64 MiB for each container.
    assert limit.isdigit()
    assert 1 << 15 <= int(limit) <= 1 << 18


def test_the_shipper_buffers_on_disk_within_bounds() -> None:
    service = SHIPPER["service"]
    assert service["storage.path"] == "/buffer"
    assert INPUT["storage.type"] == "filesystem"
    assert OUTPUT["retry_limit"] == "no_limits"
    # Chunks that were open at a kill are read again; an unreadable chunk does not keep back others;
    # no chunk takes more of the disk than its content.
    assert service["storage.checksum"] == "off"
    assert service["storage.delete_irrecoverable_chunks"] == "on"
    assert service["storage.trim_files"] == "on"
    # A chunk has 2 MB at most, so that those in memory have 64 MB at most.
    assert int(service["storage.max_chunks_up"]) * 2 <= 64
    assert bytes_of(OUTPUT["storage.total_limit_size"]) == 512 << 20


def test_the_shipper_listens_on_a_socket_and_for_metrics_only() -> None:
    assert [one["name"] for one in SHIPPER["pipeline"]["inputs"]] == ["forward"]
    assert INPUT["unix_path"].startswith("/socket/")
    assert "listen" not in INPUT
    assert SHIPPER["service"]["http_port"] == "2020"
    assert "docker.sock" not in (INFRA / "fluent-bit" / "fluent-bit.yaml").read_text()


def test_loki_takes_what_the_shipper_sends() -> None:
    limits = LOKI["limits_config"]
    assert (OUTPUT["host"], OUTPUT["port"]) == ("loki", LOKI["server"]["http_listen_port"])
    assert limits["allow_structured_metadata"] == "true"
    metadata = OUTPUT["structured_metadata"].split(", ")
    assert len(metadata) <= int(limits["max_structured_metadata_entries_count"])
    assert len(OUTPUT["labels"].split(", ")) <= int(limits["max_label_names_per_series"])
    assert bytes_of(limits["max_line_size"]) == 256 << 10
    # The shard would be a third label.
    assert limits["shard_streams"]["enabled"] == "false"
    # Structured metadata needs this schema.
    (schema,) = LOKI["schema_config"]["configs"]
    assert (schema["schema"], schema["store"]) == ("v13", "tsdb")


def test_loki_deletes_old_lines() -> None:
    assert LOKI["limits_config"]["retention_period"] == "${LOG_RETENTION:-336h}"
    assert LOKI["compactor"]["retention_enabled"] == "true"
    assert LOKI["compactor"]["delete_request_store"] == "filesystem"
    assert LOKI["analytics"]["reporting_enabled"] == "false"
