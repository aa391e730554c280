"""A schema registry over real HTTP, for tests: answers as Confluent's does, or badly as told.

Sources: the REST interface of Confluent's registry (paths, fields and error codes). No registry
could be run here, so nothing else has been compared with one.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

__all__ = ["Answer", "RegistryServer", "not_found", "schema"]


class Answer(NamedTuple):
    """An answer: an object as JSON, or parts of a body as they are.

    Status 0: none, the connection is closed.

    Attributes:
        after: the answer waits for this.
        between_s: wait between two parts.
    """

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = {}
    after: threading.Event | None = None
    between_s: float = 0.0


def schema(
    text: str, kind: str = "AVRO", references: Iterable[Mapping[str, object]] = ()
) -> Answer:
    """Return the answer for a schema."""
    found: dict[str, object] = {"schema": text}
    if kind != "AVRO":
        found["schemaType"] = kind
    if listed := list(references):
        found["references"] = listed
    return Answer(found)


def not_found(code: int = 40403) -> Answer:
    """Return the answer for an id that the registry does not know."""
    return Answer({"error_code": code, "message": "Schema not found"}, 404)


class RegistryServer:
    """Serves until the end of the ``with`` block.

    Args:
        answers: by path with query; others are not found.

    Attributes:
        behave: answers instead, where it returns an answer.
        requests: paths with query, in order.
        bodies: those of the requests that have one.
        credentials: the Authorization headers.
    """

    def __init__(self, answers: Mapping[str, Answer] | None = None) -> None:
        self.answers = dict(answers or {})
        self.behave: Callable[[str], Answer | None] = lambda _: None
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.credentials: list[str | None] = []
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.requests.append(self.path)
                server.credentials.append(self.headers["authorization"])
                self.close_connection = True
                answer = server.behave(self.path) or server.answers.get(self.path) or not_found()
                server.send(self, answer)

            def do_POST(self) -> None:
                server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        """Send an answer; the caller may have closed the connection."""
        if answer.after is not None:
            answer.after.wait(30)
        if not answer.status:
            return
        given = answer.body
        if isinstance(given, dict):
            given = json.dumps(given).encode()
        parts = [given] if isinstance(given, bytes) else given
        try:
            handler.send_response(answer.status)
            headers = {"content-type": "application/vnd.schemaregistry.v1+json"}
            for name, value in {**headers, **answer.headers, "connection": "close"}.items():
                handler.send_header(name, value)
            handler.end_headers()
            for part in parts:
                handler.wfile.write(part)
                handler.wfile.flush()
                if answer.between_s and self.closing.wait(answer.between_s):
                    return
        except OSError:
            return

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
