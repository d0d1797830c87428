"""OpenTelemetry's SDK as traces need it: where its packages are installed, and an address is set."""

import logging
from collections.abc import Mapping, Sequence

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from typing_extensions import override

from muster.platform.telemetry import logger

KINDS = {"server": SpanKind.SERVER, "consumer": SpanKind.CONSUMER, "client": SpanKind.CLIENT}
FAILED = StatusCode.ERROR
_HEADER = "traceparent"
_propagator = TraceContextTextMapPropagator()


def provider(endpoint: str, *, about: Mapping[str, str], within: float) -> TracerProvider:
    """Sends in a thread of its own, to the host of `endpoint` alone: no redirect, no proxy."""
    session = requests.Session()
    session.trust_env = False
    exporter = OTLPSpanExporter(
        f"{endpoint.rstrip('/')}/v1/traces", timeout=within, compression=Compression.Gzip, session=session
    )
    # It complains with each batch; `_Told` does so once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    made = TracerProvider(resource=Resource.create(dict(about)), shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(_Told(exporter), export_timeout_millis=within * 1000))
    return made


def carried() -> str:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(_HEADER, "")


def continued(told: str) -> Context:
    """Empty for what is no such header: a job's data are written by anybody who reaches Redis."""
    return _propagator.extract({_HEADER: told}, context=Context())


class _Told(SpanExporter):
    """Says once that nothing arrives, and once that it does again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._arrives = True

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        arrives = result is SpanExportResult.SUCCESS
        if arrives is not self._arrives:
            self._arrives = arrives
            say = logger.info if arrives else logger.warning
            say("traces_arrive_again" if arrives else "traces_do_not_arrive")
        return result

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()
