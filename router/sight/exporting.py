"""Spans on their way to whoever receives them: a thread of its own, a queue with an end. Nothing waits for it.

What the queue has no room for, and what the receiver does not take, is dropped and counted. The queue is as long as
OTEL_BSP_MAX_QUEUE_SIZE says and no longer, however long the receiver is away.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from .. import VERSION
from ..conduct import clock
from .settings import TraceSettings
from .spans import Planned

log = logging.getLogger("infercast.traces")
BATCH_SPANS = 512
CLOSE_S = 3.0


class Exporter(Protocol):
    """Sends spans, as OpenTelemetry's exporters do."""

    def export(self, spans: Sequence[Any]) -> Any:
        """Send spans; the result's name is SUCCESS where they arrived."""
        ...

    def shutdown(self) -> None:
        """End it."""
        ...


class Exporting:
    """Sends planned spans in the background."""

    def __init__(self, entry: str, settings: TraceSettings, exporter: Exporter) -> None:
        self._every_s, self._spans_max = settings.every_s, settings.spans_max
        self._exporter = exporter
        self._shape = Shaping(entry)
        self._waiting: deque[list[Planned]] = deque()
        # Each counted by one thread only: what came in by the calls', what was sent by this one's.
        self._queued = self._refused = self._sent = self._lost = 0
        self._wake = threading.Event()
        self._ended = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="infercast-traces", daemon=True)
        self._thread.start()

    def put(self, spans: list[Planned]) -> None:
        """Queue a call's spans, or drop them where there is no room."""
        waiting = self._queued - self._sent - self._lost
        if waiting + len(spans) > self._spans_max or self._ended:
            self._refused += len(spans)
            return
        self._queued += len(spans)
        self._waiting.append(spans)
        if waiting >= BATCH_SPANS:
            self._wake.set()

    @property
    def exported(self) -> int:
        """How many spans have arrived."""
        return self._sent

    @property
    def dropped(self) -> int:
        """How many have not, and will not."""
        return self._refused + self._lost

    def close(self) -> None:
        """Send what waits, for a moment; the rest is dropped."""
        self._ended = True
        self._wake.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._ended:
            self._wake.wait(self._every_s)
            self._wake.clear()
            self._send_all()
        self._send_all()
        self._exporter.shutdown()

    def _send_all(self) -> None:
        while self._waiting:
            batch: list[Planned] = []
            while self._waiting and len(batch) < BATCH_SPANS:
                batch += self._waiting.popleft()
            if self._send(batch):
                self._sent += len(batch)
            else:
                self._lost += len(batch)

    def _send(self, batch: list[Planned]) -> bool:
        try:
            result = self._exporter.export(self._shape.spans(batch))
            arrived = bool(result.name == "SUCCESS")
        except Exception as error:  # noqa: BLE001 - whatever the exporter meets, calls go on, and the spans are counted
            log.warning("spans could not be sent: %s", type(error).__name__)
            return False
        if arrived is self._failing:
            self._failing = not arrived
            if arrived:
                log.warning("spans are sent again")
            else:
                log.warning("spans are dropped: nobody takes them; infercast_spans_total counts them")
        return arrived


class Shaping:
    """Makes OpenTelemetry's spans of planned ones."""

    def __init__(self, entry: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        # What OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say wins over these; the name for none is OpenTelemetry's.
        said: Mapping[str, str] = {"service.version": VERSION, "infercast.entry": entry}
        read = dict(Resource.create().attributes)
        if str(read.get("service.name", "")).startswith("unknown_service"):
            read["service.name"] = "infercast"
        self._resource = Resource({**said, **read})
        self._scope = InstrumentationScope("infercast", VERSION)

    def spans(self, batch: Iterable[Planned]) -> list[Any]:
        """Return spans that may be exported. The wall's clock is read once for all: so what follows in a call does so here."""
        off_ns = time.time_ns() - clock.now_us() * 1000
        return [self._span(planned, off_ns) for planned in batch]

    def _span(self, planned: Planned, off_ns: int) -> Any:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        flags = TraceFlags(TraceFlags.SAMPLED)
        parent = SpanContext(planned.trace_id, planned.parent_id, is_remote=False, trace_flags=flags)
        return ReadableSpan(
            planned.name,
            SpanContext(planned.trace_id, planned.span_id, is_remote=False, trace_flags=flags),
            parent if planned.parent_id else None,
            self._resource,
            planned.facts,
            kind=SpanKind[planned.kind],
            status=Status(StatusCode.ERROR if planned.failed else StatusCode.UNSET),
            start_time=planned.began_us * 1000 + off_ns,
            end_time=planned.ended_us * 1000 + off_ns,
            instrumentation_scope=self._scope,
        )


def otlp_exporter() -> Exporter:
    """Return OpenTelemetry's exporter over HTTP, set by its own environment variables."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter: Exporter = OTLPSpanExporter()
    return exporter
