"""The server's end of HTTP/2, against the HTTP/2 of h2, and against what no client should send."""

import collections
from typing import TypeVar

import h2.config
import h2.connection
import h2.events
import hpack
import pytest
from h2.settings import SettingCodes
from http2_peers import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    DataCame,
    Frame,
    HeadersCame,
    Heard,
    Lost,
    Reader,
    RoomMade,
    frame,
    frames_in,
    goodbye,
    number,
    settings,
    take_all,
)
from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.connection import (
    CONNECTION_WINDOW,
    LARGEST_FRAME,
    MAX_OUT,
    MAX_STREAMS,
    STREAM_WINDOW,
    Connection,
)
from pyraft_lite.rpc.http2.frames import MAX_FRAME, MAX_WINDOW, PREFACE, WINDOW, ProtocolError
from pyraft_lite.rpc.http2.headers import MAX_HEADERS, Headers, encode_literally
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

Event = TypeVar("Event", bound=h2.events.Event)


class Client:
    """h2's client, and a server that is wired to it."""

    def __init__(self, wanted: dict[SettingCodes, int] | None = None, kind: type[Heard] = Heard) -> None:
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.http.initiate_connection()
        self.http.update_settings(wanted or {})
        self.server = ServerConnection(lambda: None, kind)
        self.events: list[h2.events.Event] = []
        self.exchange()

    def open(self, headers: Headers = REQUEST, *, ended: bool = False) -> Heard:
        """Begins a request, of which the server has heard."""
        stream = self.http.get_next_available_stream_id()
        self.http.send_headers(stream, headers, end_stream=ended)
        self.exchange()
        heard = self.server.streams[stream]
        assert isinstance(heard, Heard)
        return heard

    def exchange(self) -> None:
        """Passes bytes on until neither has any left."""
        while True:
            to_client, to_server = self.server.take(), self.http.data_to_send()
            if not to_server and not to_client:
                return
            self.events += self.http.receive_data(to_client)
            self.server.receive(to_server)

    def heard(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def received(self, stream: Heard) -> bytes:
        return b"".join(each.data for each in self.heard(h2.events.DataReceived) if each.stream_id == stream.number)


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


# -- requests and answers ---------------------------------------------------------------------------------------------


def test_a_request_arrives_as_it_is() -> None:
    client = Client()
    stream = client.open()
    client.http.send_data(stream.number, b"one")
    client.http.send_data(stream.number, b"", pad_length=9)
    client.http.send_data(stream.number, b"two", pad_length=0, end_stream=True)
    client.exchange()
    assert stream.events == [
        HeadersCame(REQUEST, False),
        DataCame(b"one", False),
        DataCame(b"", False),
        DataCame(b"two", True),
    ]


def test_a_request_may_be_headers_alone() -> None:
    stream = Client().open(ended=True)
    assert stream.events == [HeadersCame(REQUEST, True)]
    assert stream.received_all


def test_trailers_are_but_an_end() -> None:
    client = Client()
    stream = client.open()
    client.http.send_headers(stream.number, [(b"some", b"trailer")], end_stream=True)
    client.exchange()
    assert stream.events == [HeadersCame(REQUEST, False), DataCame(b"", True)]
    assert stream.received_all


def test_an_answer_arrives_in_order_and_ends_the_stream() -> None:
    client = Client()
    stream = client.open(ended=True)
    stream.send_headers(OK)
    stream.send_data(b"hello")
    assert client.server.streams == {stream.number: stream}
    stream.send_trailers(TRAILERS)
    assert not client.server.streams
    assert stream.sent_all
    client.exchange()
    kinds = (h2.events.ResponseReceived, h2.events.DataReceived, h2.events.TrailersReceived, h2.events.StreamEnded)
    answer = [event for event in client.events if isinstance(event, kinds)]
    assert [type(event) for event in answer] == list(kinds)
    assert client.heard(h2.events.ResponseReceived)[0].headers == [(b":status", b"200")]
    assert client.received(stream) == b"hello"
    assert client.heard(h2.events.TrailersReceived)[0].headers == [(b"grpc-status", b"0")]
    assert not client.heard(h2.events.StreamReset)


def test_an_answer_may_be_headers_alone_or_end_with_data() -> None:
    client = Client()
    one, two = client.open(ended=True), client.open(ended=True)
    one.send_headers(OK, ended=True)
    two.send_headers(OK)
    two.send_data(b"hello", ended=True)
    client.exchange()
    assert [event.stream_id for event in client.heard(h2.events.StreamEnded)] == [one.number, two.number]
    assert not client.server.streams


def test_an_answer_before_the_end_of_the_request_says_that_the_rest_is_not_wanted() -> None:
    server = Server()
    server.hears(request(1))
    stream = server.streams[1]
    stream.send_headers(OK)
    stream.send_trailers(TRAILERS)
    assert server.hears()[1:] == [
        Frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS),
        Frame(RST_STREAM, 0, 1, number(frames.NO_ERROR)),
    ]
    late = (frame(DATA, 0, 1, b"late"), frame(DATA, END_STREAM, 1), frame(WINDOW_UPDATE, 0, 1, number(1)))
    assert server.hears(*late) == []
    assert stream.events == [HeadersCame(REQUEST, False)]


