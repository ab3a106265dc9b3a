"""The server's end of HTTP/2, against clients that mean harm, and against anything at all."""

import collections
import itertools

import hpack
import pytest
from http2_peers import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PING,
    RST_STREAM,
    WINDOW_UPDATE,
    Frame,
    HeadersCame,
    Heard,
    Lost,
    Reader,
    frame,
    frames_in,
    number,
    settings,
    take_all,
)
from http2_server_peers import BEGUN, CALM, COMPRESSION, OK, REQUEST, TRAILERS, Server, request
from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.connection import (
    MAX_OUT,
    MAX_STREAMS,
    Connection,
)
from pyraft_lite.rpc.http2.frames import MAX_FRAME, PREFACE, ProtocolError
from pyraft_lite.rpc.http2.headers import MAX_HEADERS, Headers, encode_literally
from pyraft_lite.rpc.http2.server import ServerConnection

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


class Holding(Heard):
    """Holds its connection up when it has begun."""

    def headers_received(self, headers: Headers, ended: bool) -> None:
        super().headers_received(headers, ended)
        self._connection.held = True


def go_on(server: Server) -> None:
    server.http.held = False
    server.hears(b"")


def test_a_connection_that_is_held_up_begins_one_request_after_the_other() -> None:
    server = Server(Holding)
    server.hears(request(1) + request(3) + request(5))
    for begun in ([1], [1, 3], [1, 3, 5]):
        assert list(server.streams) == begun
        go_on(server)


@given(st.data())
def test_of_what_comes_in_pieces_while_a_connection_is_held_up_nothing_is_lost(data: st.DataObject) -> None:
    server = Server(Holding)
    numbers = (1, 3, 5, 7)
    sent = b"".join(request(each) + frame(DATA, END_STREAM, each, bytes([each]) * each) for each in numbers)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(sent)))))
    most = 1
    for start, end in itertools.pairwise([0, *cuts, len(sent)]):
        server.hears(sent[start:end])
        if server.http.held and data.draw(st.booleans()):
            go_on(server)
            most += 1
        assert len(server.streams) <= most
    for _ in numbers:
        go_on(server)
    assert list(server.streams) == list(numbers)
    for each, stream in server.streams.items():
        assert (stream.received, stream.received_all) == (bytes([each]) * each, True)


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
