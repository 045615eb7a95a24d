"""Errors of futures that no task waits for, in the log of a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

GIVE_UP = """
import asyncio, gc, ssl
from asyncpg.connect_utils import TLSUpgradeProto
from app.observability import log
from app.core.settings import Settings

log.configure(Settings(_env_file=None, database_url="postgresql://x", jwt_secret="abcdefghij" * 4))

async def main():
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    # Connect as asyncpg does. Then the task that asked for the connection is cancelled.
    transport, _ = await loop.create_connection(
        lambda: TLSUpgradeProto(loop, host, port, ssl.create_default_context(), True), host, port
    )
    transport.abort()
    del transport, _
    other = loop.create_future()
    other.set_exception(ConnectionError("something else"))
    del other
    await asyncio.sleep(0)
    gc.collect()

asyncio.run(main())
"""


def test_an_abandoned_connection_attempt_is_not_logged_but_other_errors_are() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GIVE_UP],
        capture_output=True, text=True, check=True, env={**os.environ, "JSON_LOGGING": "true"},
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["level"], line["logger"]) for line in lines] == [("ERROR", "asyncio")], lines
    assert "something else" in lines[0]["exc_info"]