def test_requests_at_once_do_not_mix() -> None:
    client = Client()
    streams = [client.open() for _ in range(3)]
    for stream in reversed(streams):
        stream.send_headers(OK)
        stream.send_data(b"to %d" % stream.number)
        client.http.send_data(stream.number, b"from %d" % stream.number, end_stream=True)
    client.exchange()
    for stream in streams:
        stream.send_trailers(TRAILERS)
        assert stream.received == b"from %d" % stream.number
        assert client.received(stream) == b"to %d" % stream.number
    client.exchange()
    assert not client.server.streams


def test_pings_are_answered_and_answers_are_not() -> None:
    server = Server()
    assert server.hears(frame(PING, 0, 0, b"ping-one")) == [Frame(PING, ACK, 0, b"ping-one")]
    assert server.hears(frame(PING, ACK, 0, b"ping-one")) == []


def test_settings_are_acknowledged_and_acknowledgements_are_not() -> None:
    server = Server()
    assert server.hears(settings((0xFAFA, 1), (frames.ENABLE_PUSH, 1))) == [Frame(SETTINGS, ACK, 0, b"")]
    assert server.hears(frame(SETTINGS, ACK, 0)) == []


def test_a_server_says_first_what_it_takes() -> None:
    client = Client()
    limits = client.http.remote_settings
    assert limits.max_concurrent_streams == MAX_STREAMS
    assert limits.initial_window_size == STREAM_WINDOW
    assert limits.max_header_list_size == MAX_HEADERS
    stream = client.open()
    assert client.http.local_flow_control_window(stream.number) == STREAM_WINDOW
    assert client.http.outbound_flow_control_window == CONNECTION_WINDOW


def test_long_headers_come_and_go_in_pieces() -> None:
    client = Client({SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADERS})
    long = (*REQUEST, (b"some", b"x" * 60_000))
    stream = client.open(long)
    assert stream.events == [HeadersCame(long, False)]
    for size in (MAX_FRAME, MAX_FRAME + 1, 2 * MAX_FRAME, 2 * MAX_FRAME + 1):
        stream = client.open(ended=True)
        value = b"x" * (2 * size - len(encode_literally(((b":status", b"200"), (b"some", b"x" * size)))))
        block = encode_literally(((b":status", b"200"), (b"some", value)))
        assert len(block) == size
        stream.send_headers(block, ended=True)
        client.exchange()
        assert client.heard(h2.events.ResponseReceived)[-1].headers == [(b":status", b"200"), (b"some", value)]
        assert client.heard(h2.events.StreamEnded)[-1].stream_id == stream.number


# -- how a connection begins ------------------------------------------------------------------------------------------


def test_a_client_has_begun_once_it_has_sent_settings() -> None:
    server = ServerConnection(lambda: None, Heard)
    for piece in (PREFACE[:7], PREFACE[7:], settings()[:5]):
        server.receive(piece)
        assert not server.has_begun
    server.receive(settings()[5:])
    assert server.has_begun


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n", b"X", PREFACE[:-1] + b"X", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", settings()]
)
def test_whoever_does_not_say_the_preface_is_refused(sent: bytes) -> None:
    for pieces in ([sent], [sent[at : at + 1] for at in range(len(sent))]):
        server = ServerConnection(lambda: None, Heard)
        with pytest.raises(ProtocolError, match="does not speak HTTP/2"):
            collections.deque(map(server.receive, pieces))


@pytest.mark.parametrize(
    "sent",
    [
        frame(SETTINGS, ACK, 0),
        frame(PING, 0, 0, bytes(8)),
        frame(DATA, 0, 1, b"x"),
        request(1),
        frame(0xFA, 0, 0),
        frame(WINDOW_UPDATE, 0, 0, number(1)),
    ],
    ids=len,
)
def test_settings_come_first(sent: bytes) -> None:
    server = ServerConnection(lambda: None, Heard)
    with pytest.raises(ProtocolError, match="before any settings"):
        server.receive(PREFACE + sent)


# -- what breaks the rules --------------------------------------------------------------------------------------------

BEGUN = request(1)
ENDED = request(1, END_HEADERS | END_STREAM)
CUT = frame(HEADERS, 0, 1, encode_literally(REQUEST)[:9])

