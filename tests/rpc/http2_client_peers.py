"""Clients for the tests of HTTP/2: one that is wired to h2's server, and some that are wired to nothing."""

from typing import TypeVar

import h2.config
import h2.connection
import h2.events
from h2.settings import SettingCodes
from http2_peers import (
    END_HEADERS,
    HEADERS,
    Heard,
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

E = TypeVar("E", bound=h2.events.Event)


class Server:
    """h2's server, and a client that is wired to it."""

    def __init__(self, wanted: dict[SettingCodes, int] | None = None) -> None:
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.http.initiate_connection()
        self.http.update_settings(wanted or {})
        self.client = ClientConnection(lambda: None)
        self.events: list[h2.events.Event] = []
        self.exchange()

    def open(self, kind: type[Heard] = Heard) -> Heard:
        """Begins a request that the server hears of."""
        stream = self.client.open(kind, REQUEST)
        self.exchange()
        return stream

    def exchange(self) -> None:
        """Passes bytes on until neither has any left."""
        while True:
            to_server, to_client = self.client.take(), self.http.data_to_send()
            if not to_server and not to_client:
                return
            self.events += self.http.receive_data(to_server)
            self.client.receive(to_client)

    def heard(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def received(self, stream: Heard) -> bytes:
        return b"".join(each.data for each in self.heard(h2.events.DataReceived) if each.stream_id == stream.number)


def begun(count: int = 1) -> tuple[ClientConnection, list[Heard]]:
    """A client that is not wired to anything, and some requests of its."""
    client = ClientConnection(lambda: None)
    client.receive(settings())
    streams = [client.open(Heard, REQUEST) for _ in range(count)]
    take_all(client)
    return client, streams


def headers(stream: int, block: Headers, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, encode_literally(block))
