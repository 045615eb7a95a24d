"""A request that can be sent to check its answer, or be turned into the bytes that wrk sends."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from bench.peers.records import dump

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS = 60


@dataclass(frozen=True)
class Call:
    """One request to a port of this machine; `body` is sent as JSON unless it is None."""

    port: int
    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def wire(self) -> bytes:
        """The request as HTTP/1.1 on a connection that stays open."""
        content = b"" if self.body is None else dump(self.body).encode()
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if content:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        return "\r\n".join((*lines, "", "")).encode() + content

    def send(self) -> httpx.Response:
        # A client of its own: no cookie of a log-in goes along with the next request.
        return httpx.request(
            self.method,
            f"http://127.0.0.1:{self.port}{self.path}",
            content=None if self.body is None else dump(self.body),
            headers={"Content-Type": "application/json", **self.headers},
            timeout=_SECONDS,
            trust_env=False,
        )

    def answer(self) -> Any:
        """The JSON of a success, None without a body. Raises WrongAnswer otherwise.

        A server that is busy, with its start for example, is asked again for a while.
        """
        deadline = time.monotonic() + _SECONDS
        response = self.send()
        while response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
            response = self.send()
        if not response.is_success:
            raise WrongAnswer(
                f"{self.method} {self.path.partition('?')[0]} was answered "
                f"{response.status_code}: {response.text[:100]}"
            )
        return response.json() if response.content else None


class WrongAnswer(Exception):
    """A server's answer is not what the benchmark needs it to be."""
