"""The proxy does to a connection what a network would."""

import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from testing.chaos.proxy import Proxy


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self) -> None:
        """One connection."""
        while data := self.request.recv(1024):
            self.request.sendall(data)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy = Proxy.start()
        proxy.target = server.server_address[1]
        yield proxy
        proxy.close()
        server.shutdown()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("localhost", proxy.port), timeout=5)


def is_gone(client: socket.socket) -> bool:
    try:
        return client.recv(10) == b""
    except ConnectionError:
        return True


def test_bytes_go_both_ways(proxy: Proxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"


def test_a_cut_resets_connections_and_refuses_new_ones_until_resumed(proxy: Proxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"
        proxy.cut()
        assert is_gone(client)
    with pytest.raises(ConnectionError):
        connect(proxy)
    port = proxy.port
    proxy.resume()
    assert proxy.port == port
    with connect(proxy) as client:
        client.sendall(b"again")
        assert client.recv(10) == b"again"


def test_a_stalled_connection_says_nothing_and_then_everything(proxy: Proxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"a")
        assert client.recv(10) == b"a"
        proxy.stall()
        client.sendall(b"b")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(10)
        client.settimeout(5)
        proxy.resume()
        assert client.recv(10) == b"b"
