"""An OTLP receiver made of the OpenTelemetry project's own Python stubs.

Usage: otlp_receiver.py grpc|http PORT. Prints a line of JSON for each request, the first line says
the port. A line on standard input says how requests are answered from then on: `ok`, `busy`,
`exhausted` (with a time to wait), `refused`, `partial`, or `silent`.
"""

import http.server
import json
import sys
import threading
import time
from concurrent import futures

import grpc
from google.protobuf import any_pb2
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc

SIGNALS = {
    "metrics": (
        metrics_service_pb2.ExportMetricsServiceRequest,
        metrics_service_pb2.ExportMetricsServiceResponse,
    ),
    "logs": (
        logs_service_pb2.ExportLogsServiceRequest,
        logs_service_pb2.ExportLogsServiceResponse,
    ),
}
answer = "ok"
printing = threading.Lock()


def tell(line):
    with printing:
        print(json.dumps(line), flush=True)


def received(signal, request, headers):
    """Prints a request; says how it is to be answered."""
    now = answer
    line = {"signal": signal, "answer": now, "headers": headers, "at": time.monotonic()}
    if now in ("ok", "partial"):
        line["request"] = MessageToDict(request)
    tell(line)
    return now


def stay_silent(how):
    """Until there is another way to answer: nobody waits for this one any more."""
    while how == "silent" and answer == how:
        time.sleep(0.05)


def response(signal, how):
    message = SIGNALS[signal][1]()
    if how == "partial":
        part = message.partial_success
        part.error_message = "one is too old"
        if signal == "metrics":
            part.rejected_data_points = 1
        else:
            part.rejected_log_records = 1
    return message


def retry_info():
    """google.rpc.Status with a RetryInfo of one second."""
    detail = any_pb2.Any(
        type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\x0a\x02\x08\x01"
    ).SerializeToString()
    return b"\x08\x08\x1a" + bytes([len(detail)]) + detail


def export(signal):
    def servicer(_self, request, context):
        headers = {name: str(value) for name, value in context.invocation_metadata()}
        how = received(signal, request, headers)
        if how == "busy":
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        if how == "refused":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "never")
        if how == "exhausted":
            context.set_trailing_metadata((("grpc-status-details-bin", retry_info()),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "later")
        stay_silent(how)
        return response(signal, how)

    return servicer


def serve_grpc(port):
    server = grpc.server(futures.ThreadPoolExecutor(8))
    metrics = type("Metrics", (metrics_service_pb2_grpc.MetricsServiceServicer,), {"Export": export("metrics")})
    logs = type("Logs", (logs_service_pb2_grpc.LogsServiceServicer,), {"Export": export("logs")})
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(metrics(), server)
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(logs(), server)
    tell({"port": server.add_insecure_port(f"127.0.0.1:{port}")})
    server.start()
    return server


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        signal = self.path.removeprefix("/v1/")
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.headers["content-type"] == "application/x-protobuf", self.headers
        request = SIGNALS[signal][0].FromString(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        how = received(signal, request, headers)
        stay_silent(how)
        code = {"busy": 503, "exhausted": 429, "refused": 400}.get(how, 200)
        body = response(signal, how).SerializeToString() if code == 200 else b""
        self.send_response(code)
        if how == "exhausted":
            self.send_header("retry-after", "1")
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve_http(port):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Http)
    server.handle_error = lambda *_: None  # a sender that gave up is no error here
    tell({"port": server.server_address[1]})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


# A gRPC server ends with the last reference to it.
server = {"grpc": serve_grpc, "http": serve_http}[sys.argv[1]](int(sys.argv[2]))
for line in sys.stdin:
    answer = line.strip()
    tell({"answers": answer})