PROTOCOL, FLOW, CLOSED = frames.PROTOCOL_ERROR, frames.FLOW_CONTROL_ERROR, frames.STREAM_CLOSED
SIZE, COMPRESSION, CALM = frames.FRAME_SIZE_ERROR, frames.COMPRESSION_ERROR, frames.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    ("sent", "code", "complaint"),
    [
        # 4.2: sizes
        (BEGUN + frame(DATA, 0, 1, bytes(MAX_FRAME + 1)), SIZE, "a frame of 16385 bytes"),
        (frame(HEADERS, END_HEADERS, 1, bytes(MAX_FRAME + 1)), SIZE, "a frame of 16385 bytes"),
        (frame(0xFA, 0, 0, bytes(MAX_FRAME + 1)), SIZE, "a frame of 16385 bytes"),
        # 4.3, 6.10: headers that go on
        (frame(HEADERS, END_HEADERS, 1, b"\x80"), COMPRESSION, "unreadable"),
        (frame(HEADERS, END_HEADERS, 1, b"\xbe"), COMPRESSION, "unreadable"),
        (frame(HEADERS, END_HEADERS, 1, b"\x3f\xe2\x1f"), COMPRESSION, "unreadable"),
        (frame(HEADERS, END_HEADERS, 1, b"\x83\x20"), COMPRESSION, "unreadable"),
        (frame(HEADERS, END_HEADERS, 1, b"\x00\x81\xff\x00"), COMPRESSION, "unreadable"),
        (frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, END_HEADERS, 1, b"\x80"), COMPRESSION, "unreadable"),
        (CUT + frame(PRIORITY, 0, 1, bytes(5)), PROTOCOL, "type 2 where headers go on"),
        (CUT + frame(DATA, 0, 1, b"x"), PROTOCOL, "type 0 where headers go on"),
        (CUT + frame(PING, 0, 0, bytes(8)), PROTOCOL, "type 6 where headers go on"),
        (CUT + frame(0xFA, 0, 0), PROTOCOL, "type 250 where headers go on"),
        (CUT + request(3), PROTOCOL, "type 1 where headers go on"),
        (CUT + frame(CONTINUATION, END_HEADERS, 3), PROTOCOL, "stream 1 go on in stream 3"),
        (CUT + frame(CONTINUATION, END_HEADERS, 0), PROTOCOL, "stream 1 go on in stream 0"),
        (BEGUN + frame(CONTINUATION, END_HEADERS, 1), PROTOCOL, "type 9 where headers begin"),
        (frame(CONTINUATION, END_HEADERS, 1), PROTOCOL, "type 9 where headers begin"),
        (ENDED + frame(CONTINUATION, END_HEADERS, 1), PROTOCOL, "type 9 where headers begin"),
        # 5.1: streams that have not begun, or that the client has ended
        (frame(DATA, 0, 1, b"x"), PROTOCOL, "stream 1, which has not begun"),
        (frame(RST_STREAM, 0, 1, number(8)), PROTOCOL, "stream 1, which has not begun"),
        (frame(WINDOW_UPDATE, 0, 1, number(8)), PROTOCOL, "stream 1, which has not begun"),
        (BEGUN + frame(DATA, 0, 3, b"x"), PROTOCOL, "stream 3, which has not begun"),
        (ENDED + frame(DATA, 0, 1, b"x"), CLOSED, "data behind the end of stream 1"),
        (ENDED + frame(DATA, END_STREAM, 1), CLOSED, "data behind the end of stream 1"),
        (BEGUN + frame(DATA, END_STREAM, 1) + frame(DATA, 0, 1), CLOSED, "data behind the end of stream 1"),
        (ENDED + request(1), CLOSED, "headers behind the end of stream 1"),
        (ENDED + ENDED, CLOSED, "headers behind the end of stream 1"),
        (BEGUN + ENDED + ENDED, CLOSED, "headers behind the end of stream 1"),
        # 5.1.1: numbers
        (request(2), PROTOCOL, "a request on stream 2"),
        (request(5) + request(2), PROTOCOL, "a request on stream 2"),
        (request(5) + frame(DATA, 0, 2, b"x"), PROTOCOL, "stream 2, which has not begun"),
        (request(5) + frame(RST_STREAM, 0, 4, number(8)), PROTOCOL, "stream 4, which has not begun"),
        # 6.1: DATA
        (frame(DATA, 0, 0, b"x"), PROTOCOL, "stream 0"),
        (BEGUN + frame(DATA, PADDED, 1), PROTOCOL, "more padding"),
        (BEGUN + frame(DATA, PADDED, 1, b"\x01"), PROTOCOL, "more padding"),
        (BEGUN + frame(DATA, PADDED, 1, b"\x05abcd"), PROTOCOL, "more padding"),
        # 6.2: HEADERS
        (request(0), PROTOCOL, "headers for no stream"),
        (frame(HEADERS, END_HEADERS | PADDED, 1), PROTOCOL, "more padding"),
        (frame(HEADERS, END_HEADERS | PADDED, 1, b"\x05abcd"), PROTOCOL, "more padding"),
        (frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"abcd"), SIZE, "headers of 4 bytes"),
        (BEGUN + request(1), PROTOCOL, "headers in the middle of stream 1"),
        # 6.3: PRIORITY
        (frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL, "a priority of no stream"),
        (frame(PRIORITY, 0, 1, bytes(4)), SIZE, "a priority of 4 bytes"),
        (frame(PRIORITY, 0, 1, bytes(6)), SIZE, "a priority of 6 bytes"),
        # 6.4: RST_STREAM
        (frame(RST_STREAM, 0, 0, number(8)), PROTOCOL, "stream 0"),
        (BEGUN + frame(RST_STREAM, 0, 1, b"abc"), SIZE, "a reset of 3 bytes"),
        (BEGUN + frame(RST_STREAM, 0, 1, b"abcde"), SIZE, "a reset of 5 bytes"),
        # 6.5: SETTINGS
        (frame(SETTINGS, 0, 1), PROTOCOL, "settings for a stream"),
        (frame(SETTINGS, ACK, 0, bytes(6)), SIZE, "settings of 6 bytes"),
        (frame(SETTINGS, 0, 0, bytes(5)), SIZE, "settings of 5 bytes"),
        (settings((frames.ENABLE_PUSH, 2)), PROTOCOL, "pushes enabled by 2"),
        (settings((frames.INITIAL_WINDOW_SIZE, MAX_WINDOW + 1)), FLOW, "a window of 2147483648"),
        (settings((frames.MAX_FRAME_SIZE, MAX_FRAME - 1)), PROTOCOL, "frames of up to 16383 bytes"),
        (settings((frames.MAX_FRAME_SIZE, 2**24)), PROTOCOL, "frames of up to 16777216 bytes"),
        # 6.6: PUSH_PROMISE
        (BEGUN + frame(PUSH_PROMISE, END_HEADERS, 1, number(2) + OK), PROTOCOL, "a push"),
        # 6.7: PING
        (frame(PING, 0, 1, bytes(8)), PROTOCOL, "a ping on a stream"),
        (frame(PING, 0, 0, bytes(7)), SIZE, "a ping of 7 bytes"),
        (frame(PING, ACK, 0, bytes(9)), SIZE, "a ping of 9 bytes"),
        # 6.8: GOAWAY
        (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL, "a goodbye to a stream"),
        (frame(GOAWAY, 0, 0, bytes(7)), SIZE, "a goodbye of 7 bytes"),
        # 6.9: WINDOW_UPDATE
        (frame(WINDOW_UPDATE, 0, 0, number(0)), PROTOCOL, "opens by nothing"),
        (frame(WINDOW_UPDATE, 0, 0, number(1 << 31)), PROTOCOL, "opens by nothing"),
        (BEGUN + frame(WINDOW_UPDATE, 0, 1, number(0)), PROTOCOL, "opens by nothing"),
        (frame(WINDOW_UPDATE, 0, 0, b"abc"), SIZE, "a window update of 3 bytes"),
        (frame(WINDOW_UPDATE, 0, 0, number(MAX_WINDOW - WINDOW + 1)), FLOW, "opens by"),
        (BEGUN + frame(WINDOW_UPDATE, 0, 1, number(MAX_WINDOW - WINDOW + 1)), FLOW, "opens by"),
        (BEGUN + frame(WINDOW_UPDATE, 0, 1, number(1)) + settings((4, MAX_WINDOW)), FLOW, "a window that opens to"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_breaks_the_rules_is_refused_with_its_code(sent: bytes, code: int, complaint: str) -> None:
    server = Server()
    said, reason = server.refuses(sent)
    assert said == code
    assert complaint in reason
    for stream in server.streams.values():
        assert stream.events[-1] == Lost(None)
        assert complaint in stream.reason


@pytest.mark.parametrize(
    "sent",
    [
        frame(PRIORITY, 0, 3, number(3) + b"\0") + BEGUN,  # 5.3: on an idle stream, and of itself
        frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, number(1) + b"\xff" + encode_literally(REQUEST)),
        frame(HEADERS, END_HEADERS | PADDED, 1, b"\x03" + encode_literally(REQUEST) + bytes(3)),
        frame(
            HEADERS,
            END_HEADERS | PADDED | WITH_PRIORITY,
            1,
            b"\x02" + number(0) + b"\x10" + encode_literally(REQUEST) + bytes(2),
        ),
        frame(HEADERS, END_HEADERS | 0xD2, 1, encode_literally(REQUEST)),  # 4.1: flags that mean nothing
        request(1 | 1 << 31),  # 4.1: a reserved bit
        frame(0xFA, 0xFF, 0, bytes(MAX_FRAME)) + BEGUN + frame(0xFA, 0xFF, 1),  # 5.5: unknown frames
        settings((0xFAFA, 0), (frames.MAX_HEADER_LIST_SIZE, 0), (1, 0)) + BEGUN,  # 6.5: unknown and useless settings
        settings((frames.MAX_FRAME_SIZE, MAX_FRAME), (frames.MAX_FRAME_SIZE, 2**24 - 1)) + BEGUN,
        settings((frames.INITIAL_WINDOW_SIZE, MAX_WINDOW)) + BEGUN,
        frame(WINDOW_UPDATE, 0, 0, number(MAX_WINDOW - WINDOW)) + BEGUN,
        BEGUN + frame(WINDOW_UPDATE, 0, 1, number(MAX_WINDOW - WINDOW)),
        frame(GOAWAY, 0, 0, number(0, 0xFFFF) + b"reason") + BEGUN,
        frame(HEADERS, 0, 1) + frame(CONTINUATION, END_HEADERS, 1, encode_literally(REQUEST)),
        frame(HEADERS, 0, 1, encode_literally(REQUEST)) + frame(CONTINUATION, END_HEADERS, 1),
        b"".join(
            (
                frame(HEADERS, 0, 1, encode_literally(REQUEST)[:1]),
                *(frame(CONTINUATION, 0, 1, encode_literally(REQUEST)[at : at + 1]) for at in range(1, 20)),
                frame(CONTINUATION, END_HEADERS, 1, encode_literally(REQUEST)[20:]),
            )
        ),
    ],
    ids=len,
)
def test_what_keeps_to_the_rules_is_taken(sent: bytes) -> None:
    server = Server()
    assert all(each == (SETTINGS, ACK, 0, b"") for each in server.hears(sent))
    assert server.streams[1].events == [HeadersCame(REQUEST, False)]
    assert server.http.streams == server.streams


