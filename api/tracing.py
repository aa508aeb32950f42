"""Traces for an OpenTelemetry collector: one span a request, one for each turn's forecasts, one for its write.

The only module that imports OpenTelemetry, and itself imported only where `TRAJOPS_OTLP_URL` is set. Nothing of the hot path
knows of it: the application and its doors are wrapped once at the start, and the turn is of a class of its own. What is answered is
read from the answer itself, and only where the request is sampled. A request that is not goes the short way (`api.direct`) as ever; one
that is goes through ASGI.
"""

import logging
import os
import random
import re
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import trajops
from api.bulk_endpoint import BulkRoute
from api.direct import Door, Exchange
from api.fast_route import FastApi, FastRoute
from api.metrics import Meters
from api.turn import LineSink, Receiver, Turn
from trajops import logs
from trajops.services.predict import Ask, PredictService
from trajops.settings import Settings

# Spans wait here until they are sent; more than that are dropped.
QUEUE_SPANS = 4096
BATCH_SPANS = 512
SEND_EVERY_S = 1.0
# One attempt to send, with its repetitions; and how long the end of the process waits for the last one, seconds.
SEND_S = 5.0
FLUSH_S = 3.0

_PREDICT = "/predict"
# Attributes of a prediction's span, by the field of its answer.
_OF_ANSWER = {
    "prediction_id": "trajops.prediction_id",
    "model_name": "trajops.model.name",
    "model_version": "trajops.model.version",
    "variant": "trajops.variant",
    "epoch": "trajops.epoch",
}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_W3C = (b"traceparent", b"tracestate")
# The last digit of the flags of a caller that does not sample, at the end of a `traceparent` of this length.
_UNSAMPLED, _W3C_LENGTH = b"02468aceACE", 55
# What a door has decided for the application: these objects themselves, so that no client can send one.
_CHOSEN, _PASSED_OVER = (b"trajops-chosen", b"1"), (b"trajops-chosen", b"0")

logger = logging.getLogger(__name__)


class Tracing:
    """Makes spans and sends them in the background.

    Args:
        settings: where to, and how many.
    """

    def __init__(self, settings: Settings) -> None:
        base = (settings.otlp_url or "").rstrip("/")
        self._url = base if base.endswith("/v1/traces") else f"{base}/v1/traces"
        resource = Resource.create(
            {
                "service.name": "api",
                "service.namespace": "trajops",
                "service.version": trajops.__version__,
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
                "deployment.environment.name": settings.environment,
            }
        )
        # Whoever calls decides for its own trace. Those that begin here are drawn by ratio before anything is made of them.
        self._provider = TracerProvider(ParentBased(ALWAYS_ON), resource, shutdown_on_exit=False)
        self._ratio = settings.otlp_ratio
        self._tracer = self._provider.get_tracer("trajops.api", trajops.__version__)
        self._sender = _Sender(self._url)

    @property
    def unsent(self) -> int:
        """Spans that the collector has not taken, and that were dropped."""
        return self._sender.unsent

    def open(self) -> None:
        """Begin to send, and to name the trace in the log lines of this process."""
        # It tells of each attempt; `_Sender` tells of the first that fails, and of the first that succeeds again.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._sender,
                max_queue_size=QUEUE_SPANS,
                max_export_batch_size=BATCH_SPANS,
                schedule_delay_millis=SEND_EVERY_S * 1e3,
                export_timeout_millis=SEND_S * 1e3,
            )
        )
        for handler in logging.getLogger().handlers:
            handler.addFilter(_name_trace)

    def close(self) -> None:
        """Send what is left, for so long as `FLUSH_S`."""
        flush = threading.Thread(target=self._provider.shutdown, name="flush-spans", daemon=True)
        flush.start()
        flush.join(FLUSH_S)

    def application(self, app: FastApi) -> ASGIApp:
        """The application with a span around each sampled request."""
        for target, door in app.doors.items():
            app.doors[target] = _TracedDoor(door, self._ratio)
        return _Traced(app, self._tracer, self._ratio)

    def turn(self, service: PredictService, spool: LineSink, meters: Meters, *, largest: int, max_wait_s: float) -> Turn:
        """A turn with a span for each of its batches."""
        return _TracedTurn(self._tracer, service, spool, meters, largest=largest, max_wait_s=max_wait_s)


