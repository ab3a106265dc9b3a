"""Servers for the tests of HTTP/2: one that is wired to h2's client, and some that are wired to nothing."""

import pytest
from h2.settings import SettingCodes
from http2_peers import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    Frame,
    Heard,
    Wired,
    frame,
    frames_in,
    goodbye,
    settings,
    take_all,
)

from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.frames import MAX_FRAME, PREFACE, ProtocolError
from pyraft_lite.rpc.http2.headers import Headers, encode_literally
from pyraft_lite.rpc.http2.server import ServerConnection

REQUEST: Headers = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/Echo/Stream"),
    (b":authority", b"bob:1"),
    (b"te", b"trailers"),
)
OK = encode_literally(((b":status", b"200"),))
TRAILERS = encode_literally(((b"grpc-status", b"0"),))


class Client(Wired):
    """h2's client, and a server that is wired to it."""

    def __init__(self, wanted: dict[SettingCodes, int] | None = None, kind: type[Heard] = Heard) -> None:
        self.server = ServerConnection(lambda: None, kind)
        super().__init__(self.server, client_side=True, wanted=wanted)

    def open(self, headers: Headers = REQUEST, *, ended: bool = False) -> Heard:
        """Begins a request, of which the server has heard."""
        stream = self.http.get_next_available_stream_id()
        self.http.send_headers(stream, headers, end_stream=ended)
        self.exchange()
        heard = self.server.streams[stream]
        assert isinstance(heard, Heard)
        return heard


class Server:
    """A server that is not wired to anything, and has heard a preface and settings.

    Attributes:
        streams: All that have ever begun, by number.
    """

    def __init__(self, kind: type[Heard] = Heard) -> None:
        self.streams: dict[int, Heard] = {}
        self.http = ServerConnection(lambda: None, self._begin)
        self.http.receive(PREFACE + settings())
        take_all(self.http)
        self._new = kind

    def _begin(self, connection: ServerConnection, number: int) -> Heard:
        stream = self.streams[number] = self._new(connection, number)
        return stream

    def hears(self, *sent: bytes) -> list[Frame]:
        """Takes in what is sent; returns what it answers."""
        for each in sent:
            self.http.receive(each)
        return frames_in(take_all(self.http))

    def refuses(self, *sent: bytes) -> tuple[int, str]:
        """Takes in what breaks the rules; returns what it answers, the code and the reason."""
        with pytest.raises(ProtocolError) as error:
            self.hears(*sent)
        take_all(self.http)
        self.http.fail(error.value)
        _, code, reason = goodbye(take_all(self.http))
        assert (code, reason.decode()) == (error.value.code, str(error.value))
        assert not self.http.streams
        return code, reason.decode()


def request(stream: int, flags: int = END_HEADERS, headers: Headers = REQUEST) -> bytes:
    return frame(HEADERS, flags, stream, encode_literally(headers))


def filled(stream: int, size: int, *, ended: bool = False) -> bytes:
    """So many bytes of data for a stream."""
    data = b"".join(frame(DATA, 0, stream, bytes(min(MAX_FRAME, size - at))) for at in range(0, size, MAX_FRAME))
    return data + frame(DATA, END_STREAM, stream) if ended else data


BEGUN = request(1)
ENDED = request(1, END_HEADERS | END_STREAM)
CUT = frame(HEADERS, 0, 1, encode_literally(REQUEST)[:9])

PROTOCOL, FLOW, CLOSED = frames.PROTOCOL_ERROR, frames.FLOW_CONTROL_ERROR, frames.STREAM_CLOSED
SIZE, COMPRESSION, CALM = frames.FRAME_SIZE_ERROR, frames.COMPRESSION_ERROR, frames.ENHANCE_YOUR_CALM
