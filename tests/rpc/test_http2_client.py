"""The client's end of HTTP/2, against the HTTP/2 of h2, and against what no peer should send."""

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
from pyraft_lite.rpc.http2.client import ClientConnection
from pyraft_lite.rpc.http2.connection import CONNECTION_WINDOW, LARGEST_FRAME, MAX_OUT, STREAM_WINDOW
from pyraft_lite.rpc.http2.frames import PREFACE, WINDOW, ProtocolError
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


# -- requests and answers ---------------------------------------------------------------------------------------------


def test_the_preface_comes_first() -> None:
    sent = ClientConnection(lambda: None).take()
    assert sent.startswith(PREFACE)
    assert [(each.kind, each.stream) for each in frames_in(sent[len(PREFACE) :])] == [(SETTINGS, 0), (WINDOW_UPDATE, 0)]


def test_the_request_arrives_as_it_is() -> None:
    server = Server()
    stream = server.client.open(Heard, REQUEST, encode_literally(((b"grpc-timeout", b"1S"),)))
    stream.send_data(b"hello")
    stream.send_data(b"", ended=True)
    server.exchange()
    (request,) = server.heard(h2.events.RequestReceived)
    assert request.headers == [*REQUEST, (b"grpc-timeout", b"1S")]
    assert server.received(stream) == b"hello"
    assert [event.stream_id for event in server.heard(h2.events.StreamEnded)] == [stream.number]


def test_the_answer_arrives_in_order() -> None:
    server = Server()
    stream = server.open()
    server.http.send_headers(stream.number, ANSWER)
    server.http.send_data(stream.number, b"one")
    server.http.send_data(stream.number, b"two", pad_length=7)
    server.http.send_headers(stream.number, TRAILERS, end_stream=True)
    server.exchange()
    assert stream.events == [
        HeadersCame(ANSWER, False),
        DataCame(b"one", False),
        DataCame(b"two", False),
        HeadersCame(TRAILERS, True),
    ]
    assert stream.received_all
    assert not stream.sent_all


@pytest.mark.parametrize("trailers", [False, True])
@pytest.mark.parametrize("client_first", [False, True])
def test_a_stream_is_forgotten_once_both_sides_have_ended(client_first: bool, trailers: bool) -> None:
    server = Server()
    stream = server.open()
    if client_first:
        stream.send_data(b"", ended=True)
        assert server.client.streams == {stream.number: stream}
    server.exchange()
    server.http.send_headers(stream.number, ANSWER)
    if trailers:
        server.http.send_headers(stream.number, TRAILERS, end_stream=True)
    else:
        server.http.send_data(stream.number, b"", end_stream=True)
    server.exchange()
    if not client_first:
        assert server.client.streams == {stream.number: stream}
        stream.send_data(b"", ended=True)
    assert not server.client.streams
    assert stream.sent_all
    assert stream.received_all


def test_pings_are_answered_and_answers_are_not() -> None:
    server = Server()
    server.http.ping(b"ping-one")
    server.exchange()
    (answer,) = server.heard(h2.events.PingAckReceived)
    assert answer.ping_data == b"ping-one"
    client, _ = begun()
    client.receive(frame(PING, ACK, 0, bytes(8)))
    assert not client.take()


def test_settings_are_acknowledged_and_acknowledgements_are_not() -> None:
    assert Server().heard(h2.events.SettingsAcknowledged)
    client, _ = begun()
    client.receive(frame(SETTINGS, ACK, 0))
    assert not client.take()


def test_headers_may_be_long_and_come_in_pieces() -> None:
    server = Server()
    stream = server.open()
    long = (*ANSWER, (b"grpc-message", b"x" * 40_000))
    server.http.send_headers(stream.number, long, end_stream=True)
    server.exchange()
    assert stream.events == [HeadersCame(long, True)]


