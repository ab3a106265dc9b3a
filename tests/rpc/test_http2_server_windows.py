"""The server's end of HTTP/2: how much may be sent, and be taken in."""

import h2.config
import h2.connection
import h2.events
import pytest
from http2_peers import (
    DATA,
    PING,
    RST_STREAM,
    WINDOW_UPDATE,
    DataCame,
    Frame,
    Reader,
    RoomMade,
    frame,
    number,
    settings,
)
from http2_server_peers import BEGUN, FLOW, OK, TRAILERS, Client, Server, filled, request

from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.connection import (
    CONNECTION_WINDOW,
    LARGEST_FRAME,
    STREAM_WINDOW,
)
from pyraft_lite.rpc.http2.frames import MAX_FRAME, MAX_WINDOW, WINDOW

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


@pytest.mark.parametrize("length", [MAX_FRAME, LARGEST_FRAME])
def test_the_client_may_send_any_amount_that_is_used(length: int) -> None:
    client = Client(kind=Reader)
    stream = client.open()
    size = 2 * CONNECTION_WINDOW
    for _ in range(0, size, length):
        client.http.send_data(stream.number, bytes(length))
        client.exchange()
    assert sum(len(event.data) for event in stream.events if isinstance(event, DataCame)) == size


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