class _Sender(SpanExporter):
    """Sends spans by OTLP over HTTP, and says once when they are not taken.

    Args:
        url: of the collector, with its path.

    Attributes:
        unsent: spans that were not taken.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._exporter = OTLPSpanExporter(url, timeout=SEND_S)
        self._is_up = True
        self.unsent = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        is_up = result is SpanExportResult.SUCCESS
        if not is_up:
            self.unsent += len(spans)
        if is_up != self._is_up:
            self._is_up = is_up
            if is_up:
                logger.info("the collector at %s takes spans again; %d were dropped", self._url, self.unsent)
            else:
                logger.warning("the collector at %s takes no spans; they are dropped until it does, and answers go on", self._url)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


class _TracedDoor:
    """Sends sampled requests the ordinary way, where they are traced.

    Args:
        door: takes the others.
        ratio: share of the requests without a caller's decision that are sampled.
    """

    def __init__(self, door: Door, ratio: float) -> None:
        self._door = door
        self._ratio = ratio

    def begin(self, exchange: Exchange) -> bool:
        """As a door does it."""
        headers = exchange.headers
        for name, value in headers:
            if name == b"traceparent":
                return len(value) == _W3C_LENGTH and value[-1] in _UNSAMPLED and self._door.begin(exchange)
        if random.random() < self._ratio:  # noqa: S311 - nothing is secret about it
            headers.append(_CHOSEN)
            return False
        if self._door.begin(exchange):
            return True
        headers.append(_PASSED_OVER)
        return False


class _Traced:
    """Pure ASGI: a server span around each sampled request, current for whatever the request does.

    Args:
        app: answers.
        tracer: makes the spans.
        ratio: share of the requests without a caller's decision that are sampled.
    """

    def __init__(self, app: FastApi, tracer: Tracer, ratio: float) -> None:
        self._app = app
        self._tracer = tracer
        self._ratio = ratio
        self._propagator = TraceContextTextMapPropagator()
        # Routes that are answered ahead of the router, which tells of the others.
        self._early: list[tuple[re.Pattern[str], str]] = [
            (route.path_regex, route.path) for route in app.router.routes if isinstance(route, FastRoute | BulkRoute)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _W3C}
        parent = self._propagator.extract(given, Context()) if given else Context()
        if not trace.get_current_span(parent).get_span_context().is_valid and not self._is_chosen(scope["headers"]):
            await self._app(scope, receive, send)
            return
        span = self._tracer.start_span(scope["method"], parent, SpanKind.SERVER)
        token = attach(trace.set_span_in_context(span, parent))
        try:
            if span.is_recording():
                await self._record(span, scope, receive, send)
            else:
                await self._app(scope, receive, send)
        finally:
            detach(token)
            span.end()

    def _is_chosen(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether a trace begins with this request: as its door has decided, or by the ratio."""
        if headers and (headers[-1] is _CHOSEN or headers[-1] is _PASSED_OVER):
            return headers.pop() is _CHOSEN
        return random.random() < self._ratio  # noqa: S311 - nothing is secret about it

    async def _record(self, span: Span, scope: Scope, receive: Receive, send: Send) -> None:
        status, is_prediction = 0, False

        async def note(message: Message) -> None:
            nonlocal status, is_prediction
            if message["type"] == "http.response.start":
                status = message["status"]
                is_prediction = status == 200 and scope["path"] == _PREDICT
                for name, value in message.get("headers", ()):
                    if name == b"x-request-id":
                        span.set_attribute("trajops.request_id", value.decode())
            elif is_prediction and message.get("body") and not message.get("more_body", False):
                answer = orjson.loads(message["body"])
                span.set_attributes({name: answer[field] for field, name in _OF_ANSWER.items()})
            await send(message)

        span.set_attributes(_of_request(scope))
        try:
            await self._app(scope, receive, note)
        except Exception as error:
            span.record_exception(error)
            span.set_status(StatusCode.ERROR)
            span.set_attribute("error.type", type(error).__qualname__)
            raise
        finally:
            template = self._template(scope)
            if template is not None:
                span.update_name(f"{scope['method']} {template}")
                span.set_attribute("http.route", template)
            if status:
                span.set_attribute("http.response.status_code", status)
            if status >= 500:
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", str(status))

    def _template(self, scope: Scope) -> str | None:
        route = getattr(scope.get("route"), "path", None)
        if route is None and scope["method"] == "POST":
            route = next((path for pattern, path in self._early if pattern.match(scope["path"])), None)
        return route