@pytest.mark.parametrize("reset_by", ["client", "server"])
def test_frames_on_streams_that_were_reset_mean_nothing(reset_by: str) -> None:
    server = Server()
    server.hears(BEGUN)
    stream = server.streams[1]
    if reset_by == "client":
        server.hears(frame(RST_STREAM, 0, 1, number(0xFFFF)))
    else:
        stream.reset(frames.PROTOCOL_ERROR)
        assert server.hears() == [Frame(RST_STREAM, 0, 1, number(frames.PROTOCOL_ERROR))]
    late = (frame(DATA, 0, 1, b"x"), request(1, END_HEADERS | END_STREAM), frame(WINDOW_UPDATE, 0, 1, number(1)))
    assert server.hears(*late, frame(RST_STREAM, 0, 1, number(8)), frame(PRIORITY, 0, 1, bytes(5))) == []
    assert stream.events[1:] == ([Lost(0xFFFF)] if reset_by == "client" else [])
    assert not server.http.streams
    stream.send_headers(OK)
    stream.send_data(b"in vain", ended=True)
    stream.send_trailers(TRAILERS)
    stream.reset(frames.CANCEL)
    assert not server.hears()


def test_headers_of_streams_that_have_ended_go_into_the_table_all_the_same() -> None:
    server = Server()
    encoder = hpack.Encoder()
    server.hears(request(1), frame(RST_STREAM, 0, 1, number(8)))
    server.hears(frame(HEADERS, END_HEADERS | END_STREAM, 1, encoder.encode([(b"some", b"trailer")])))
    server.hears(frame(HEADERS, END_HEADERS, 3, encoder.encode([*REQUEST, (b"some", b"trailer")])))
    assert server.streams[3].events == [HeadersCame((*REQUEST, (b"some", b"trailer")), False)]


