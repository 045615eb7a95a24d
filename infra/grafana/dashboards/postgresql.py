"""PostgreSQL: connections, work, statements, tables, and the write-ahead log with its archive."""

from __future__ import annotations

from infra.grafana.dashboards.page import Page
from infra.grafana.dashboards.panels import (
    BLUE,
    GREEN,
    MUST_BE_ONE,
    NONE_IS_WELL,
    RED,
    SHARE_OF_A_LIMIT,
    UP,
    YELLOW,
    Column,
    graph,
    stat,
    table,
)
from infra.grafana.dashboards.queries import Series, rate

OURS = '{datname="listo"}'
TAKEN = 'sum(pg_stat_activity_count{backend_type="client backend"})'
STATEMENT = ("queryid", "user")
BY_STATEMENT = ", ".join(STATEMENT)
CALLS = f"sum by ({BY_STATEMENT}) (rate(pg_stat_statements_calls_total{OURS}[$__range]))"
SECONDS = f"sum by ({BY_STATEMENT}) (rate(pg_stat_statements_seconds_total{OURS}[$__range]))"
ROWS = f"sum by ({BY_STATEMENT}) (rate(pg_stat_statements_rows_total{OURS}[$__range]))"
TOP = f"topk(15, {SECONDS})"


def hits(window: str) -> str:
    """Share of blocks that were found in shared memory."""
    found = f"sum(rate(pg_stat_database_blks_hit{OURS}[{window}]))"
    read = f"sum(rate(pg_stat_database_blks_read{OURS}[{window}]))"
    return f"{found} / ({found} + {read} > 0)"


STATE = (
    stat(
        "Answers",
        "Whether PostgreSQL lets its exporter in.",
        "short",
        Series("min(pg_up)", "PostgreSQL"),
        span=3,
        steps=MUST_BE_ONE,
        words=UP,
    ),
    stat(
        "Up for",
        "Time since the server started.",
        "s",
        Series("time() - min(pg_postmaster_start_time_seconds)", "up for"),
        span=3,
        decimals=1,
    ),
    stat(
        "Connections taken",
        "Share of max_connections. At 100 % new connections are refused.",
        "percentunit",
        Series(f"{TAKEN} / max(pg_settings_max_connections)", "taken"),
        span=3,
        steps=SHARE_OF_A_LIMIT,
        decimals=0,
    ),
    stat(
        "Found in memory",
        "Share of blocks read in the time shown that were in shared buffers. Below 90 % for long: "
        "more memory would help.",
        "percentunit",
        Series(hits("$__range"), "found"),
        span=3,
        steps=((None, RED), (0.8, YELLOW), (0.9, GREEN)),
        decimals=1,
    ),
    stat(
        "Oldest transaction",
        "Age of the transaction that has run longest. Old ones keep dead rows from being tidied "
        "up.",
        "s",
        Series('max(pg_stat_activity_max_tx_duration{backend_type="client backend"})', "oldest"),
        span=3,
        steps=((None, GREEN), (60, YELLOW), (600, RED)),
        decimals=0,
    ),
    stat(
        "Deadlocks",
        "Deadlocks in the time shown. The API tries such a transaction again.",
        "short",
        Series(f"round(sum(increase(pg_stat_database_deadlocks{OURS}[$__range])))", "deadlocks"),
        span=3,
        steps=NONE_IS_WELL,
    ),
    stat(
        "Size",
        "Size of the database on disk, indexes included.",
        "bytes",
        Series(f"sum(pg_database_size_bytes{OURS})", "size"),
        span=3,
    ),
    stat(
        "Transaction numbers used",
        "Share of the transaction numbers in use. At about 10 % (autovacuum_freeze_max_age) "
        "PostgreSQL frees some by freezing rows; near 100 % writes are refused.",
        "percentunit",
        Series("max(pg_database_wraparound_age_datfrozenxid_seconds) / 2^31", "used"),
        span=3,
        steps=((None, GREEN), (0.25, YELLOW), (0.5, RED)),
        decimals=1,
    ),
)