def test_long_headers_go_in_pieces() -> None:
    server = Server({SettingCodes.MAX_HEADER_LIST_SIZE: 2**20})
    long = ((b"some", b"y" * 40_000),)
    server.client.open(Heard, REQUEST, encode_literally(long))
    server.exchange()
    (request,) = server.heard(h2.events.RequestReceived)
    assert request.headers == [*REQUEST, *long]


def test_what_is_to_be_taken_is_said_to_be_there() -> None:
    told: list[bool] = []
    client = ClientConnection(lambda: told.append(True))
    assert told == [True]
    take_all(client)
    client.receive(settings())
    assert told == [True] * 2
    take_all(client)
    stream = client.open(Heard, REQUEST)
    assert told == [True] * 3
    take_all(client)
    stream.send_data(bytes(WINDOW + 1))
    assert told == [True] * 4
    take_all(client)
    client.receive(frame(WINDOW_UPDATE, 0, 0, number(1)) + frame(WINDOW_UPDATE, 0, stream.number, number(1)))
    assert told == [True] * 5
    take_all(client)
    stream.reset(frames.CANCEL)
    assert told == [True] * 6


# -- what there is room for -------------------------------------------------------------------------------------------


def test_no_more_is_sent_than_there_is_room_for() -> None:
    server = Server()
    stream = server.open()
    data = bytes(range(256)) * 1024
    stream.send_data(data)
    server.exchange()
    assert server.received(stream) == data[:WINDOW]
    assert stream.unsent == len(data) - WINDOW
    while stream.unsent:
        assert RoomMade() not in stream.events
        before = len(server.received(stream))
        server.http.acknowledge_received_data(before - (len(data) - WINDOW - stream.unsent), stream.number)
        server.events = [h2.events.DataReceived(stream_id=stream.number, data=server.received(stream))]
        server.exchange()
        assert len(server.received(stream)) > before
    assert server.received(stream) == data
    assert stream.events == [RoomMade()]


def test_frames_and_windows_grow_as_the_peer_allows() -> None:
    server = Server({SettingCodes.INITIAL_WINDOW_SIZE: 2**20, SettingCodes.MAX_FRAME_SIZE: 2**17})
    server.http.increment_flow_control_window(2**20)
    stream = server.open()
    stream.send_data(bytes(2**20))
    server.exchange()
    sizes = [len(event.data) for event in server.heard(h2.events.DataReceived)]
    assert sum(sizes) == 2**20
    assert max(sizes) == LARGEST_FRAME


def test_the_connection_has_a_window_of_its_own() -> None:
    server = Server({SettingCodes.INITIAL_WINDOW_SIZE: 2 * WINDOW})
    stream = server.open()
    stream.send_data(bytes(2 * WINDOW))
    server.exchange()
    assert len(server.received(stream)) == WINDOW
    server.http.increment_flow_control_window(WINDOW)
    server.exchange()
    assert len(server.received(stream)) == 2 * WINDOW


def test_small_pieces_use_up_the_windows_as_well() -> None:
    client, (one, two) = begun(2)
    client.receive(settings((frames.INITIAL_WINDOW_SIZE, 2**20)))
    take_all(client)
    for stream in (one, two) * 5:
        stream.send_data(bytes(10_000))
    assert sum(len(each.payload) for each in frames_in(take_all(client))) == WINDOW
    assert one.unsent + two.unsent == 100_000 - WINDOW


def test_a_window_that_shrinks_below_what_was_sent_holds_back_what_follows() -> None:
    server = Server()
    stream = server.open()
    stream.send_data(bytes(1000))
    server.exchange()
    server.http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
    server.exchange()
    stream.send_data(b"later")
    server.exchange()
    assert len(server.received(stream)) == 1000
    server.http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1005})
    server.exchange()
    assert server.received(stream)[1000:] == b"later"


