"""The client's end of HTTP/2: how much may be sent, and be taken in."""

import h2.config
import h2.connection
import h2.events
import pytest
from h2.settings import SettingCodes
from http2_client_peers import ANSWER, REQUEST, Server, begun
from http2_peers import (
    DATA,
    END_STREAM,
    PADDED,
    RST_STREAM,
    WINDOW_UPDATE,
    DataCame,
    Heard,
    Reader,
    RoomMade,
    frame,
    frames_in,
    number,
    settings,
    take_all,
)

from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.connection import CONNECTION_WINDOW, LARGEST_FRAME, MAX_OUT, STREAM_WINDOW
from pyraft_lite.rpc.http2.frames import WINDOW, ProtocolError
from pyraft_lite.rpc.http2.headers import encode_literally

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


def test_the_peer_may_send_frames_of_the_largest_size() -> None:
    server = Server()
    stream = server.open()
    server.http.send_headers(stream.number, ANSWER)
    assert server.http.max_outbound_frame_size == LARGEST_FRAME
    server.http.send_data(stream.number, bytes(LARGEST_FRAME))
    server.exchange()
    assert DataCame(bytes(LARGEST_FRAME), False) in stream.events


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
