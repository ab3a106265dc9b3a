"""The server's end of HTTP/2 against the HTTP/2 of h2: requests, answers, and how they end."""

import h2.config
import h2.connection
import h2.events
import hpack
import pytest
from h2.settings import SettingCodes
from http2_peers import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    DataCame,
    Frame,
    HeadersCame,
    Lost,
    frame,
    goodbye,
    number,
    settings,
    take_all,
)
from http2_server_peers import ENDED, OK, REQUEST, TRAILERS, Client, Server, filled, request

from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.connection import (
    CONNECTION_WINDOW,
    LARGEST_FRAME,
    MAX_STREAMS,
    STREAM_WINDOW,
)
from pyraft_lite.rpc.http2.frames import MAX_FRAME, WINDOW, ProtocolError
from pyraft_lite.rpc.http2.headers import MAX_HEADERS, encode_literally

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
    assert limits.max_frame_size == LARGEST_FRAME
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
