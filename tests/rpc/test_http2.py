"""The client's one stream, against the HTTP/2 of h2, and against what no peer should send."""

import struct

import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.rpc.http2 import (
    MAX_HEADERS,
    PREFACE,
    STREAM,
    WINDOW,
    ClientStream,
    Closed,
    DataReceived,
    Event,
    HeadersReceived,
    ProtocolError,
)

REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/Echo/Stream"), (b":authority", b"bob:1")]
ANSWER = [(b":status", b"200"), (b"content-type", b"application/grpc")]
TRAILERS = [(b"grpc-status", b"0")]


class Server:
    """h2's server, and a client that is wired to it."""

    def __init__(self) -> None:
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.http.initiate_connection()
        self.client = ClientStream(REQUEST)
        self.events: list[h2.events.Event] = []

    def exchange(self) -> list[Event]:
        """Passes bytes on until neither has any left; returns what the client saw."""
        seen: list[Event] = []
        while True:
            to_server, to_client = self.client.take(), self.http.data_to_send()
            if not to_server and not to_client:
                return seen
            self.events += self.http.receive_data(to_server)
            seen += self.client.receive(to_client)

    def received(self) -> bytes:
        return b"".join(event.data or b"" for event in self.events if isinstance(event, h2.events.DataReceived))

    def open_windows(self) -> None:
        for event in self.events:
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                self.http.acknowledge_received_data(event.flow_controlled_length, STREAM)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def test_the_request_arrives_as_it_is() -> None:
    server = Server()
    server.client.send(b"hello")
    server.exchange()
    (request,) = [event for event in server.events if isinstance(event, h2.events.RequestReceived)]
    assert request.headers == REQUEST
    assert server.received() == b"hello"


def test_the_answer_arrives_in_order() -> None:
    server = Server()
    server.exchange()
    server.http.send_headers(STREAM, ANSWER)
    server.http.send_data(STREAM, b"one")
    server.http.send_data(STREAM, b"two", pad_length=7)
    server.http.send_headers(STREAM, TRAILERS, end_stream=True)
    assert server.exchange() == [
        HeadersReceived(dict(ANSWER), False),
        DataReceived(b"one", False),
        DataReceived(b"two", False),
        HeadersReceived(dict(TRAILERS), True),
    ]


def test_no_more_is_sent_than_there_is_room_for() -> None:
    server = Server()
    data = bytes(range(256)) * 1024
    server.client.send(data)
    server.exchange()
    assert server.received() == data[:WINDOW]
    while server.received() != data:
        before = len(server.received())
        server.open_windows()
        server.events = [h2.events.DataReceived(data=server.received(), flow_controlled_length=0, stream_id=STREAM)]
        server.exchange()
        assert len(server.received()) > before


def test_frames_and_windows_grow_as_the_peer_allows() -> None:
    server = Server()
    wanted = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**20, h2.settings.SettingCodes.MAX_FRAME_SIZE: 2**17}
    server.http.update_settings(wanted)
    server.http.increment_flow_control_window(2**20)
    server.exchange()  # h2 takes longer frames only once it has seen the acknowledgement.
    server.client.send(bytes(2**20))
    server.exchange()
    sizes = [len(event.data or b"") for event in server.events if isinstance(event, h2.events.DataReceived)]
    assert sum(sizes) == 2**20
    assert max(sizes) == 2**17


def test_the_connection_has_a_window_of_its_own() -> None:
    server = Server()
    server.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2 * WINDOW})
    server.exchange()
    server.client.send(bytes(2 * WINDOW))
    server.exchange()
    assert len(server.received()) == WINDOW
    server.http.increment_flow_control_window(WINDOW)
    server.exchange()
    assert len(server.received()) == 2 * WINDOW


def test_a_window_that_shrinks_below_what_was_sent_holds_back_what_follows() -> None:
    server = Server()
    server.client.send(bytes(1000))
    server.exchange()
    server.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10})
    server.exchange()
    server.client.send(b"later")
    server.exchange()
    assert len(server.received()) == 1000
    server.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1005})
    server.exchange()
    assert server.received()[1000:] == b"later"


def test_the_peer_may_answer_with_any_amount() -> None:
    server = Server()
    server.exchange()
    server.http.send_headers(STREAM, ANSWER)
    got = 0
    for _ in range(100):
        server.http.send_data(STREAM, bytes(10_000))
        got += sum(len(event.data) for event in server.exchange() if isinstance(event, DataReceived))
    assert got == 1_000_000


def test_pings_are_answered() -> None:
    server = Server()
    server.http.ping(b"ping-one")
    server.exchange()
    (answer,) = [event for event in server.events if isinstance(event, h2.events.PingAckReceived)]
    assert answer.ping_data == b"ping-one"


