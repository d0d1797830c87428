"""With the address of a collector, one trace leads from a request of the web to the job of the worker."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.entries.command_line import CommandLine
from tests.entries.test_log_lines import line, lines, worker
from tests.entries.test_web_process import web
from tests.readiness.between import free_address
from tests.town import Town, Visitor, eventually
from typing_extensions import override

from muster.platform.tracing import carried, span


class Collector(ThreadingHTTPServer):
    """Takes spans, each with the name of the process that sent it."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        super().__init__(("127.0.0.1", 0), _Export)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def named(self, process: str, name: str) -> list[Span]:
        return [one for sender, one in list(self.spans) if sender == process and one.name == name]


class _Export(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
            sender = attributes(sent.resource)["service.name"]
            self.server.spans += [(sender, one) for scope in sent.scope_spans for one in scope.spans]
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    @override
    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


def attributes(of: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in of.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def soon() -> dict[str, str]:
    """The SDK's own setting: send what there is five times a second."""
    return {"OTEL_BSP_SCHEDULE_DELAY": "200"}


async def test_one_trace_leads_from_the_request_to_the_job_and_the_call(
    town: Town, muster: CommandLine, collector: Collector, soon: dict[str, str]
):
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, **soon}
    async with (
        web(muster, **told) as client,
        worker(muster, **told),
        Visitor(str(client.base_url).rstrip("/")) as ada,
    ):
        await ada.sign_in("ada@acme.test")
        await line(muster, "job_finished", job="people.sync")  # that of its clock, which would be joined
        await ada.post("/people/syncs", {"kind": "people"})

        async def is_whole() -> Any:
            asked = collector.named("muster-web", "POST /people/syncs")
            jobs = collector.named("muster-worker", "people.sync")
            return next(((a, j) for a in asked for j in jobs if j.parent_span_id == a.span_id), None)

        asked, job = await eventually(is_whole, within=40)

    assert asked.trace_id == job.trace_id
    assert (asked.kind, job.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CONSUMER)
    assert attributes(asked)["http.response.status_code"] == 303
    within = [one for _, one in collector.spans if one.parent_span_id == job.span_id]
    assert {"query", "GET"} <= {one.name for one in within}
    assert {attributes(one).get("server.address") for one in within} >= {"127.0.0.1"}
    said = str(collector.spans)
    assert ada.session_id
    assert ada.session_id not in said
    assert [secret for secret in town.portal.settings.secrets() if secret in said] == []


@pytest.mark.usefixtures("town")
async def test_a_collector_that_cannot_be_reached_delays_nobody_and_is_told_of_once(
    muster: CommandLine, soon: dict[str, str]
):
    async with web(muster, OTEL_EXPORTER_OTLP_ENDPOINT=free_address(), **soon) as client:
        for _ in range(3):
            assert (await client.get("/sign-in")).status_code == 200
        await line(muster, "traces_do_not_arrive")
        assert (await client.get("/sign-in")).status_code == 200

    said = [one["msg"] for one in lines(muster)]
    assert said.count("traces_do_not_arrive") == 1
    assert said[-1] == "web_stopped"


def test_without_an_address_a_span_is_nothing():
    with span("query", "client") as tell:
        tell("other", some__thing=1)

        assert carried() == ""


def test_without_the_packages_it_says_what_is_missing(muster: CommandLine):
    hidden = muster.folder / "opentelemetry"
    hidden.mkdir()
    (hidden / "__init__.py").touch()

    ended = muster("web", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", PYTHONPATH=str(muster.folder))

    assert ended.returncode == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set and what it needs is not installed" in ended.stderr
    assert ended.stderr.count("\n") == 1
