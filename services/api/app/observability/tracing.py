"""Traces, if OTEL_EXPORTER_OTLP_ENDPOINT is set.

FastAPI traces requests, and Listo traces SQL statements.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.telemetry import TelemetryConfig
    from opentelemetry.sdk.trace import TracerProvider

    from app.core.settings import Settings

logger = logging.getLogger("listo.sql")


@dataclass(frozen=True)
class Telemetry:
    config: TelemetryConfig
    query_loggers: list[Callable[[Any], None]] = field(default_factory=list)
    provider: TracerProvider | None = None

    def close(self) -> None:
        """Send the remaining traces. Blocks."""
        if self.provider is not None:
            self.provider.shutdown()


def telemetry(settings: Settings) -> Telemetry:
    """How FastAPI and the database are to be observed."""
    loggers: list[Callable[[Any], None]] = []
    if settings.debug:
        loggers.append(_log_query)
    config: TelemetryConfig = {
        "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False,
        "tracing": settings.otel_exporter_otlp_endpoint is not None,
    }  # fmt: skip
    provider = None
    if settings.otel_exporter_otlp_endpoint is not None:
        provider = _provider(settings.otel_exporter_otlp_endpoint)
        config["tracer_provider"] = provider
        loggers.append(_query_spans(provider))
    return Telemetry(config, loggers, provider)


def _provider(endpoint: str) -> TracerProvider:
    # Imported here, so that only servers with an endpoint pay for the import.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": "listo-api"}))
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _query_spans(provider: TracerProvider) -> Callable[[Any], None]:
    tracer = provider.get_tracer("listo.sql")

    def record(query: Any) -> None:
        end = time.time_ns()
        span = tracer.start_span(
            "postgresql",
            start_time=end - int(query.elapsed * 1e9),
            # The statement has only `$n` in it: the values are bound.
            attributes={"db.system.name": "postgresql", "db.query.text": query.query},
        )
        if query.exception is not None:
            span.record_exception(query.exception)
        span.end(end)

    return record


def _log_query(query: Any) -> None:
    logger.debug("%.2f ms %s", query.elapsed * 1000, query.query)