def test_settings_are_acknowledged() -> None:
    server = Server()
    server.exchange()
    assert [event for event in server.events if isinstance(event, h2.events.SettingsAcknowledged)]


def test_headers_may_be_long_and_come_in_pieces() -> None:
    server = Server()
    server.exchange()
    long = [*ANSWER, (b"grpc-message", b"x" * 40_000)]
    server.http.send_headers(STREAM, long, end_stream=True)
    assert server.exchange() == [HeadersReceived(dict(long), True)]


def test_a_reset_and_a_farewell_end_the_stream() -> None:
    server = Server()
    server.exchange()
    server.http.reset_stream(STREAM, 8)
    assert server.exchange() == [Closed(8, is_reset=True)]
    server = Server()
    server.exchange()
    server.http.close_connection(2, last_stream_id=0)
    assert server.exchange() == [Closed(2, is_reset=False)]


def test_a_farewell_to_later_streams_leaves_ours_alone() -> None:
    server = Server()
    server.exchange()
    assert server.client.receive(frame(7, 0, 0, struct.pack(">II", STREAM, 0))) == []
    assert server.client.receive(frame(7, 0, 0, struct.pack(">II", 0, 0))) == [Closed(0, is_reset=False)]


def test_priorities_and_what_is_not_known_mean_nothing() -> None:
    block = hpack.Encoder().encode(ANSWER)
    received = ClientStream(REQUEST).receive(
        frame(2, 0, STREAM, bytes(5)) + frame(0xFA, 0xFF, 0, b"grease") + frame(1, 0x24, STREAM, bytes(5) + block)
    )
    assert received == [HeadersReceived(dict(ANSWER), False)]


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (frame(0, 0, STREAM, bytes(16_385)), "16385 bytes"),
        (frame(0, 0, 0, b"x"), "no stream"),
        (frame(0, 0, 3, b"x"), "stream 3"),
        (frame(0, 8, STREAM, b""), "padding"),
        (frame(0, 8, STREAM, b"\x05abcd"), "padding"),
        (frame(1, 4, STREAM, b"\xff\xff\xff\xff\xff\xff\xff\xff"), "unreadable"),
        (frame(1, 0, STREAM, b"") + frame(0, 0, STREAM, b"x"), "go on"),
        (frame(9, 4, STREAM, b""), "type 9 where headers begin"),
        (frame(1, 0, STREAM, b"") + frame(9, 0, STREAM, bytes(16_384)) * 5, str(MAX_HEADERS)),
        (frame(3, 0, STREAM, b"abc"), "short"),
        (frame(4, 0, 0, b"abc"), "settings of 3"),
        (frame(4, 0, 0, struct.pack(">HI", 4, 2**31)), "window"),
        (frame(4, 0, 0, struct.pack(">HI", 5, 100)), "frames of up to 100"),
        (frame(5, 4, STREAM, bytes(4)), "push"),
        (frame(6, 0, 0, b"ping"), "ping"),
        (frame(7, 0, 0, b"abcd"), "short"),
        (frame(8, 0, STREAM, bytes(4)), "opens by 0"),
        (frame(8, 0, 0, struct.pack(">I", 2**31 - 1)), "opens by"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "bytes, more than"),
    ],
)
def test_what_breaks_the_rules_is_refused(sent: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        ClientStream(REQUEST).receive(sent)


@given(st.data())
def test_where_the_network_cuts_means_nothing(data: st.DataObject) -> None:
    encoder = hpack.Encoder()
    stream = b"".join(
        (
            frame(4, 0, 0, struct.pack(">HI", 4, 100)),
            frame(1, 4, STREAM, encoder.encode(ANSWER)),
            frame(0, 0, STREAM, b"hello"),
            frame(8, 0, 0, struct.pack(">I", 5)),
            frame(0, 0, STREAM, b""),
            frame(1, 0, STREAM, encoder.encode(TRAILERS)[:1]),
        )
    )
    whole = ClientStream(REQUEST).receive(stream)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    client = ClientStream(REQUEST)
    pieces: list[Event] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        pieces += client.receive(stream[start:end])
    assert pieces == whole


@given(st.binary(max_size=200))
def test_anything_at_all_is_taken_or_refused(noise: bytes) -> None:
    client = ClientStream(REQUEST)
    client.take()
    try:
        client.receive(noise)
    except ProtocolError:
        return
    assert client.take() is not None


def test_the_preface_comes_first() -> None:
    assert ClientStream(REQUEST).take().startswith(PREFACE)