def test_a_window_that_opens_is_used_by_its_stream_alone() -> None:
    client, (one, two) = begun(2)
    client.receive(settings((frames.INITIAL_WINDOW_SIZE, 0)))
    for stream in (one, two):
        stream.send_data(b"abc")
    take_all(client)
    client.receive(frame(WINDOW_UPDATE, 0, two.number, number(2)))
    assert take_all(client) == frame(DATA, 0, two.number, b"ab")
    client.receive(frame(WINDOW_UPDATE, 0, one.number, number(9)))
    assert take_all(client) == frame(DATA, 0, one.number, b"abc")


def test_streams_share_the_connections_window() -> None:
    client, (large, small) = begun(2)
    client.receive(settings((frames.INITIAL_WINDOW_SIZE, 2**20)))
    large.send_data(bytes(2**20))
    small.send_data(b"small")
    take_all(client)
    opened = 0
    while small.unsent:
        client.receive(frame(WINDOW_UPDATE, 0, 0, number(1000)))
        opened += 1000
    assert opened <= 2000
    assert large.unsent > 2**19


def test_streams_that_wait_for_the_connections_window_all_get_on() -> None:
    client, streams = begun(4)
    client.receive(settings((frames.INITIAL_WINDOW_SIZE, 2**20)))
    streams[0].send_data(bytes(WINDOW))
    for stream in streams:
        stream.send_data(bytes(10_000))
    for _ in range(8):
        client.receive(frame(WINDOW_UPDATE, 0, 0, number(1000)))
    assert [stream.unsent for stream in streams] == [8000] * 4


def test_a_stream_whose_own_window_is_closed_does_not_hold_up_others() -> None:
    client, (stuck, other) = begun(2)
    client.receive(settings((frames.INITIAL_WINDOW_SIZE, 10)))
    stuck.send_data(bytes(100))
    take_all(client)
    other.send_data(b"through")
    assert take_all(client) == frame(DATA, 0, other.number, b"through")


def test_not_all_is_made_ready_at_once() -> None:
    client, (one, two) = begun(2)
    client.receive(settings((frames.INITIAL_WINDOW_SIZE, 2**24)) + frame(WINDOW_UPDATE, 0, 0, number(2**24)))
    take_all(client)
    for stream in (one, two):
        stream.send_data(bytes(2**21))
    seen = {1: 0, 3: 0}
    while part := client.take():
        assert len(part) <= MAX_OUT + LARGEST_FRAME + 9
        for each in frames_in(part):
            seen[each.stream] += len(each.payload)
        assert abs(seen[1] - seen[3]) <= 2 * MAX_OUT
    assert seen == {1: 2**21, 3: 2**21}


def test_data_waits_while_the_network_takes_nothing() -> None:
    client, (stream,) = begun()
    client.pause()
    stream.send_data(b"later")
    stream.send_data(b", too")
    assert not client.take()
    assert stream.unsent == 10
    client.resume()
    assert client.take() == frame(DATA, 0, stream.number, b"later, too")
    assert stream.events == [RoomMade()]


def test_trailers_go_behind_data_that_waits() -> None:
    server = Server()
    stream = server.open()
    stream.send_data(bytes(WINDOW + 1))
    stream.send_trailers(encode_literally(((b"some", b"trailer"),)))
    server.exchange()
    assert not server.heard(h2.events.TrailersReceived)
    assert not stream.sent_all
    server.http.acknowledge_received_data(WINDOW, stream.number)
    server.exchange()
    assert len(server.received(stream)) == WINDOW + 1
    (trailers,) = server.heard(h2.events.TrailersReceived)
    assert trailers.headers == [(b"some", b"trailer")]
    assert stream.sent_all
    assert stream.events == []


