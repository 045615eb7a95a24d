"""Redis, and the limits and caches that depend on it."""

from __future__ import annotations

from infra.grafana.dashboards.page import Page
from infra.grafana.dashboards.panels import (
    GREEN,
    MUST_BE_ONE,
    NONE_IS_WELL,
    RED,
    SHARE_OF_A_LIMIT,
    UP,
    YELLOW,
    graph,
    stat,
)
from infra.grafana.dashboards.queries import Series, events, rate, total

CALLS = rate("redis_commands_total")


def hits(window: str) -> str:
    """Share of look-ups that found their key."""
    found = f"sum(rate(redis_keyspace_hits_total[{window}]))"
    missed = f"sum(rate(redis_keyspace_misses_total[{window}]))"
    return f"{found} / ({found} + {missed} > 0)"


STATE = (
    stat(
        "Answers",
        "Whether Redis lets its exporter in. Without it the API goes on: see Calls without Redis.",
        "short",
        Series("min(redis_up)", "Redis"),
        steps=MUST_BE_ONE,
        words=UP,
    ),
    stat(
        "Up for",
        "Time since Redis started.",
        "s",
        Series("min(redis_uptime_in_seconds)", "up for"),
        decimals=1,
    ),
    stat(
        "Memory",
        "Memory used, and where Redis refuses to write (maxmemory; 0 is no limit). Lists are "
        "cached up to three quarters of it.",
        "bytes",
        Series("max(redis_memory_used_bytes)", "used"),
        Series("max(redis_memory_max_bytes)", "limit"),
    ),
    stat(
        "Keys",
        "Keys of limits and caches. Nearly all expire by themselves.",
        "short",
        Series("sum(redis_db_keys)", "keys"),
    ),
    stat(
        "Written to disk",
        "Whether the last write to the append-only file and the last snapshot went well.",
        "short",
        Series("min(redis_aof_last_write_status)", "file"),
        Series("min(redis_rdb_last_bgsave_status)", "snapshot"),
        steps=MUST_BE_ONE,
        words={"0": ("failed", RED), "1": ("well", GREEN)},
    ),
    stat(
        "Refused by its access list",
        "Logins and commands that Redis refused in the time shown. Nobody but the stack should "
        "ask.",
        "short",
        Series("round(sum(increase(redis_acl_access_denied_auth_total[$__range])))", "logins"),
        Series("round(sum(increase(redis_acl_access_denied_cmd_total[$__range])))", "commands"),
        steps=NONE_IS_WELL,
    ),
)

LIMITS = (
    graph(
        "Over a rate limit",
        "Answers 429 by policy, over all replicas.",
        "reqps",
        Series(events("listo_rate_limited_total", "policy"), "{{policy}}"),
        stacked=True,
    ),
    graph(
        "Share of requests over a limit",
        "Of all requests of users. A tenth for long: one client loops, or the limit is too low.",
        "percentunit",
        Series(
            f"({total(rate('listo_rate_limited_total'))} or vector(0)) / "
            '(sum(rate(http_request_duration_seconds_count{job="api", '
            'handler!~"/health|/health/ready|/metrics"}[$__rate_interval])) > 0)',
            "limited",
        ),
        steps=((None, GREEN), (0.1, RED)),
    ),
    graph(
        "Calls without Redis",
        "Calls that went on without it, by what asked. Then each process limits by itself, and "
        "caches nothing in common.",
        "ops",
        Series(events("listo_redis_fallbacks_total", "component"), "{{component}}"),
        steps=((None, GREEN), (0.01, RED)),
    ),
    graph(
        "Caches of the API",
        "Share of look-ups answered from a cache.",
        "percentunit",
        Series(
            total(rate('listo_cache_lookups_total{outcome="hit"}'), "cache")
            + " / ("
            + total(rate("listo_cache_lookups_total"), "cache")
            + " > 0)",
            "{{cache}}",
        ),
        top=1,
    ),
    graph(
        "Lists and records",
        "Of collections with a cache: found, found too old while a new one is made, made, or asked "
        "of PostgreSQL because a record is being written or Redis is away.",
        "reqps",
        Series(
            total(rate('listo_cache_lookups_total{cache=~"lists|records"}'), "cache, outcome"),
            "{{cache}}: {{outcome}}",
        ),
        span=24,
    ),
)

WORK = (
    graph(
        "Commands",
        "The ten most frequent commands. Limits are scripts: evalsha.",
        "ops",
        Series(f"topk(10, sum by (cmd) ({CALLS}) > 0)", "{{cmd}}"),
        span=8,
    ),
    graph(
        "Time of a command",
        "Mean time in Redis, the ten slowest commands. A slow one holds up all others.",
        "s",
        Series(
            "topk(10, sum by (cmd) (rate(redis_commands_duration_seconds_total[$__rate_interval])) "
            "/ "
            f"(sum by (cmd) ({CALLS}) > 0))",
            "{{cmd}}",
        ),
        span=8,
    ),
    graph(
        "Found keys",
        "Share of look-ups of keys that found one.",
        "percentunit",
        Series(hits("$__rate_interval"), "found"),
        span=8,
        top=1,
    ),
    graph(
        "Memory",
        "Memory that Redis uses, and that it takes from the system.",
        "bytes",
        Series("max(redis_memory_used_bytes)", "used"),
        Series("max(redis_memory_used_rss_bytes)", "taken"),
        Series("max(redis_memory_max_bytes) > 0", "limit"),
        span=8,
    ),
    graph(
        "Keys that go",
        "Expired ones had their time. Evicted ones had to make room, which loses limits; none do "
        "under the policy of this stack.",
        "ops",
        Series(f"sum({rate('redis_expired_keys_total')})", "expired"),
        Series(f"sum({rate('redis_evicted_keys_total')})", "evicted"),
        span=8,
    ),
    graph(
        "Clients",
        "Connections to Redis, and how many it would take.",
        "short",
        Series("sum(redis_connected_clients)", "connected"),
        Series("sum(redis_blocked_clients)", "blocked"),
        span=8,
    ),
    graph(
        "Processor",
        "Share of one processor that the main thread uses. Redis has one thread for commands.",
        "percentunit",
        Series(
            f"sum({rate('redis_cpu_sys_main_thread_seconds_total')}) + "
            f"sum({rate('redis_cpu_user_main_thread_seconds_total')})",
            "main thread",
        ),
        span=8,
        steps=SHARE_OF_A_LIMIT,
    ),
    graph(
        "Network",
        "Bytes a second in and out.",
        "Bps",
        Series(f"sum({rate('redis_net_input_bytes_total')})", "in"),
        Series(f"sum({rate('redis_net_output_bytes_total')})", "out"),
        span=8,
    ),
    graph(
        "Errors",
        "Replies with an error, by its name.",
        "ops",
        Series(events("redis_errors_total", "err"), "{{err}}"),
        span=8,
        steps=((None, GREEN), (0.1, YELLOW)),
    ),
)

PAGE = Page(
    uid="listo-redis",
    title="Redis and limits",
    text="Redis, the rate limits that it counts, and the caches.",
    rows=(("State", STATE), ("Limits and caches", LIMITS), ("Work", WORK)),
)
