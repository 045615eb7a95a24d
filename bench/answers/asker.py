"""The client of a run: sends requests as one caller or another, and notes down the answers."""

from __future__ import annotations

import json
import random
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from bench.answers import wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.answers.masks import Masks

Field = tuple[str, str]

PASSWORD = "a long enough password"  # noqa: S105 - of an account that is thrown away
# Stands in where an answer lacks an id, so that the sequence goes on all the same.
MISSING = "00000000-0000-4000-8000-000000000000"
_SHOWN = 300
_SETTLE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer, both with placeholders."""

    request: str
    head: tuple[str, ...]
    body: str


class Answer:
    """The parts of an answer that later requests need."""

    def __init__(self, raw: wire.Raw) -> None:
        self.status = raw.status
        self._raw = raw

    def field(self, name: str) -> str:
        for line in self._raw.head:
            if line.lower().startswith(f"{name.lower()}:"):
                return line.partition(":")[2].strip()
        return MISSING

    def get(self, *path: str | int) -> str:
        """The text at this place of the JSON, else MISSING."""
        try:
            found = json.loads(self._raw.body)
            for step in path:
                found = found[step]
        except (ValueError, LookupError, TypeError):
            return MISSING
        return found if isinstance(found, str) else MISSING

    @property
    def id(self) -> str:
        return self.get("id")


class Asker:
    """Asks the server at `port`, and keeps the `exchanges`."""

    def __init__(self, masks: Masks, seed: int) -> None:
        self.port = 0
        self.exchanges: list[Exchange] = []
        self.random = random.Random(seed)  # noqa: S311 - requests, not secrets
        # Credentials by caller, and whatever a part of the sequence hands on to a later part.
        self.tokens: dict[str, str] = {}
        self.handed_on: dict[str, str] = {}
        self._masks = masks

    def __call__(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        by: str = "",
        fields: Sequence[Field] = (),
    ) -> Answer:
        """Ask as the caller `by`, without it anonymously, and note down the answer.

        Bytes are sent as they are, any other body as JSON.
        """
        raw = self._send(method, target, body, by, fields)
        self._note(f"{method} {target}", raw, body, by, fields)
        return Answer(raw)

    def _send(
        self, method: str, target: str, body: Any, by: str, fields: Sequence[Field]
    ) -> wire.Raw:
        lines = [f"{method} {target} HTTP/1.1"]
        given = {name.lower() for name, _ in fields}
        lines += [] if "host" in given else ["Host: listo.example"]
        lines += [f"Authorization: Bearer {self.tokens.get(by, MISSING)}"] if by else []
        sent = _bytes(body)
        if body is not None:
            lines += [] if "content-type" in given else ["Content-Type: application/json"]
            framed = given & {"content-length", "transfer-encoding"}
            lines += [] if framed else [f"Content-Length: {len(sent)}"]
        lines += [f"{name}: {value}" for name, value in fields]
        closes = method == "HEAD" or ("Connection", "close") in fields
        lines += ["Connection: close"] if method == "HEAD" else []
        head = "".join(f"{line}\r\n" for line in lines).encode("latin-1", "replace")
        return wire.send(self.port, head + b"\r\n" + sent, to_the_end=closes)

    def _note(self, line: str, raw: wire.Raw, body: Any, by: str, fields: Sequence[Field]) -> None:
        number = self._masks.next()
        shown = [f"{number}. {line[:_SHOWN]}" + (f" as {by}" if by else "")]
        shown += [f"    {name}: {value[:_SHOWN]}" for name, value in fields]
        sent = _bytes(body).decode(errors="replace")
        shown += [f"    {sent[:_SHOWN]}"] if sent else []
        # The answer comes first, so that its own values get this exchange's number.
        head = tuple(self._masks.head(raw.head))
        text = self._masks.text(raw.body.decode(errors="surrogateescape"))
        request = self._masks.text("\n".join(shown))
        self.exchanges.append(Exchange(request, head, text))

    def log_in(self, name: str, email: str, password: str = PASSWORD) -> Answer:
        """Have `name` be the caller with this account."""
        answer = self("POST", "/auth/login", {"email": email, "password": password})
        self.tokens[name] = answer.get("access_token")
        self.handed_on[f"{name}'s refresh token"] = answer.get("refresh_token")
        return answer

    def until(self, status: int, method: str, target: str, body: Any, by: str = "") -> None:
        """Ask until the answer has this status, and note down the last answer alone.

        The number of tries depends on time.
        """
        for _ in range(20):
            raw = self._send(method, target, body, by, ())
            if raw.status == status:
                break
        self._note(f"{method} {target}", raw, body, by, ())

    def settle(self, collection: str) -> None:
        """Wait until all indexes are built, and note down the collection as the admin sees it."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        target = f"/collections/{collection}"
        while b'"building"' in self._send("GET", target, None, "admin", ()).body:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        self("GET", target, by="admin")

    def measured(self, target: str) -> None:
        """Ask for measurements, and note down their names without their values."""
        raw = self._send("GET", target, None, "", ())
        head = tuple(line for line in raw.head if not line.lower().startswith("content-length:"))
        if target == "/metrics":
            names = {_metric(line) for line in raw.body.decode().splitlines()}
            body = "\n".join(sorted(names)).encode()
        else:
            body = re.sub(rb'(?<="ms":)[0-9.]+', b"<ms>", raw.body)
        self._note(f"GET {target}", wire.Raw(head, body), None, "", ())


def query(path: str, **given: object) -> str:
    """The path with `given` as its query; a name that Python reserves ends in `_`."""
    pairs = [(name.rstrip("_"), str(value)) for name, value in given.items()]
    return f"{path}?{urlencode(pairs, quote_via=quote)}"


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    return body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()


def _metric(line: str) -> str:
    """A sample as its name and its labels' names; other lines as they are."""
    if line.startswith("#"):
        return line
    name = re.match(r"[\w:]*", line)
    labels = re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', line)
    return f"{name[0] if name else ''}{{{','.join(labels)}}}"
