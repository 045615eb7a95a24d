"""Scripts run on a connection that redis-py opens and hands over."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from app.redis.circuit_breaker import ANSWER_SECONDS
from app.redis.scripts import Script, ScriptClient
from fixtures.redis import redis_store

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from pathlib import Path

ECHO = Script("return {KEYS[1], ARGV[1], false, 7}")
ANSWER = [b"key", b"\xff\n", None, 7]


@pytest.fixture
def redis_url() -> Iterator[str]:
    with redis_store() as url:
        yield url


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[..., None]:
    runner: Callable[..., None] = request.param
    return runner


def scripts(
    work: Callable[[ScriptClient], Awaitable[None]], url: str, **options: Any
) -> Coroutine[Any, Any, None]:
    async def whole() -> None:
        async with Redis.from_url(url, **options) as client:
            tried = ScriptClient(client)
            try:
                await work(tried)
            finally:
                tried.close()

    return whole()


async def answers(tried: ScriptClient) -> None:
    assert await tried.run(ECHO, ["key"], [b"\xff\n"]) == ANSWER
    calls = [tried.run(ECHO, [str(n)], [n]) for n in range(50)]
    expected = [[str(n).encode(), str(n).encode(), None, 7] for n in range(50)]
    assert await asyncio.gather(*calls) == expected


def test_answers_come_to_their_calls(redis_url: str, run: Callable[..., None]) -> None:
    run(scripts(answers, redis_url))


def test_with_a_user_and_a_database(redis_url: str, run: Callable[..., None]) -> None:
    async def work() -> None:
        async with Redis.from_url(redis_url) as admin:
            await admin.acl_setuser(
                "ada", enabled=True, passwords="+pass", keys="*", commands=["+@all"]
            )
            await admin.config_set("requirepass", "another")
        url = f"redis://ada:pass@{urlsplit(redis_url).netloc}/3"

        async def check(tried: ScriptClient) -> None:
            await answers(tried)
            await tried.run(Script("redis.call('SET', KEYS[1], 1)"), ["here"], [])

        await scripts(check, url)
        async with Redis.from_url(url) as third:
            assert await third.exists("here")

    run(work())


def test_over_tls(redis_url: str, tmp_path: Path, run: Callable[..., None]) -> None:
    certificate, key = _certificate(tmp_path)
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(certificate, key)
    address = urlsplit(redis_url)

    async def pass_on(reader: StreamReader, writer: StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection(address.hostname, address.port)

        async def copy(source: StreamReader, target: StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
            target.close()

        await asyncio.gather(copy(reader, downstream), copy(upstream, writer))

    async def work() -> None:
        server = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=server_side)
        async with server:
            port = server.sockets[0].getsockname()[1]
            await scripts(answers, f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}")

    run(work())


def test_an_error_of_the_script_is_raised(redis_url: str, run: Callable[..., None]) -> None:
    """The next call opens a connection: a former primary answers errors for as long as it lives."""

    async def connections() -> set[str]:
        async with Redis.from_url(redis_url) as admin:
            return {each["id"] for each in await admin.client_list() if each["cmd"] == "evalsha"}

    async def work(tried: ScriptClient) -> None:
        await answers(tried)
        before = await connections()
        with pytest.raises(ResponseError, match="no such thing"):
            await tried.run(Script("return redis.error_reply('ERR no such thing')"), [], [])
        await answers(tried)
        after = await connections()
        assert len(after - before) == 1

    run(scripts(work, redis_url))


def test_a_lost_connection_fails_its_calls_and_the_next_call_opens_another(
    redis_url: str, run: Callable[..., None]
) -> None:
    async def work(tried: ScriptClient) -> None:
        async with Redis.from_url(redis_url) as admin:
            await answers(tried)
            # Scripts wait, and the commands that end them do not.
            await admin.client_pause(60_000, all=False)
            calls = [asyncio.ensure_future(tried.run(ECHO, ["key"], ["x"])) for _ in range(3)]
            await asyncio.sleep(0)
            await admin.client_kill_filter(_type="normal", skipme=True)
            for call in calls:
                with pytest.raises(RedisConnectionError):
                    await call
            await admin.client_unpause()
            await answers(tried)

    run(scripts(work, redis_url))


def test_a_call_that_was_given_up_shifts_no_answer(
    redis_url: str, run: Callable[..., None]
) -> None:
    async def work(tried: ScriptClient) -> None:
        await answers(tried)
        given_up = asyncio.ensure_future(tried.run(ECHO, ["given up"], ["x"]))
        await asyncio.sleep(0)
        given_up.cancel()
        await answers(tried)

    run(scripts(work, redis_url))


def test_a_silent_connection_is_not_used_again(run: Callable[..., None]) -> None:
    """Where a network swallows packets, the connection stays open, and nothing comes."""
    connections = 0

    async def silent(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while data := await reader.read(65536):
            # Answers each command of the handshake, and no script.
            if b"EVALSHA" not in data:
                writer.write(b"+OK\r\n" * data.count(b"*"))
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]

            async def check(tried: ScriptClient) -> None:
                for _ in range(2):
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(ANSWER_SECONDS):
                            await tried.run(ECHO, ["key"], ["x"])

            await scripts(check, f"redis://127.0.0.1:{port}", protocol=2)
        assert connections == 2

    run(work())


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "redis")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files
