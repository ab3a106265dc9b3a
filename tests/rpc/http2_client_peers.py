"""Clients for the tests of HTTP/2: one that is wired to h2's server, and some that are wired to nothing."""

from h2.settings import SettingCodes
from http2_peers import (
    END_HEADERS,
    HEADERS,
    Heard,
    Wired,
    frame,
    settings,
    take_all,
)

from pyraft_lite.rpc.http2.client import ClientConnection
from pyraft_lite.rpc.http2.headers import Headers, encode_literally

REQUEST: Headers = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/Echo/Stream"),
    (b":authority", b"bob:1"),
)
ANSWER: Headers = ((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILERS: Headers = ((b"grpc-status", b"0"),)


class Server(Wired):
    """h2's server, and a client that is wired to it."""

    def __init__(self, wanted: dict[SettingCodes, int] | None = None) -> None:
        self.client = ClientConnection(lambda: None)
        super().__init__(self.client, client_side=False, wanted=wanted)

    def open(self, kind: type[Heard] = Heard) -> Heard:
        """Begins a request that the server hears of."""
        stream = self.client.open(kind, REQUEST)
        self.exchange()
        return stream


def begun(count: int = 1) -> tuple[ClientConnection, list[Heard]]:
    """A client that is not wired to anything, and some requests of its."""
    client = ClientConnection(lambda: None)
    client.receive(settings())
    streams = [client.open(Heard, REQUEST) for _ in range(count)]
    take_all(client)
    return client, streams


def headers(stream: int, block: Headers, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, encode_literally(block))