# -- flow control -----------------------------------------------------------------------------------------------------


def test_no_more_is_sent_than_the_client_has_room_for() -> None:
    client = Client()
    stream = client.open(ended=True)
    stream.send_headers(OK)
    data = bytes(range(256)) * 1024
    stream.send_data(data)
    stream.send_trailers(TRAILERS)
    client.exchange()
    assert client.received(stream) == data[:WINDOW]
    assert stream.unsent == len(data) - WINDOW
    client.http.increment_flow_control_window(2**20)
    client.exchange()
    assert client.received(stream) == data[:WINDOW]
    client.http.increment_flow_control_window(2**20, stream.number)
    client.exchange()
    assert client.received(stream) == data
    assert client.heard(h2.events.TrailersReceived)
    assert not client.server.streams


def test_a_stream_tells_when_all_that_waited_has_gone() -> None:
    server = Server()
    server.hears(BEGUN)
    stream = server.streams[1]
    stream.send_data(bytes(WINDOW))
    stream.events.clear()
    stream.send_data(b"wait")
    server.hears(frame(WINDOW_UPDATE, 0, 0, number(10)))
    assert server.hears(frame(WINDOW_UPDATE, 0, 1, number(3))) == [Frame(DATA, 0, 1, b"wai")]
    assert stream.events == []
    assert server.hears(frame(WINDOW_UPDATE, 0, 1, number(1))) == [Frame(DATA, 0, 1, b"t")]
    assert stream.events == [RoomMade()]


def test_windows_follow_the_clients_settings_even_below_nothing() -> None:
    server = Server()
    server.hears(settings((frames.INITIAL_WINDOW_SIZE, 3)), BEGUN)
    stream = server.streams[1]
    stream.send_data(b"abcdefghij")
    assert server.hears() == [Frame(DATA, 0, 1, b"abc")]
    server.hears(settings((frames.INITIAL_WINDOW_SIZE, 1)))
    assert server.hears(frame(WINDOW_UPDATE, 0, 1, number(2))) == []
    assert server.hears(frame(WINDOW_UPDATE, 0, 1, number(1))) == [Frame(DATA, 0, 1, b"d")]
    assert server.hears(settings((frames.INITIAL_WINDOW_SIZE, 0), (frames.INITIAL_WINDOW_SIZE, 2)))[-1] == (
        DATA,
        0,
        1,
        b"e",
    )


def test_frames_are_no_longer_than_the_client_takes() -> None:
    for wanted, longest in ((MAX_FRAME, MAX_FRAME), (20_000, 20_000), (2**24 - 1, LARGEST_FRAME)):
        server = Server()
        room = settings((frames.MAX_FRAME_SIZE, wanted), (frames.INITIAL_WINDOW_SIZE, MAX_WINDOW))
        server.hears(room, frame(WINDOW_UPDATE, 0, 0, number(2**20)), BEGUN)
        server.streams[1].send_data(bytes(LARGEST_FRAME + 10))
        sizes = [len(each.payload) for each in server.hears()]
        assert max(sizes) == longest
        assert sum(sizes) == LARGEST_FRAME + 10


