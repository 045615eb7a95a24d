"""Spans of requests and statements reach the collector of OTEL_EXPORTER_OTLP_ENDPOINT."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from fixtures.server import PASSWORD, serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[tuple[str, str]] = []
        # Everything that was sent.
        self.bodies = b""
        self.arrived = threading.Condition()

    def wait_for(self, name: str) -> list[tuple[str, str]]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: any(name in span for span, _ in self.spans), 30)
            return list(self.spans)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        assert isinstance(self.server, Collector)
        with self.server.arrived:
            self.server.bodies += body
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    self.server.spans += [(s.name, s.trace_id.hex()) for s in scope.spans]
            self.server.arrived.notify_all()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_spans_reach_the_collector_with_the_trace_of_the_request(
    database_url: str, collector: Collector, capfd: pytest.CaptureFixture[str]
) -> None:
    endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
    with serving(settings(database_url, otel_exporter_otlp_endpoint=endpoint)) as server:
        client = server.client()
        client.get("/collections", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
        client.get("/collections/none")
        client.get(
            "/collections/none/records/none",
            headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
        )
        client.get("/health")
        provider = server.services.tracing.provider
        assert provider is not None
        provider.force_flush()
        spans = collector.wait_for("/collections/{collection}")
    ours = [name for name, trace_id in spans if trace_id == TRACE]
    assert any("/collections" in name for name in ours)
    assert "postgresql" in ours
    assert "GET /collections/{collection}/records/{record_id}" in ours
    lines = [json.loads(x) for x in capfd.readouterr().out.splitlines() if x.startswith("{")]
    logged = {
        line["trace_id"] for line in lines if line.get("route") == "/collections/{collection}"
    }
    # Without a traceparent the log has the trace that the span was made in.
    assert logged <= {trace_id for _, trace_id in spans}
    assert len(logged) == 1


def test_no_secret_is_in_a_span(database_url: str, collector: Collector) -> None:
    endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
    with serving(settings(database_url, otel_exporter_otlp_endpoint=endpoint)) as server:
        client = server.client()
        body = {"email": "eve@example.com", "password": PASSWORD}
        client.post("/auth/register", json=body)
        tokens = client.post("/auth/login", json=body).json()
        headers = {"Authorization": f"Bearer {tokens['access_token']}", "Cookie": "c00kie=1"}
        given = {"name": "k", "scopes": ["records:read"]}
        key = client.post("/auth/api-keys", json=given, headers=headers).json()["key"]
        client.get("/collections", headers={"Authorization": f"Bearer {key}"})
        client.get("/collections", headers={"Authorization": "Basic dXNlcjpw"})
        client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        provider = server.services.tracing.provider
        assert provider is not None
        provider.force_flush()
        collector.wait_for("/auth/refresh")
    for secret in (
        PASSWORD,
        tokens["access_token"],
        tokens["refresh_token"],
        key,
        "c00kie",
        "dXNlcjpw",
        server.settings.jwt_secret.get_secret_value(),
    ):
        assert secret.encode() not in collector.bodies
