"""An OpenAI-compatible endpoint over real HTTP with scripted replies, for tests."""

import json
import math
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

__all__ = ["Behaviour", "Endpoint", "Reply", "chat", "first_token"]


class Reply(NamedTuple):
    """A reply: an object as JSON, or bytes unchanged; delayed by ``after``.

    Status 0: no reply, the connection is closed.
    """

    body: dict[str, Any] | bytes = b""
    status: int = 200
    headers: Mapping[str, str] = {}
    after: threading.Event | None = None


# request's JSON -> reply
Behaviour = Callable[[dict[str, Any]], Reply]


def chat(content: str | None, **choice: object) -> Reply:
    """Return a completion with that text."""
    message = {"role": "assistant", "content": content}
    return Reply(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message, **choice}],
        }
    )


def first_token(**probabilities: float) -> Reply:
    """Return a completion of one token, its candidates in order of probability."""
    order = sorted(probabilities, key=lambda token: -probabilities[token])
    entries = [
        {"token": token, "logprob": math.log(probabilities[token]), "bytes": None}
        for token in order
    ]
    content = [{**entries[0], "top_logprobs": entries}] if entries else []
    return chat(order[0] if order else "", logprobs={"content": content})


class Endpoint:
    """Serves until the end of the ``with`` block.

    Args:
        behave: answers every request.

    Attributes:
        requests: the bodies received, in order.
        keys: their Authorization headers.
        most_at_once: maximum number of concurrent requests.
    """

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                endpoint.answer(self, body)

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        """Send the scripted reply; the caller may have closed the connection."""
        with self._lock:
            self.requests.append(body)
            self.keys.append(handler.headers["authorization"])
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        reply = self.behave(body)
        if reply.after is not None:
            reply.after.wait(30)
        with self._lock:
            self._at_once -= 1
        if not reply.status:
            handler.close_connection = True
            return
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        try:
            handler.send_response(reply.status)
            for name, value in {"content-type": "application/json", **reply.headers}.items():
                handler.send_header(name, value)
            handler.send_header("content-length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)
        except OSError:
            return

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
