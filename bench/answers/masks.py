"""Placeholders for values that differ in every run by nature, and for nothing else.

A placeholder has the number of the first exchange with its value, and a number within that one:
`<id 12.1>`. The same value has the same placeholder everywhere, in requests too. So an answer with
a value more or less does not change the placeholders of later answers.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from datetime import UTC, datetime, timedelta

# The server makes its first user before the first request, so some times are this much older.
BEFORE_SECONDS = 120
# A limit that gives a request back sooner than that may have another number left in each run.
STEADY_SECONDS = 1000

_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
_SECRET = re.compile(r"\bl[kr]_[\w-]{43}(?![\w-])")
_PREFIX = re.compile(r'(?<="prefix":")lk_[\w-]{1,40}(?=")')
_SEALED = re.compile(r"(?<![\w/.+-])[\w-]{26,6000}(?![\w/.+-])")
_ID = re.compile(r"(?<![\w-])[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(?=Z)")
# The form of a time in a cursor.
_MICROSECONDS = re.compile(r'(?<=")\d{16}(?=")')
_REQUEST = re.compile(r'(?<="request_id":")[0-9a-f]{32}(?=")')
_DATE = re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")
_HEX = re.compile(r"[0-9a-f]{32}")
_STANDING = re.compile(r'("[^"]*");r=(\d+);t=\d+')
_WINDOW = re.compile(r"q=(\d+);w=(\d+)")
_MAC_BYTES = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WITHIN = str.maketrans('[]{}"', "()()'")


class Masks:
    """The placeholders of a run that begins now."""

    def __init__(self) -> None:
        self._began = time.time() - BEFORE_SECONDS
        self._names: dict[str, str] = {}
        self._exchange = self._named = 0

    def next(self) -> int:
        """Begin with another exchange, and return its number."""
        self._exchange += 1
        self._named = 0
        return self._exchange

    def text(self, text: str) -> str:
        """`text` with placeholders."""
        text = _TOKEN.sub(lambda found: self._token(found[0]), text)
        text = _SECRET.sub(lambda found: self._name("secret", found[0]), text)
        text = _PREFIX.sub(lambda found: self._prefix(found[0]), text)
        text = _SEALED.sub(lambda found: self._sealed(found[0]), text)
        text = _REQUEST.sub(lambda found: self._name("request", found[0]), text)
        # Requests repeat the tags of answers.
        text = _HEX.sub(lambda found: self._names.get(found[0], found[0]), text)
        text = _ID.sub(lambda found: self._id(found[0]), text)
        return _TIME.sub(lambda found: self._time(found[0]), text)

    def head(self, lines: tuple[str, ...]) -> list[str]:
        """An answer's lines with placeholders."""
        fields = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        masked = []
        for line in lines:
            name, mark, value = line.partition(": ")
            match name.lower():
                case "date":
                    value = _DATE.sub("<now>", value)
                case "x-request-id":
                    value = _HEX.sub(lambda found: self._name("request", found[0]), value)
                case "ratelimit":
                    value = _standings(value, fields.get("ratelimit-policy", ""))
                case "retry-after" if " 429 " in lines[0]:
                    value = re.sub(r"\d+", "<seconds>", value)
                case "etag" if "cache-status" in fields:
                    # This tag is a digest of ids and times.
                    value = _HEX.sub(lambda found: self._name("tag", found[0]), value)
                case "age" if "cache-status" in fields:
                    value = re.sub(r"\d+", "<seconds>", value)
                case "cache-status":
                    value = re.sub(r"ttl=-?\d+", "ttl=<seconds>", value)
            masked.append(self.text(name + mark + value))
        return masked

    def _name(self, kind: str, value: str) -> str:
        if value not in self._names:
            self._named += 1
            self._names[value] = f"<{kind} {self._exchange}.{self._named}>"
        return self._names[value]

    def _prefix(self, prefix: str) -> str:
        """The prefix as a part of a secret that was shown."""
        for secret, name in self._names.items():
            if secret.startswith(prefix):
                return f"{name}[:{len(prefix)}]"
        return prefix

    def _token(self, token: str) -> str:
        """The claims of an access token, without a number: tokens of one second can be equal."""
        try:
            head, claims = (json.loads(_unsealed(part)) for part in token.split(".")[:2])
            lasts = claims["exp"] - claims.pop("iat")
        except (binascii.Error, KeyError, TypeError, ValueError):
            return token
        said = json.dumps([head, {**claims, "exp": f"iat + {lasts}"}])
        return f"<token {_plain(self.text(said))}>"

    def _sealed(self, text: str) -> str:
        """The JSON of a cursor without the digest before it; other text as it stands."""
        try:
            said = _unsealed(text)[_MAC_BYTES:].decode()
            if not said.startswith("[") or not isinstance(json.loads(said), list):
                return text
        except (binascii.Error, ValueError):
            return text
        said = _MICROSECONDS.sub(lambda found: self._moment(int(found[0]), found[0]), said)
        return f"<cursor {_plain(self.text(said))}>"

    def _id(self, id_: str) -> str:
        made = int(id_.replace("-", "")[:12], 16) / 1000
        return self._name("id", id_) if self._began <= made <= time.time() + 1 else id_

    def _time(self, text: str) -> str:
        try:
            moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError:
            return text
        return self._moment((moment - _EPOCH) // timedelta(microseconds=1), text)

    def _moment(self, microseconds: int, text: str) -> str:
        """The placeholder of a moment of this run, the same for each way to write it."""
        if self._began <= microseconds / 1e6 <= time.time() + 1:
            return self._name("time", str(microseconds))
        return text


def _plain(text: str) -> str:
    """JSON that can stand within a string of JSON."""
    return text.translate(_WITHIN)


def _unsealed(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)


def _standings(field: str, policy: str) -> str:
    """A RateLimit field without seconds, and without numbers that change meanwhile."""
    windows = iter(_WINDOW.findall(policy))

    def said(found: re.Match[str]) -> str:
        quota, window = next(windows, ("1", "0"))
        left = found[2] if int(window) >= int(quota) * STEADY_SECONDS else "<left>"
        return f"{found[1]};r={left};t=<seconds>"

    return _STANDING.sub(said, field)