def _of_request(scope: Scope) -> dict[str, str | int]:
    """What the semantic conventions for HTTP servers ask of a request; never its query, which may hold what is secret."""
    headers, method = dict(scope["headers"]), scope["method"]
    found: dict[str, str | int] = {
        "http.request.method": method if method in _METHODS else "_OTHER",
        "url.scheme": scope["scheme"],
        "url.path": scope["path"],
        "network.protocol.version": scope["http_version"],
    }
    if method not in _METHODS:
        found["http.request.method_original"] = method
    if scope.get("client"):
        found["client.address"] = scope["client"][0]
    host, _, port = headers.get(b"host", b"").decode("latin-1").rpartition(":")
    if host and port.isdigit():
        found |= {"server.address": host, "server.port": int(port)}
    elif b"host" in headers:
        found["server.address"] = headers[b"host"].decode("latin-1")
    if b"user-agent" in headers:
        found["user_agent.original"] = headers[b"user-agent"].decode("latin-1")
    return found


class _TracedTurn(Turn):
    """A turn whose batches are spans: in the trace of its first sampled request, linked to all of them.

    Args:
        tracer: makes the spans.
        service: as for `Turn`, and so on.
    """

    def __init__(self, tracer: Tracer, service: PredictService, spool: LineSink, meters: Meters, **options: Any) -> None:
        super().__init__(service, _TracedSink(tracer, spool), meters, **options)
        self._tracer = tracer
        # One for each ask that waits, in order.
        self._spans: list[Span] = []

    def put(self, ask: Ask, receiver: Receiver) -> None:
        """As a turn does it, in the request's own context."""
        super().put(ask, receiver)
        self._spans.append(trace.get_current_span())

    def _answer(self, batch: list[Any]) -> None:
        spans, self._spans = self._spans[: len(batch)], self._spans[len(batch) :]
        sampled = [span for span in spans if span.is_recording()]
        if not sampled:
            # The turn runs in the context of the request that began it, which may be sampled, and in another batch.
            token = attach(Context())
            try:
                super()._answer(batch)
            finally:
                detach(token)
            return
        context, attributes = trace.set_span_in_context(sampled[0], Context()), {"trajops.turn.size": len(batch)}
        links = [Link(span.get_span_context()) for span in sampled]
        with self._tracer.start_as_current_span("turn", context, attributes=attributes, links=links):
            super()._answer(batch)


class _TracedSink:
    """A sink whose writes are spans, inside the span of a turn.

    Args:
        tracer: makes the spans.
        sink: writes.
    """

    def __init__(self, tracer: Tracer, sink: LineSink) -> None:
        self._tracer = tracer
        self._sink = sink

    def write_lines(self, table: str, lines: bytes) -> None:
        """As the sink does it."""
        if not trace.get_current_span().is_recording():
            self._sink.write_lines(table, lines)
            return
        attributes: Mapping[str, str | int] = {"trajops.spool.table": table, "trajops.spool.bytes": len(lines)}
        with self._tracer.start_as_current_span("spool write", attributes=attributes):
            self._sink.write_lines(table, lines)


def _name_trace(record: logging.LogRecord) -> bool:
    """Put the ids of the current span into a log line, by which a viewer goes from one to the other."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        vars(record)[logs.ECS] = {"trace.id": trace.format_trace_id(span.trace_id), "span.id": trace.format_span_id(span.span_id)}
    return True
