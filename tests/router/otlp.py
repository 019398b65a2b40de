"""A receiver of OpenTelemetry's traces over HTTP, in a thread of the test: it decodes what the exporter really sends."""

import gzip
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from unittest.mock import patch

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from infercast.router.conduct.clock import now_us
from infercast.router.sight.exporting import Exporting, otlp_exporter
from infercast.router.sight.seeing import Seeing
from infercast.router.sight.settings import trace_settings

KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT"}


@dataclass
class Span:
    """One span as it was received."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    began_ns: int
    ended_ns: int
    facts: dict[str, Any]
    failed: bool


@dataclass
class Received:
    """What has come in."""

    url: str = ""
    raw: list[bytes] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        """Decode one request."""
        self.raw.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            self.resources.append(_facts(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans += [_span(span) for span in scope.spans]

    @property
    def root(self) -> Span:
        """The one span with no other of this trace above it."""
        known = {span.span_id for span in self.spans}
        (root,) = [span for span in self.spans if span.parent_id not in known]
        return root

    def below(self, above: Span) -> list[str]:
        """The names of the spans below one, in order."""
        found = [span for span in self.spans if span.parent_id == above.span_id]
        return [span.name for span in sorted(found, key=lambda span: (span.began_ns, span.ended_ns))]

    def named(self, name: str) -> list[Span]:
        """The spans of a name, in order."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.began_ns)

    def tree(self) -> dict[str, Any]:
        """The names, as they hang below each other."""
        return {f"{self.root.name}": self._tree(self.root)}

    def _tree(self, above: Span) -> list[Any]:
        found = sorted((s for s in self.spans if s.parent_id == above.span_id), key=lambda s: (s.began_ns, s.ended_ns))
        return [{span.name: below} if (below := self._tree(span)) else span.name for span in found]


def _span(span: Any) -> Span:
    return Span(
        span.name,
        KINDS[span.kind],
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _facts(span.attributes),
        failed=span.status.code == 2,
    )


def _facts(attributes: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)


@contextmanager
def receiver(status: int = 200) -> Iterator[Received]:
    """Listen on loopback; answers `status` to whatever comes."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            received.take(body)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        received.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield received
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def traced(at: Any, url: str, entry: str = "fra", **environment: str) -> Iterator[Seeing]:
    """Let a scene's calls (`at.caller`) be traced as OpenTelemetry's variables say; what waits is sent at the end."""
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_TIMEOUT": "2", **environment}
    with patch.dict(os.environ, variables):
        settings = trace_settings(os.environ)
        assert settings is not None
        exporting = Exporting(entry, settings, otlp_exporter())
    seeing = Seeing(entry, at.caller.fleet, settings, exporting)
    at.caller._sight = seeing
    try:
        yield seeing
    finally:
        seeing.close()


def arrival() -> int:
    """Now, as an ingress notes it."""
    return now_us()