def test_the_client_may_send_any_amount_that_is_used() -> None:
    client = Client(kind=Reader)
    stream = client.open()
    size = 2 * CONNECTION_WINDOW
    for _ in range(0, size, MAX_FRAME):
        client.http.send_data(stream.number, bytes(MAX_FRAME))
        client.exchange()
    assert sum(len(event.data) for event in stream.events if isinstance(event, DataCame)) == size


def filled(stream: int, size: int, *, ended: bool = False) -> bytes:
    """So many bytes of data for a stream."""
    data = b"".join(frame(DATA, 0, stream, bytes(min(MAX_FRAME, size - at))) for at in range(0, size, MAX_FRAME))
    return data + frame(DATA, END_STREAM, stream) if ended else data


def test_data_that_is_not_used_has_to_end() -> None:
    server = Server()
    assert server.hears(BEGUN, filled(1, STREAM_WINDOW)) == []
    assert server.refuses(frame(DATA, 0, 1, b"x")) == (FLOW, "more data than stream 1 has room for")


def test_streams_that_are_not_used_leave_room_for_others_but_not_for_any() -> None:
    server = Server()
    most = CONNECTION_WINDOW // STREAM_WINDOW
    for each in range(most):
        assert server.hears(request(2 * each + 1), filled(2 * each + 1, STREAM_WINDOW)) == []
    assert server.refuses(request(99), frame(DATA, 0, 99, b"x")) == (FLOW, "more data than there is room for")


@pytest.mark.parametrize("end", ["answered", "reset by the client", "reset by us", "unknown"])
def test_data_that_nobody_uses_makes_room_once_its_stream_has_ended(end: str) -> None:
    server = Server()
    credit = 0
    count = 3 * CONNECTION_WINDOW // 2 // STREAM_WINDOW
    for stream in range(1, 2 * count, 2):
        answers = server.hears(request(stream))
        if end == "unknown":
            server.streams[stream].reset(frames.CANCEL)
        answers += server.hears(filled(stream, STREAM_WINDOW, ended=end == "answered"))
        if end == "answered":
            server.streams[stream].send_trailers(TRAILERS)
        elif end == "reset by us":
            server.streams[stream].reset(frames.CANCEL)
        elif end == "reset by the client":
            answers += server.hears(frame(RST_STREAM, 0, stream, number(frames.CANCEL)))
        server.streams[stream].use(STREAM_WINDOW)  # No more than there was.
        answers += server.hears(frame(PING, 0, 0, bytes(8)))
        updates = [each for each in answers if each.kind == WINDOW_UPDATE]
        assert {each.stream for each in updates} <= {0}
        credit += sum(int.from_bytes(each.payload, "big") for each in updates)
    assert CONNECTION_WINDOW // 2 < credit <= count * STREAM_WINDOW


# -- going away -------------------------------------------------------------------------------------------------------


def test_a_server_that_goes_away_ends_what_has_begun_and_takes_no_more() -> None:
    server = Server()
    server.hears(request(1), request(3))
    server.http.go_away()
    server.http.go_away()
    assert server.hears() == [Frame(GOAWAY, 0, 0, number(3, frames.NO_ERROR))]
    assert server.http.going_away == 3
    assert server.hears(request(5), frame(DATA, END_STREAM, 5, b"late"), frame(WINDOW_UPDATE, 0, 5, number(1))) == []
    assert set(server.streams) == {1, 3}
    server.hears(frame(DATA, END_STREAM, 1, b"goes on"))
    assert server.streams[1].received == b"goes on"
    server.streams[1].send_headers(OK, ended=True)
    assert server.hears() == [Frame(HEADERS, END_HEADERS | END_STREAM, 1, OK)]
    with pytest.raises(ProtocolError) as error:
        server.hears(request(2))
    server.http.fail(error.value)
    assert goodbye(take_all(server.http))[:2] == (3, frames.PROTOCOL_ERROR)


def test_late_requests_still_go_into_the_table_and_take_no_room() -> None:
    server = Server()
    server.http.go_away()
    encoder = hpack.Encoder()
    blocks = [encoder.encode([*REQUEST, (b"some", b"%d" % each)]) for each in range(40)]
    answers = []
    for each, block in enumerate(blocks):
        answers += server.hears(frame(HEADERS, END_HEADERS, 2 * each + 1, block), filled(2 * each + 1, STREAM_WINDOW))
    credit = sum(int.from_bytes(each.payload, "big") for each in answers if each.kind == WINDOW_UPDATE)
    assert credit > CONNECTION_WINDOW
    assert not server.streams


def test_a_server_that_goes_away_tells_when_the_last_stream_has_ended() -> None:
    told: list[bool] = []
    server = Server()
    server.http.on_idle = lambda: told.append(True)
    server.hears(ENDED)
    server.streams[1].send_headers(OK, ended=True)
    server.hears(request(3, END_HEADERS | END_STREAM), request(5))
    server.http.go_away()
    server.streams[3].send_headers(OK, ended=True)
    assert not told
    server.hears(frame(RST_STREAM, 0, 5, number(8)))
    assert told == [True]