CONNECTIONS = (
    graph(
        "Connections by state",
        "Idle ones wait for work in pools. 'Idle in transaction' holds locks and should be near "
        "none.",
        "short",
        Series(
            'sum by (state) (pg_stat_activity_count{backend_type="client backend"})', "{{state}}"
        ),
        Series("max(pg_settings_max_connections)", "max_connections"),
        span=8,
    ),
    graph(
        "Connections by who",
        "Connections by role and by the name that each program gives itself.",
        "short",
        Series(
            'sum by (usename, application_name) (pg_stat_activity_count{backend_type="client '
            'backend"}) > 0',
            "{{usename}} {{application_name}}",
        ),
        span=8,
    ),
    graph(
        "Locks",
        "Locks held, by mode. AccessExclusiveLock stops reads as well: it belongs to migrations.",
        "short",
        Series(f"sum by (mode) (pg_locks_count{OURS}) > 0", "{{mode}}"),
        span=8,
    ),
)

WORK = (
    graph(
        "Transactions",
        "Committed and rolled back. Reads count as well.",
        "ops",
        Series(f"sum({rate(f'pg_stat_database_xact_commit{OURS}')})", "committed"),
        Series(f"sum({rate(f'pg_stat_database_xact_rollback{OURS}')})", "rolled back"),
        span=8,
    ),
    graph(
        "Rows",
        "Rows that statements returned to clients, and rows written.",
        "rowsps",
        Series(f"sum({rate(f'pg_stat_database_tup_fetched{OURS}')})", "fetched"),
        Series(f"sum({rate(f'pg_stat_database_tup_inserted{OURS}')})", "inserted"),
        Series(f"sum({rate(f'pg_stat_database_tup_updated{OURS}')})", "updated"),
        Series(f"sum({rate(f'pg_stat_database_tup_deleted{OURS}')})", "deleted"),
        span=8,
    ),
    graph(
        "Busy sessions",
        "Sessions at work on statements, on average. More than processors: they wait for each "
        "other.",
        "short",
        Series(f"sum({rate(f'pg_stat_database_active_time_seconds_total{OURS}')})", "busy"),
        span=8,
    ),
    graph(
        "Found in memory",
        "Share of blocks that needed no read from the disk.",
        "percentunit",
        Series(hits("$__rate_interval"), "found"),
        span=8,
        top=1,
    ),
    graph(
        "Time for reading and writing blocks",
        "Seconds a second that sessions spent on the disk (track_io_timing).",
        "s",
        Series(f"sum({rate(f'pg_stat_database_blk_read_time{OURS}')}) / 1000", "reading"),
        Series(f"sum({rate(f'pg_stat_database_blk_write_time{OURS}')}) / 1000", "writing"),
        span=8,
    ),
    graph(
        "Temporary files",
        "Sorts and hashes that did not fit into work_mem go to the disk.",
        "Bps",
        Series(f"sum({rate(f'pg_stat_database_temp_bytes{OURS}')})", "written"),
        span=8,
    ),
)

STATEMENTS = (
    table(
        "Statements that take the most time",
        "The fifteen statements with the most time in the window shown. Their text: `make "
        "shell-db`, "
        "then SELECT query FROM pg_stat_statements WHERE queryid = …",
        (
            Column("Statement", label="queryid", width=220),
            Column("Role", label="user", width=140),
            Column("Time", value=0, unit="percentunit", width=120),
            Column("Calls", value=1, unit="ops", width=120),
            Column(
                "Each", value=2, unit="s", width=120,
                steps=((None, GREEN), (0.05, YELLOW), (0.5, RED)),
            ),
            Column("Rows of each", value=3, unit="short"),
        ),
        Series(TOP, ""),
        Series(f"{CALLS} and {TOP}", ""),
        Series(f"{SECONDS} / ({CALLS} > 0) and {TOP}", ""),
        Series(f"{ROWS} / ({CALLS} > 0) and {TOP}", ""),
        sort="Time",
    ),
)  # fmt: skip