@pytest.mark.parametrize("pieces", [[bytes(WINDOW + 1)], [bytes(WINDOW + 1), b""], [bytes(WINDOW), bytes(1)]])
def test_the_end_waits_for_the_data_before_it(pieces: list[bytes]) -> None:
    client, (stream,) = begun()
    for piece in pieces:
        stream.send_data(piece, ended=piece is pieces[-1])
    assert not any(each.flags & END_STREAM for each in frames_in(take_all(client)))
    assert not stream.sent_all
    client.receive(frame(WINDOW_UPDATE, 0, 0, number(10)) + frame(WINDOW_UPDATE, 0, stream.number, number(10)))
    assert take_all(client) == frame(DATA, END_STREAM, stream.number, b"\0")
    assert stream.sent_all


def test_the_end_needs_no_window() -> None:
    client, (stream,) = begun()
    stream.send_data(bytes(WINDOW))
    take_all(client)
    stream.send_data(b"", ended=True)
    assert take_all(client) == frame(DATA, END_STREAM, stream.number)


# -- what comes takes room --------------------------------------------------------------------------------------------


def test_the_peer_may_answer_with_any_amount_that_is_used() -> None:
    server = Server()
    stream = server.open(Reader)
    server.http.send_headers(stream.number, ANSWER)
    size = 10_000
    for _ in range(3 * CONNECTION_WINDOW // 2 // size):
        server.http.send_data(stream.number, bytes(size), pad_length=200)
        server.exchange()
    assert len(stream.received) == 3 * CONNECTION_WINDOW // 2 // size * size


def filled(stream: Heard, size: int) -> bytes:
    """So many bytes of data for a stream."""
    return b"".join(frame(DATA, 0, stream.number, bytes(min(16_384, size - at))) for at in range(0, size, 16_384))


def test_no_more_is_taken_than_there_is_room_for() -> None:
    client, (stream,) = begun()
    client.receive(filled(stream, STREAM_WINDOW))
    with pytest.raises(ProtocolError, match="stream 1 has room") as error:
        client.receive(frame(DATA, 0, stream.number, b"x"))
    assert error.value.code == frames.FLOW_CONTROL_ERROR


def test_no_more_is_taken_than_there_is_room_for_on_the_connection() -> None:
    client, streams = begun(17)
    for stream in streams[:-1]:
        client.receive(filled(stream, STREAM_WINDOW))
    with pytest.raises(ProtocolError, match="more data than there is room") as error:
        client.receive(frame(DATA, 0, streams[-1].number, b"x"))
    assert error.value.code == frames.FLOW_CONTROL_ERROR


def test_data_that_is_used_makes_room_for_as_much() -> None:
    client, (stream,) = begun()
    client.receive(filled(stream, STREAM_WINDOW))
    stream.use(STREAM_WINDOW // 2)
    assert not client.take()
    stream.use(1)
    assert take_all(client) == frame(WINDOW_UPDATE, 0, stream.number, number(STREAM_WINDOW // 2 + 1))
    client.receive(filled(stream, STREAM_WINDOW // 2 + 1))
    with pytest.raises(ProtocolError, match="has room"):
        client.receive(frame(DATA, 0, stream.number, b"x"))


def test_padding_takes_room_until_it_has_come() -> None:
    client, (stream,) = begun()
    padded = frame(DATA, PADDED, stream.number, b"\xff" + bytes(255))
    for _ in range(STREAM_WINDOW // 256 // 2):
        client.receive(padded)
    assert not client.take()
    client.receive(padded)
    assert take_all(client) == frame(WINDOW_UPDATE, 0, stream.number, number(STREAM_WINDOW // 2 + 256))


@pytest.mark.parametrize("end", ["answered", "reset by the peer", "reset by us", "reset and not noticed"])
def test_data_that_nobody_uses_makes_room_once_its_stream_has_ended(end: str) -> None:
    client, _ = begun(0)
    credit = 0
    for _ in range(3 * CONNECTION_WINDOW // 2 // STREAM_WINDOW):
        stream = client.open(Heard, REQUEST)
        stream.send_data(b"", ended=True)
        if end == "reset and not noticed":
            stream.reset(frames.CANCEL)
        client.receive(filled(stream, STREAM_WINDOW))
        if end == "answered":
            client.receive(frame(DATA, END_STREAM, stream.number))
        elif end == "reset by the peer":
            client.receive(frame(RST_STREAM, 0, stream.number, number(frames.CANCEL)))
        else:
            stream.reset(frames.CANCEL)
        stream.use(STREAM_WINDOW)  # No more than there was.
        updates = [each for each in frames_in(take_all(client)) if each.kind == WINDOW_UPDATE]
        assert {each.stream for each in updates} <= {0}
        credit += sum(int.from_bytes(each.payload, "big") for each in updates)
    assert CONNECTION_WINDOW // 2 < credit <= 3 * CONNECTION_WINDOW // 2


def test_no_room_is_made_on_a_stream_that_the_peer_has_ended() -> None:
    client, (stream,) = begun()
    client.receive(filled(stream, STREAM_WINDOW) + frame(DATA, END_STREAM, stream.number))
    stream.use(STREAM_WINDOW)
    assert not client.take()


# -- several streams --------------------------------------------------------------------------------------------------


def test_streams_at_once_do_not_mix() -> None:
    server = Server()
    streams = [server.open() for _ in range(3)]
    for stream in streams:
        stream.send_data(b"to %d" % stream.number)
    server.exchange()
    for stream in reversed(streams):
        assert server.received(stream) == b"to %d" % stream.number
        server.http.send_headers(stream.number, ANSWER)
        server.http.send_data(stream.number, b"from %d" % stream.number)
    for stream in streams:
        server.http.send_headers(stream.number, ((b"grpc-status", b"%d" % stream.number),), end_stream=True)
    server.exchange()
    for stream in streams:
        assert stream.events == [
            HeadersCame(ANSWER, False),
            DataCame(b"from %d" % stream.number, False),
            HeadersCame(((b"grpc-status", b"%d" % stream.number),), True),
        ]


def test_no_more_streams_are_begun_than_the_peer_takes() -> None:
    server = Server()
    assert server.client.has_room
    server.http.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    server.exchange()
    streams = []
    while server.client.has_room:
        streams.append(server.open())
    assert len(streams) == 2
    streams[0].reset(frames.CANCEL)
    assert server.client.has_room
    server.http.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    server.exchange()
    assert not server.client.has_room


@pytest.mark.parametrize("size", [0, 100, 200, 8192])
def test_requests_are_understood_whatever_table_the_peer_keeps(size: int) -> None:
    server = Server()
    server.open()
    server.http.update_settings({SettingCodes.HEADER_TABLE_SIZE: size})
    server.exchange()
    for _ in range(3):
        server.open()
    assert [event.headers for event in server.heard(h2.events.RequestReceived)] == [list(REQUEST)] * 4


def test_a_table_that_shrinks_twice_is_said_to_have_shrunk_once() -> None:
    server = Server()
    for size in (200, 100):
        server.http.update_settings({SettingCodes.HEADER_TABLE_SIZE: size})
        server.exchange()
    server.open()
    assert [event.headers for event in server.heard(h2.events.RequestReceived)] == [list(REQUEST)]


# -- ends -------------------------------------------------------------------------------------------------------------


def test_a_reset_ends_the_stream_and_no_other() -> None:
    server = Server()
    stream, other = server.open(), server.open()
    server.http.reset_stream(stream.number, frames.CANCEL)
    server.exchange()
    assert (stream.events, other.events) == ([Lost(frames.CANCEL)], [])
    assert "0x8" in stream.reason
    assert server.client.streams == {other.number: other}


def test_whoever_resets_a_stream_hears_no_more_of_it() -> None:
    server = Server()
    stream = server.open()
    stream.send_data(bytes(2 * WINDOW))
    server.exchange()
    stream.reset(frames.CANCEL)
    stream.reset(frames.CANCEL)
    stream.send_data(b"in vain")
    server.http.send_headers(stream.number, ANSWER)
    server.http.send_data(stream.number, b"crosses the reset")
    server.http.increment_flow_control_window(2 * WINDOW)
    server.http.increment_flow_control_window(2 * WINDOW, stream.number)
    server.exchange()
    (reset,) = server.heard(h2.events.StreamReset)
    assert (reset.stream_id, reset.error_code) == (stream.number, frames.CANCEL)
    assert len(server.received(stream)) == WINDOW
    assert stream.events == []
    assert not server.client.streams


def test_what_a_stream_had_to_send_when_it_was_reset_is_not_sent() -> None:
    client, (one, two) = begun(2)
    client.receive(settings((frames.INITIAL_WINDOW_SIZE, 2**20)))
    for stream in (one, two):
        stream.send_data(bytes(WINDOW))
        stream.send_data(b"in vain", ended=True)
    one.reset(frames.CANCEL)
    client.receive(frame(RST_STREAM, 0, two.number, number(frames.CANCEL)))
    take_all(client)
    client.receive(frame(WINDOW_UPDATE, 0, 0, number(2 * WINDOW)))
    assert not client.take()


def test_a_farewell_refuses_later_streams_and_leaves_others_alone() -> None:
    client, (one, two, three) = begun(3)
    client.receive(frame(GOAWAY, 0, 0, number(two.number, frames.NO_ERROR) + b"enough"))
    assert three.events == [Lost(frames.REFUSED_STREAM)]
    assert "going away" in three.reason
    assert client.going_away == two.number
    assert not client.has_room
    assert client.streams == {1: one, 3: two}
    client.receive(headers(two.number, ANSWER))
    one.send_data(b"goes on")
    assert (one.events, two.events) == ([], [HeadersCame(ANSWER, False)])
    assert take_all(client) == frame(DATA, 0, one.number, b"goes on")
    client.receive(frame(GOAWAY, 0, 0, number(0, frames.NO_ERROR)))
    assert one.events == [Lost(frames.REFUSED_STREAM)]
    assert two.events[1:] == [Lost(frames.REFUSED_STREAM)]
    assert not client.streams


def test_a_farewell_with_an_error_ends_all_streams() -> None:
    client, (one, two) = begun(2)
    client.receive(frame(GOAWAY, 0, 0, number(one.number, frames.INTERNAL_ERROR)))
    assert one.events == [Lost(None)]
    assert two.events == [Lost(frames.REFUSED_STREAM)]
    assert not client.streams


def test_a_connection_that_goes_away_tells_when_the_last_stream_has_ended() -> None:
    told: list[bool] = []
    client, streams = begun(2)
    client.on_idle = lambda: told.append(True)
    client.receive(frame(RST_STREAM, 0, streams[0].number, number(frames.CANCEL)))
    again = client.open(Heard, REQUEST)
    client.receive(frame(GOAWAY, 0, 0, number(again.number, frames.NO_ERROR)))
    again.reset(frames.CANCEL)
    assert not told
    streams[1].reset(frames.CANCEL)
    assert told == [True]


def test_all_streams_are_lost_with_the_connection() -> None:
    client, streams = begun(2)
    client.pause()
    streams[0].send_data(b"too late")
    client.lose("the cable is cut")
    client.resume()
    for stream in streams:
        assert (stream.events, stream.reason) == ([Lost(None)], "the cable is cut")
        stream.send_data(b"in vain")
        stream.reset(frames.CANCEL)
    assert not client.take()
    assert not client.streams


# -- what no peer should send -----------------------------------------------------------------------------------------


def test_priorities_and_what_is_not_known_mean_nothing() -> None:
    client, (stream,) = begun()
    block = hpack.Encoder().encode(ANSWER)
    client.receive(
        frame(PRIORITY, 0, stream.number, bytes(5))
        + frame(0xFA, 0xFF, 0, b"grease")
        + settings((0xFAFA, 7))
        + frame(HEADERS, END_HEADERS | WITH_PRIORITY, stream.number, bytes(5) + block)
    )
    assert stream.events == [HeadersCame(ANSWER, False)]


def test_frames_on_streams_that_have_ended_mean_nothing() -> None:
    client, (stream,) = begun()
    stream.reset(frames.CANCEL)
    take_all(client)
    client.receive(
        headers(stream.number, ANSWER)
        + frame(DATA, 0, stream.number, b"late")
        + frame(WINDOW_UPDATE, 0, stream.number, number(1))
        + frame(RST_STREAM, 0, stream.number, number(0))
    )
    assert stream.events == []
    assert not client.take()


@pytest.mark.parametrize(
    ("sent", "complaint", "code"),
    [
        (frame(DATA, 0, 1, bytes(16_385)), "16385 bytes", frames.FRAME_SIZE_ERROR),
        (frame(DATA, 0, 0, b"x"), "stream 0", frames.PROTOCOL_ERROR),
        (frame(DATA, 0, 2, b"x"), "stream 2", frames.PROTOCOL_ERROR),
        (frame(DATA, 0, 3, b"x"), "stream 3", frames.PROTOCOL_ERROR),
        (frame(DATA, PADDED, 1, b""), "padding", frames.PROTOCOL_ERROR),
        (frame(DATA, PADDED, 1, b"\x05abcd"), "padding", frames.PROTOCOL_ERROR),
        (frame(DATA, END_STREAM, 1) + frame(DATA, 0, 1, b"x"), "behind the end", frames.STREAM_CLOSED),
        (frame(DATA, END_STREAM, 1) + headers(1, TRAILERS), "behind the end", frames.STREAM_CLOSED),
        (headers(0, ANSWER), "no stream", frames.PROTOCOL_ERROR),
        (headers(2, ANSWER), "stream 2", frames.PROTOCOL_ERROR),
        (headers(3, ANSWER), "stream 3", frames.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 1, b"\xff" * 8), "unreadable", frames.COMPRESSION_ERROR),
        (frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"abcd"), "headers of 4", frames.FRAME_SIZE_ERROR),
        (frame(HEADERS, 0, 1) + frame(DATA, 0, 1, b"x"), "go on", frames.PROTOCOL_ERROR),
        (frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 3), "stream 1 go on in stream 3", frames.PROTOCOL_ERROR),
        (frame(CONTINUATION, END_HEADERS, 1), "type 9 where headers begin", frames.PROTOCOL_ERROR),
        (
            frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1, bytes(16_384)) * 5,
            "do not end",
            frames.ENHANCE_YOUR_CALM,
        ),
        (frame(PRIORITY, 0, 1, bytes(4)), "a priority of 4", frames.FRAME_SIZE_ERROR),
        (frame(PRIORITY, 0, 0, bytes(5)), "a priority of no stream", frames.PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 1, b"abc"), "a reset of 3", frames.FRAME_SIZE_ERROR),
        (frame(RST_STREAM, 0, 3, number(8)), "stream 3", frames.PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, b"abc"), "settings of 3", frames.FRAME_SIZE_ERROR),
        (frame(SETTINGS, ACK, 0, bytes(6)), "settings of 6", frames.FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 1), "settings for a stream", frames.PROTOCOL_ERROR),
        (settings((2, 2)), "pushes", frames.PROTOCOL_ERROR),
        (settings((4, 2**31)), "window", frames.FLOW_CONTROL_ERROR),
        (frame(WINDOW_UPDATE, 0, 1, number(9)) + settings((4, 2**31 - 1)), "window", frames.FLOW_CONTROL_ERROR),
        (settings((5, 16_383)), "frames of up to 16383", frames.PROTOCOL_ERROR),
        (settings((5, 2**24)), "frames of up to", frames.PROTOCOL_ERROR),
        (frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4)), "push", frames.PROTOCOL_ERROR),
        (frame(PING, 0, 0, b"ping"), "a ping of 4", frames.FRAME_SIZE_ERROR),
        (frame(PING, 0, 1, bytes(8)), "a ping on a stream", frames.PROTOCOL_ERROR),
        (frame(GOAWAY, 0, 0, b"abcd"), "a goodbye of 4", frames.FRAME_SIZE_ERROR),
        (frame(GOAWAY, 0, 1, bytes(8)), "a goodbye to a stream", frames.PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 1, bytes(4)), "opens by nothing", frames.PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, b"abc"), "a window update of 3", frames.FRAME_SIZE_ERROR),
        (frame(WINDOW_UPDATE, 0, 3, number(1)), "stream 3", frames.PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, number(2**31 - 1)), "opens by 2147483647", frames.FLOW_CONTROL_ERROR),
        (frame(WINDOW_UPDATE, 0, 1, number(2**31 - 1)), "opens by 2147483647", frames.FLOW_CONTROL_ERROR),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_breaks_the_rules_is_refused(sent: bytes, complaint: str, code: int) -> None:
    client, (stream,) = begun()
    with pytest.raises(ProtocolError, match=complaint) as error:
        client.receive(sent)
    assert error.value.code == code
    take_all(client)
    client.fail(error.value)
    last, told, reason = goodbye(take_all(client))
    assert (last, told) == (0, code)
    assert complaint in reason.decode()
    assert stream.events[-1] == Lost(None)
    assert "makes no sense" in stream.reason