def test_a_client_that_goes_away_has_its_answers() -> None:
    server = Server()
    server.hears(ENDED, frame(GOAWAY, 0, 0, number(0, 0)))
    server.streams[1].send_headers(OK, ended=True)
    assert server.hears() == [Frame(HEADERS, END_HEADERS | END_STREAM, 1, OK)]


def test_what_is_said_of_an_error_names_the_last_request() -> None:
    server = Server()
    with pytest.raises(ProtocolError) as error:
        server.hears(request(1), request(7), request(4))
    server.http.fail(error.value)
    assert goodbye(take_all(server.http))[:2] == (7, frames.PROTOCOL_ERROR)


def test_all_streams_are_lost_with_the_connection() -> None:
    server = Server()
    server.hears(request(1), request(3))
    server.streams[1].send_data(bytes(2 * WINDOW))
    server.hears()
    server.http.lose("the cable is cut")
    for stream in server.streams.values():
        assert (stream.events[1:], stream.reason) == ([Lost(None)], "the cable is cut")
        stream.send_data(b"in vain")
        stream.use(1)
    assert not server.hears()


# -- abuse ------------------------------------------------------------------------------------------------------------


def test_more_streams_than_allowed_are_refused_until_some_have_ended() -> None:
    server = Server()
    assert server.hears(*(request(2 * each + 1) for each in range(MAX_STREAMS))) == []
    late = 2 * MAX_STREAMS + 1
    assert server.hears(request(late)) == [Frame(RST_STREAM, 0, late, number(frames.REFUSED_STREAM))]
    assert server.hears(frame(DATA, 0, late, b"x"), frame(RST_STREAM, 0, late, number(8))) == []
    assert late not in server.streams
    assert len(server.http.streams) == MAX_STREAMS
    server.streams[1].reset(frames.CANCEL)
    server.hears(request(late + 2))
    assert server.streams[late + 2].events == [HeadersCame(REQUEST, False)]
    assert len(server.http.streams) == MAX_STREAMS


