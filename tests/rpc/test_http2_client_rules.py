"""The client's end of HTTP/2, against what no peer should send."""

import hpack
import pytest
from http2_client_peers import ANSWER, REQUEST, TRAILERS, begun, headers
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
    HeadersCame,
    Heard,
    Lost,
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
from pyraft_lite.rpc.http2.connection import LARGEST_FRAME
from pyraft_lite.rpc.http2.frames import WINDOW, ProtocolError
from pyraft_lite.rpc.http2.headers import encode_literally

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
        (frame(DATA, 0, 1, bytes(LARGEST_FRAME + 1)), "65537 bytes", frames.FRAME_SIZE_ERROR),
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