TABLES = (
    table(
        "Tables",
        "The twenty largest tables: size with indexes, rows, dead rows, reads of the whole table, "
        "and "
        "time since autovacuum last tidied them up.",
        (
            Column("Schema", label="schemaname", width=130),
            Column("Table", label="relname"),
            Column("Size", value=0, unit="bytes", width=110),
            Column("Rows", value=1, unit="short", width=110),
            Column("Dead rows", value=2, unit="short", width=110),
            Column("Whole reads", value=3, unit="ops", width=120),
            Column("Tidied up", value=4, unit="dateTimeFromNow", width=150, zero="not yet"),
        ),
        Series("topk(20, pg_stat_user_tables_size_bytes)", ""),
        Series("pg_stat_user_tables_n_live_tup and topk(20, pg_stat_user_tables_size_bytes)", ""),
        Series("pg_stat_user_tables_n_dead_tup and topk(20, pg_stat_user_tables_size_bytes)", ""),
        Series(
            "rate(pg_stat_user_tables_seq_scan[$__range]) and "
            "topk(20, pg_stat_user_tables_size_bytes)",
            "",
        ),
        Series(
            "1000 * pg_stat_user_tables_last_autovacuum and "
            "topk(20, pg_stat_user_tables_size_bytes)",
            "",
        ),
        sort="Size",
    ),
)

LOG = (
    stat(
        "Since the last archived segment",
        "Time since a segment of the log was archived, which happens when it is full. Never: less "
        "than one was written, or archiving is not set up.",
        "s",
        Series("max(pg_stat_archiver_last_archive_age >= 0) or vector(-1)", "age"),
        span=6,
        words={"-1": ("never", BLUE)},
        decimals=0,
    ),
    stat(
        "Archiving failed",
        "Failed attempts to archive in the time shown. PostgreSQL tries again, and keeps the "
        "segments "
        "meanwhile.",
        "short",
        Series("round(sum(increase(pg_stat_archiver_failed_count[$__range])))", "failed"),
        span=6,
        steps=NONE_IS_WELL,
    ),
    stat(
        "Log on disk",
        "Size of pg_wal. Twice max_wal_size for long: archiving or a replication slot holds it "
        "back.",
        "bytes",
        Series("max(pg_wal_size_bytes)", "pg_wal"),
        Series("max(pg_settings_max_wal_size_bytes)", "max_wal_size"),
        span=6,
    ),
    stat(
        "Segments archived",
        "Segments archived in the time shown.",
        "short",
        Series("round(sum(increase(pg_stat_archiver_archived_count[$__range])))", "archived"),
        span=6,
    ),
    graph(
        "Checkpoints",
        "Checkpoints by time are the rule; by request means that max_wal_size is small for what is "
        "written.",
        "ops",
        Series(f"sum({rate('pg_stat_checkpointer_num_timed_total')})", "by time"),
        Series(f"sum({rate('pg_stat_checkpointer_num_requested_total')})", "by request"),
    ),
    graph(
        "Blocks written",
        "By checkpoints, and by the background writer that makes room in shared buffers.",
        "ops",
        Series(f"sum({rate('pg_stat_checkpointer_buffers_written_total')})", "checkpoints"),
        Series(f"sum({rate('pg_stat_bgwriter_buffers_clean_total')})", "background writer"),
    ),
)

PAGE = Page(
    uid="listo-postgresql",
    title="PostgreSQL",
    text="The database: connections, work, the statements that cost the most, tables, and its log.",
    rows=(
        ("State", STATE),
        ("Connections", CONNECTIONS),
        ("Work", WORK),
        ("Statements", STATEMENTS),
        ("Tables", TABLES),
        ("Log and archive", LOG),
    ),
)
