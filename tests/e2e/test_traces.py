"""Traces of a real `leo serve`, as a collector receives them."""

import http.server
import threading
from pathlib import Path

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.helpers.drawn import png
from tests.helpers.server import Server

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(http.server.ThreadingHTTPServer):
    """A trace collector that keeps the spans it receives."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.came = threading.Condition()
        super().__init__(("127.0.0.1", 0), Receive)

    def of(self, trace: str, number: int) -> list[Span]:
        """Return a trace's spans, once there are so many."""

        def found() -> list[Span]:
            return [span for span in self.spans if span.trace_id.hex() == trace]

        with self.came:
            assert self.came.wait_for(lambda: len(found()) >= number, 60), [span.name for span in self.spans]
            return found()


class Receive(http.server.BaseHTTPRequestHandler):
    """Hands received spans to the collector."""

    server: Collector

    def do_POST(self) -> None:
        sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        with self.server.came:
            for resource in sent.resource_spans:
                for scope in resource.scope_spans:
                    self.server.spans += scope.spans
            self.server.came.notify_all()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def test_a_creation_and_its_stages_under_the_callers_trace(tmp_path: Path) -> None:
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
        server = Server(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="100")
        try:
            server.start()
            images = [("images", (name, png(name), "image/png")) for name in ("tee", "ring")]
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            data = {"labels": ["secret label", "b"], "name": "secret name"}
            answer = httpx.post(f"{server.url}/tasks", data=data, files=images, headers=headers)
            assert answer.status_code == 201
            spans = {span.name: span for span in collector.of(TRACE, 4)}
        finally:
            server.close()
            collector.shutdown()
    assert set(spans) == {"POST /tasks", "decode", "device", "store"}
    assert spans["POST /tasks"].parent_span_id.hex() == PARENT
    for stage in ("decode", "device", "store"):
        assert spans[stage].parent_span_id == spans["POST /tasks"].span_id
    assert "secret" not in str(spans)
