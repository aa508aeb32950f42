"""Real receivers of notifications on the loopback interface: a mail server with TLS, and a sink for Slack's webhooks."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import free_port

WAIT_S = 30.0
PASSWORD = "a mail password"


def wait_for(probe: Callable[[], object], what: str, wait_s: float = WAIT_S) -> None:
    """Return once a probe is true."""
    deadline = time.monotonic() + wait_s
    while not probe():
        assert time.monotonic() < deadline, f"{what} did not come within {wait_s:g} s"
        time.sleep(0.02)


def a_certificate(folder: Path, name: str = "mail") -> tuple[Path, ssl.SSLContext]:
    """A certificate of 127.0.0.1 that vouches for itself, and a context that serves it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return certificate_file, context


class MailServer:
    """A real mail server, that takes mail over TLS only; it can go, come back, and refuse.

    Args:
        folder: for its certificate.
        tls: how TLS begins.
        is_closed: whether senders must sign in as `trajops`.
    """

    def __init__(self, folder: Path, tls: str = "starttls", *, is_closed: bool = False) -> None:
        self.ca_file, self._context = a_certificate(folder)
        self.port, self.tls = free_port(), tls
        self.received: list[EmailMessage] = []
        self.times: list[float] = []
        self.answers: list[str] = []  # to the next mails, instead of taking them
        self.refused: set[str] = set()
        self._is_closed = is_closed
        self._controller: Controller | None = None

    def start(self) -> None:
        """Listen."""
        options: dict[str, Any] = {"decode_data": False}
        if self.tls == "starttls":
            options |= {"tls_context": self._context, "require_starttls": True}
        if self._is_closed:
            options |= {"authenticator": self._authenticate, "auth_required": True, "auth_require_tls": self.tls == "starttls"}
        implicit = {"ssl_context": self._context} if self.tls == "implicit" else {}
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **implicit, **options)
        self._controller.start()

    def stop(self) -> None:
        """Listen no more."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def receiver(self, **changes: Any) -> dict[str, Any]:
        """The receiver that sends here, as `configs/alerts.yaml` has it."""
        own = {"kind": "email", "name": "mail", "host": "127.0.0.1", "port": self.port, "tls": self.tls, "ca_file": str(self.ca_file)}
        return {**own, "sender": "trajops@example.org", "to": ["ops@example.org"], **changes}

    def _authenticate(self, _server: Any, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"trajops", PASSWORD.encode()), handled=False)

    async def handle_RCPT(self, _server: Any, _session: Session, envelope: Envelope, address: str, _options: Any) -> str:  # noqa: N802
        """Take or refuse one recipient."""
        if address in self.refused:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take or refuse one mail."""
        if self.answers:
            return self.answers.pop(0)
        message = message_from_bytes(envelope.content or b"", policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.received.append(message)
        self.times.append(time.time())
        return "250 OK"


@contextmanager
def a_mail_server(folder: Path, tls: str = "starttls", *, is_closed: bool = False) -> Iterator[MailServer]:
    """A running mail server, until the end of the block."""
    server = MailServer(folder, tls, is_closed=is_closed)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class SlackSink:
    """What Slack does with a webhook: it takes JSON and says `ok`, or what the test wants."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.answers: list[tuple[int, dict[str, str]]] = []  # to the next posts: status and header fields
        self.body: bytes | None = None  # of all answers, in place of Slack's own
        self.visits: list[str] = []  # paths that were asked for with GET
        self.on_receive: Callable[[], None] = lambda: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """The address of the webhook."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/services/T0/B0/secret"

    @property
    def ids(self) -> list[str]:
        """Notifications that came, by id."""
        return [body["blocks"][-1]["elements"][0]["text"].split()[-1] for body in self.received]

    def start(self) -> None:
        """Listen."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, fields = sink.answers.pop(0) if sink.answers else (200, {})
                if status == 200:
                    sink.received.append(body)
                    sink.times.append(time.time())
                    sink.on_receive()
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.end_headers()
                own = b"ok" if status == 200 else b"invalid_blocks"
                self.wfile.write(own if sink.body is None else sink.body)

            def do_GET(self) -> None:
                sink.visits.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        return Handler


@contextmanager
def a_tarpit() -> Iterator[int]:
    """A mail server that greets for ever, a line after the other, so that no wait for an answer is long; its port."""
    is_over = threading.Event()

    def greet(caller: socket.socket) -> None:
        with caller, suppress(OSError):
            while not is_over.wait(0.1):
                caller.sendall(b"220-wait\r\n")

    def listen() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=greet, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            is_over.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def a_slack_sink() -> Iterator[SlackSink]:
    """A running sink, until the end of the block."""
    sink = SlackSink()
    sink.start()
    try:
        yield sink
    finally:
        sink.stop()
