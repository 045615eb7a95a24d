"""Makes the services of a process that serves, and says how each of them is closed."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.maint_notifications import MaintNotificationsConfig

from app.auth.identity.authenticator import Authenticator
from app.auth.identity.tokens import Tokens
from app.auth.passwords.pool import Passwords
from app.caching.coherent import CoherentCache
from app.caching.local import LocalCache
from app.caching.memory import MemoryCache
from app.caching.memory_generations import MemoryGenerations
from app.caching.redis import RedisCache
from app.caching.redis_generations import RedisGenerations
from app.collections.checking import pool as checking
from app.collections.registry import Registry
from app.core.background import Background
from app.core.errors import Problem
from app.db import checks as db_checks
from app.db.database import Database
from app.db.pool.budget import Memory
from app.filters.cursor import CursorCodec
from app.idempotency.cipher import ResponseCipher
from app.ops.openapi import Documents
from app.ops.readiness import Readiness
from app.overload.admission import Admission
from app.overload.concurrency import Concurrency
from app.overload.deadlines import Deadlines
from app.ratelimit.counting import policies
from app.ratelimit.memory import MemoryLimiter
from app.ratelimit.redis import RedisLimiter
from app.records.cached import lists, records
from app.redis import checks as redis_checks
from app.redis.circuit_breaker import ANSWER_SECONDS
from app.route_policy import RoutePolicies
from app.services import Services
from app.throttling.memory import MemoryLoginThrottle
from app.throttling.redis import RedisLoginThrottle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI

    from app.caching.cache import Cache
    from app.caching.generations import Generations
    from app.core.settings import Settings
    from app.observability.checks import Check
    from app.observability.tracing import Telemetry
    from app.ratelimit.limiter import Limiter
    from app.throttling.throttle import LoginThrottle

logger = logging.getLogger("listo")


def assemble(app: FastAPI, settings: Settings, tracing: Telemetry) -> Services:
    """All services of a process, none of them open yet."""
    database = _database(settings)
    for callback in tracing.query_loggers:
        database.add_query_logger(callback)
    secrets = _secrets(settings)
    tokens = Tokens(settings)
    passwords = Passwords(settings.password_hash_concurrency)
    limiter, login_throttle, cache, redis = open_stores(
        settings, lambda: database.notifications.listeners
    )
    background = Background()
    generations = _generations(redis)
    route_policies = RoutePolicies()
    deadlines = Deadlines(settings.request_timeout)
    # A lower limit than the number of connections would leave some of them idle.
    concurrency = Concurrency(
        settings.max_concurrent_requests,
        settings.database_pool_size,
        delay=database.strain,
        lingering=deadlines.count_older_than,
    )
    return Services(
        settings=settings,
        database=database,
        background=background,
        redis=redis,
        cache=cache,
        lists=CoherentCache(generations, database, background),
        kept_lists=LocalCache("lists", generations, database, lists.size),
        kept_records=LocalCache("records", generations, database, records.size),
        limiter=limiter,
        policies=policies(settings),
        login_throttle=login_throttle,
        passwords=passwords,
        tokens=tokens,
        authenticator=Authenticator(database, tokens),
        registry=Registry(database),
        cursors=CursorCodec(*secrets),
        response_cipher=ResponseCipher(*secrets),
        documents=Documents(app),
        readiness=Readiness([*db_checks.checks(database), *_redis_checks(redis)]),
        deadlines=deadlines,
        concurrency=concurrency,
        route_policies=route_policies,
        admission=Admission(concurrency, route_policies, passwords.require_room),
        tracing=tracing,
    )


def closing(services: Services) -> AsyncExitStack:
    """Closes all services in turn, each even if an earlier service failed to close."""
    stack = AsyncExitStack()
    for task, close in reversed(
        (
            ("end background work", services.background.close),
            ("stop listening", services.database.notifications.stop),
            ("close the database", services.database.close),
            ("close the limiter", services.limiter.close),
            ("close the login throttle", services.login_throttle.close),
            ("close the lists", services.lists.close),
            ("close the cache", services.cache.close),
            ("end the hashing", partial(asyncio.to_thread, services.passwords.close)),
            ("end the checking", partial(asyncio.to_thread, checking.close)),
            ("send the traces", partial(asyncio.to_thread, services.tracing.close)),
        )
    ):
        stack.push_async_callback(attempt, task, close)
    return stack


def _database(settings: Settings) -> Database:
    return Database(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        statement_timeout=settings.database_statement_timeout,
        list_timeout=min(settings.list_timeout, settings.request_timeout),
        memory=Memory(
            settings.database_memory, min(settings.max_record_bytes, settings.max_body_bytes)
        ),
        name="listo-api",
    )


def _secrets(settings: Settings) -> list[str]:
    """The secrets that seal and sign, the present one first."""
    return [
        secret.get_secret_value()
        for secret in (settings.jwt_secret, settings.jwt_secret_previous)
        if secret is not None
    ]


async def attempt(task: str, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work`, and log its failure."""
    try:
        await work()
    except Exception as error:  # noqa: BLE001 - no failure may end the steps after it
        detail = error.in_one_line if isinstance(error, Problem) else _in_one_line(error)
        logger.warning("could not %s: %s", task, detail)


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def open_stores(
    settings: Settings, processes: Callable[[], int]
) -> tuple[Limiter, LoginThrottle, Cache, Redis | None]:
    """Limiter, login throttle and cache, shared on Redis or local; and Redis' client.

    `processes` gives the number of processes that serve.
    """
    if settings.redis_url is None:
        return MemoryLimiter(), MemoryLoginThrottle(), MemoryCache(), None
    # Each has its own client: a slow look-up in the cache must not hold up the limiter.
    client = _redis(settings.redis_url.get_secret_value())
    limiter = RedisLimiter(_redis(settings.redis_url.get_secret_value()), processes)
    login_throttle = RedisLoginThrottle(_redis(settings.redis_url.get_secret_value()))
    return limiter, login_throttle, RedisCache(client), client


def _redis_checks(client: Redis | None) -> list[Check]:
    return [] if client is None else redis_checks.checks(client)


def _generations(client: Redis | None) -> Generations:
    return MemoryGenerations(MemoryCache()) if client is None else RedisGenerations(client)


def _redis(url: str) -> Redis:
    return Redis.from_url(
        url,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        client_name="listo-api",
        # Only Redis Enterprise sends these notifications. While redis-py 8.1.0 listens for them,
        # it treats connections that the server has closed as good connections.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
