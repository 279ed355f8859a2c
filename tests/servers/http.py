"""A real HTTP server that answers as a test says, and whose every request is kept."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Request:
    method: str
    path: str  # as it was sent, quoted
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))


@dataclass
class Reply:
    """body: bytes, or what is sent as JSON. missing_bytes: how much less is sent than the header tells."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    missing_bytes: int = 0
    hangs: bool = False
    drips: bool = False


Answer = Callable[[Request], Any]


class Api:
    """answer: what a request gets: a Reply, or what is sent as JSON. It runs in the server's thread."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.answer: Answer = lambda _: Reply(status=404)
        self.over = threading.Event()

    def lists(self, items: list[Any], **more: Any) -> None:
        """Answer with pages of a list, by offset and limit."""

        def answer(request: Request) -> Any:
            start = int(request.params.get("offset", 0))
            return {"items": items[start : start + int(request.params.get("limit", 1000))], **more}

        self.answer = answer

    def replies(self, *replies: Any) -> None:
        """Answer with these, one after the other, and with the last one for ever."""
        left = list(replies)
        self.answer = lambda _: left.pop(0) if len(left) > 1 else left[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: Api

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, parts.path, dict(parse_qsl(parts.query, True)), headers, body)
        self.api.requests.append(request)
        reply = self.api.answer(request)
        with suppress(ConnectionError, ssl.SSLError):  # the client has had enough
            self.send(reply if isinstance(reply, Reply) else Reply(reply))

    do_POST = do_PATCH = do_GET  # noqa: N815  http.server's names

    def send(self, reply: Reply) -> None:
        if reply.hangs:
            self.close_connection = True
            self.api.over.wait()
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        if "Date" in reply.headers:
            self.send_response_only(reply.status)
        else:
            self.send_response(reply.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body) + reply.missing_bytes)}
        for name, value in {**headers, **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if reply.drips:
            for number in range(len(body)):
                self.wfile.write(body[number : number + 1])
                if self.api.over.wait(0.02):
                    break
        else:
            self.wfile.write(body)
        self.close_connection = self.close_connection or bool(reply.missing_bytes) or reply.drips

    def log_message(self, *_: Any) -> None:
        pass


class HttpServer(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that hang up in the middle of a handshake: that is what is tested."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Api]:
    api = Api()
    server = HttpServer(("127.0.0.1", 0), type("ApiHandler", (Handler,), {"api": api, "timeout": 10}))
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    api.url = f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        api.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a certificate for 127.0.0.1 that it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server of the tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(pem))
    return path


@pytest.fixture
def tls_api(certificate: Path) -> Iterator[Api]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(context) as server:
        yield server