@pytest.mark.parametrize(("size", "count"), [(0, 100), (1, 100), (MAX_FRAME, MAX_HEADERS // MAX_FRAME)])
def test_headers_that_never_end_are_refused(size: int, count: int) -> None:
    server, piece = Server(), bytes(size)
    sent = [frame(HEADERS, 0, 1, piece), *[frame(CONTINUATION, 0, 1, piece)] * count]
    assert server.refuses(*sent) == (CALM, "headers that do not end")


def test_headers_that_are_small_but_name_large_ones_are_refused() -> None:
    server = Server()
    server.hears(frame(HEADERS, END_HEADERS, 1, b"\x40\x01a" + b"\x7f\x80\x1e" + bytes(127 + 30 * 128)))
    (came,) = server.streams[1].events
    assert isinstance(came, HeadersCame)
    assert len(came.headers[0][1]) == 127 + 30 * 128
    server.hears(frame(HEADERS, END_HEADERS, 3, b"\xbe" * 16))
    assert server.refuses(frame(HEADERS, END_HEADERS, 5, b"\xbe" * 17))[0] == CALM
    assert 5 not in server.streams


@pytest.mark.parametrize(
    "block",
    [
        encode_literally(((b"name", bytes(MAX_HEADERS - 32 - 3)),)),
        b"\x40\x01a\x00" * 2000,
        b"\0\0\0" * 2100,
        b"\x82" * 2100,
    ],
    ids=len,
)
def test_headers_that_are_too_large_are_refused(block: bytes) -> None:
    pieces = [block[at : at + MAX_FRAME] for at in range(0, len(block), MAX_FRAME)]
    sent = [frame(HEADERS, 0 if pieces[1:] else END_HEADERS, 1, pieces[0])]
    sent += [frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:-1]]
    if pieces[1:]:
        sent.append(frame(CONTINUATION, END_HEADERS, 1, pieces[-1]))
    assert Server().refuses(*sent)[0] == CALM


def test_what_is_said_of_unreadable_headers_fits_into_a_frame() -> None:
    server = Server()
    block = b"\0\xff" + b"\xff" * (MAX_FRAME - 2)
    code, reason = server.refuses(frame(HEADERS, END_HEADERS, 1, block))
    assert code == COMPRESSION
    assert len(reason) < 200


@pytest.mark.parametrize("question", [frame(PING, 0, 0, bytes(8)) * 100, settings() * 100], ids=["pings", "settings"])
def test_a_client_that_asks_and_asks_and_reads_nothing_is_refused(question: bytes) -> None:
    server = Server()
    much = [question] * (MAX_OUT // len(question))
    for each in much * 3:  # As long as it reads, it may go on.
        server.hears(each)
    server.http.pause()
    for each in much:
        server.http.receive(each)
    with pytest.raises(ProtocolError, match="asks and asks") as error:
        collections.deque(map(server.http.receive, much * 2))
    assert error.value.code == CALM


def test_a_client_that_reads_again_is_forgiven() -> None:
    server = Server()
    server.http.pause()
    ping = frame(PING, 0, 0, bytes(8))
    server.http.receive(ping * (MAX_OUT // len(ping)))
    server.http.resume()
    assert len(server.hears()) == MAX_OUT // len(ping)
    server.http.pause()
    server.http.receive(ping * (MAX_OUT // len(ping)))


# -- whatever comes ---------------------------------------------------------------------------------------------------


class Echo(Heard):
    """Sends back what comes, as it comes."""

    def headers_received(self, headers: Headers, ended: bool) -> None:
        super().headers_received(headers, ended)
        self.send_headers(OK)
        if ended:
            self.send_trailers(TRAILERS)

    def data_received(self, data: bytes, ended: bool) -> None:
        super().data_received(data, ended)
        self.use(len(data))
        self.send_data(data)
        if ended:
            self.send_trailers(TRAILERS)


def in_pieces(sent: bytes, cuts: set[int]) -> list[bytes]:
    ends = sorted(cuts)
    return [sent[start:end] for start, end in zip([0, *ends], [*ends, len(sent)], strict=True)]


def outcome(sent: list[bytes], kind: type[Heard]) -> tuple[list[object], bytes | str]:
    """What a server hears and answers, or why it refuses it."""
    streams: list[Heard] = []

    def begin(connection: Connection, number: int) -> Heard:
        streams.append(kind(connection, number))
        return streams[-1]

    server = ServerConnection(lambda: None, begin)
    answer: bytes | str
    try:
        for piece in sent:
            server.receive(piece)
        answer = take_all(server)
        frames_in(answer)
    except ProtocolError as error:
        server.fail(error)
        assert not server.streams
        answer = str(error)
    return [stream.events for stream in streams], answer


@given(st.data())
def test_where_the_network_cuts_means_nothing(data: st.DataObject) -> None:
    encoder = hpack.Encoder()
    block = encoder.encode([*REQUEST, (b"some", b"header")])
    sent = b"".join(
        (
            PREFACE,
            settings((frames.INITIAL_WINDOW_SIZE, 3)),
            frame(HEADERS, END_HEADERS, 1, block),
            frame(DATA, 0, 1, b"hello"),
            frame(HEADERS, 0, 3, encoder.encode(REQUEST)[:2]),
            frame(CONTINUATION, 0, 3),
            frame(CONTINUATION, END_HEADERS, 3, encoder.encode(REQUEST)[2:]),
            frame(WINDOW_UPDATE, 0, 1, number(7)),
            frame(DATA, PADDED | END_STREAM, 3, b"\x02and3\0\0"),
            frame(PING, 0, 0, b"ping-one"),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, encoder.encode([(b"some", b"trailer")])),
            frame(RST_STREAM, 0, 3, number(8)),
            data.draw(st.sampled_from([b"", b"\0\0", frame(DATA, 0, 9), frame(DATA, 0, 3, b"late")])),
        )
    )
    whole = outcome([sent], Echo)
    assert len(whole[0]) == 2
    assert outcome(in_pieces(sent, data.draw(st.sets(st.integers(0, len(sent))))), Echo) == whole


NUMBERS = st.sampled_from([0, 1, 1, 1, 2, 3, 3, 5, 7])
BLOCK = encode_literally(REQUEST)
SOUND = (
    NUMBERS.map(request)
    | st.builds(lambda stream: request(stream, END_HEADERS | END_STREAM), NUMBERS)
    | st.builds(lambda stream, data: frame(DATA, 0, stream, data), NUMBERS, st.binary(max_size=300))
    | st.builds(lambda stream: frame(DATA, END_STREAM, stream), NUMBERS)
    | st.builds(lambda stream, code: frame(RST_STREAM, 0, stream, number(code)), NUMBERS, st.integers(0, 15))
    | st.builds(lambda stream, size: frame(WINDOW_UPDATE, 0, stream, number(size)), NUMBERS, st.integers(1, 99))
    | st.builds(lambda size: settings((frames.INITIAL_WINDOW_SIZE, size)), st.integers(0, 200))
    | st.builds(lambda stream: frame(HEADERS, 0, stream, BLOCK[:5]), NUMBERS)
    | st.builds(lambda stream: frame(CONTINUATION, END_HEADERS, stream, BLOCK[5:]), NUMBERS)
    | st.just(frame(PING, 0, 0, bytes(8)))
)
ANY = st.builds(frame, st.integers(0, 10), st.integers(0, 255), NUMBERS, st.binary(max_size=40))


@given(
    st.sampled_from([b"", PREFACE, PREFACE + settings(), PREFACE + settings() + BEGUN]),
    st.binary(max_size=100) | st.lists(SOUND | ANY, max_size=12).map(b"".join),
    st.sampled_from([Heard, Reader, Echo]),
    st.sets(st.integers(0, 200)),
)
def test_anything_at_all_is_taken_or_refused(start: bytes, noise: bytes, kind: type[Heard], cuts: set[int]) -> None:
    sent = start + noise
    assert outcome(in_pieces(sent, {cut for cut in cuts if cut < len(sent)}), kind) == outcome([sent], kind)


@given(st.lists(SOUND, max_size=30))
def test_frames_in_any_order_are_taken_or_refused(sent: list[bytes]) -> None:
    events, _ = outcome([PREFACE + settings(), *sent], Echo)
    for each in events:
        assert isinstance(each, list)
        assert [isinstance(event, HeadersCame) for event in each] == [True, *[False] * (len(each) - 1)]
        assert not any(isinstance(event, Lost) for event in each[:-1])
