"""The client's end of HTTP/2 against the HTTP/2 of h2: requests, answers, and how they end."""

import h2.config
import h2.connection
import h2.events
import pytest
from h2.settings import SettingCodes
from http2_client_peers import ANSWER, REQUEST, TRAILERS, Server, begun, headers
from http2_peers import (
    ACK,
    DATA,
    GOAWAY,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    DataCame,
    HeadersCame,
    Heard,
    Lost,
    frame,
    frames_in,
    number,
    settings,
    take_all,
)

from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.client import ClientConnection
from pyraft_lite.rpc.http2.frames import PREFACE, WINDOW
from pyraft_lite.rpc.http2.headers import encode_literally

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
