"""The server's end of HTTP/2: what is refused because it breaks the rules of RFC 9113, and what is not."""

import collections

import hpack
import pytest
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
    Frame,
    HeadersCame,
    Heard,
    Lost,
    frame,
    number,
    settings,
)
from http2_server_peers import (
    BEGUN,
    CLOSED,
    COMPRESSION,
    CUT,
    ENDED,
    FLOW,
    OK,
    PROTOCOL,
    REQUEST,
    SIZE,
    TRAILERS,
    Server,
    request,
)

from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.connection import LARGEST_FRAME
from pyraft_lite.rpc.http2.frames import MAX_FRAME, MAX_WINDOW, PREFACE, WINDOW, ProtocolError
from pyraft_lite.rpc.http2.headers import encode_literally
from pyraft_lite.rpc.http2.server import ServerConnection

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


@pytest.mark.parametrize(
    ("sent", "code", "complaint"),
    [
        # 4.2: sizes
        (BEGUN + frame(DATA, 0, 1, bytes(LARGEST_FRAME + 1)), SIZE, "a frame of 65537 bytes"),
        (frame(HEADERS, END_HEADERS, 1, bytes(LARGEST_FRAME + 1)), SIZE, "a frame of 65537 bytes"),
        (frame(0xFA, 0, 0, bytes(LARGEST_FRAME + 1)), SIZE, "a frame of 65537 bytes"),
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
        frame(0xFA, 0xFF, 0, bytes(LARGEST_FRAME)) + BEGUN + frame(0xFA, 0xFF, 1),  # 5.5: unknown frames
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