@pytest.mark.parametrize("sent", [frame(SETTINGS, ACK, 0), frame(PING, 0, 0, bytes(8)), headers(1, ANSWER)])
def test_settings_come_first(sent: bytes) -> None:
    client = ClientConnection(lambda: None)
    client.open(Heard, REQUEST)
    with pytest.raises(ProtocolError, match="before any settings"):
        client.receive(sent)


def test_what_is_no_http2_is_refused() -> None:
    with pytest.raises(ProtocolError, match="bytes, more than"):
        ClientConnection(lambda: None).receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@given(st.data())
def test_where_the_network_cuts_means_nothing(data: st.DataObject) -> None:
    encoder = hpack.Encoder()
    sent = b"".join(
        (
            settings((frames.INITIAL_WINDOW_SIZE, 100)),
            frame(HEADERS, END_HEADERS, 1, encoder.encode(ANSWER)),
            frame(DATA, 0, 1, b"hello"),
            frame(WINDOW_UPDATE, 0, 1, number(5)),
            frame(DATA, PADDED, 3, b"\x02and3\0\0"),
            frame(DATA, 0, 1),
            frame(HEADERS, END_STREAM, 1, encoder.encode(TRAILERS)[:1]),
        )
    )

    def events(pieces: list[bytes]) -> list[object]:
        client = ClientConnection(lambda: None)
        streams = [client.open(Heard, REQUEST) for _ in range(2)]
        streams[1].send_data(bytes(200), ended=True)
        for piece in pieces:
            client.receive(piece)
        return [*(stream.events for stream in streams), take_all(client)]

    cuts = sorted(data.draw(st.sets(st.integers(0, len(sent)))))
    pieces = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert events(pieces) == events([sent])


FRAMES = st.builds(
    frame,
    st.integers(0, 10),
    st.integers(0, 255) | st.sampled_from([0, END_STREAM, END_HEADERS, END_STREAM | END_HEADERS]),
    st.integers(0, 7),
    st.binary(max_size=40) | st.sampled_from([number(1), bytes(8), encode_literally(ANSWER), b""]),
)


@given(st.binary(max_size=200) | st.lists(FRAMES, max_size=8).map(b"".join))
def test_anything_at_all_is_taken_or_refused(noise: bytes) -> None:
    client, streams = begun(2)
    for stream in streams:
        stream.send_data(bytes(2 * WINDOW), ended=True)
    try:
        client.receive(noise)
    except ProtocolError as error:
        client.fail(error)
        assert not client.streams
    frames_in(take_all(client))
