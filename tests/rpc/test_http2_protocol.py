"""A connection on a transport of asyncio's."""

import asyncio

import pytest
from http2_peers import (
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PING,
    SETTINGS,
    Frame,
    HeadersCame,
    Heard,
    Lost,
    frame,
    frames_in,
    goodbye,
    settings,
)

from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.connection import MAX_OUT, Connection
from pyraft_lite.rpc.http2.frames import PREFACE
from pyraft_lite.rpc.http2.headers import Headers, encode_literally
from pyraft_lite.rpc.http2.protocol import Http2Protocol
from pyraft_lite.rpc.http2.server import ServerConnection

REQUEST: Headers = ((b":method", b"POST"), (b":path", b"/"))
PING_FRAME = frame(PING, 0, 0, bytes(8))


def request(stream: int) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, encode_literally(REQUEST))


class Transport(asyncio.Transport):
    """Keeps what is written.

    Attributes:
        writes: What was, each by itself.
        ended: There will be no more.
        aborted: Done when both sides are closed.
        is_gone: Closing our side fails.
    """

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.ended = False
        self.aborted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_gone = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended
        self.writes.append(bytes(data))

    def write_eof(self) -> None:
        self.ended = True
        if self.is_gone:
            raise OSError("Transport endpoint is not connected")

    def is_closing(self) -> bool:
        return self.aborted.done()

    def abort(self) -> None:
        if not self.aborted.done():
            self.aborted.set_result(None)

    def written(self) -> list[Frame]:
        """The frames since the last time."""
        data, self.writes = b"".join(self.writes), []
        return frames_in(data)


class Server:
    """A server's connection on such a transport.

    Attributes:
        streams: All that have begun.
        lost: How often the transport was said to be gone.
    """

    def __init__(self) -> None:
        self.streams: list[Heard] = []
        self.lost = 0
        self.protocol = Http2Protocol(lambda wake: ServerConnection(wake, self._begin), self._lost)
        self.transport = Transport()

    def _begin(self, connection: Connection, number: int) -> Heard:
        self.streams.append(Heard(connection, number))
        return self.streams[-1]

    def _lost(self, protocol: Http2Protocol[ServerConnection]) -> None:
        assert protocol is self.protocol
        self.lost += 1

    async def hears(self, data: bytes) -> list[Frame]:
        """Takes in what is sent; returns what it answers."""
        self.protocol.data_received(data)
        return await self.turn()

    async def turn(self) -> list[Frame]:
        """What is written by the end of this turn of the event loop."""
        await asyncio.sleep(0)
        return self.transport.written()


@pytest.fixture
async def server() -> Server:
    """One that has a transport and a client that speaks HTTP/2."""
    server = Server()
    server.protocol.connection_made(server.transport)
    await server.hears(PREFACE + settings())
    return server


async def test_what_is_there_when_the_connection_is_made_is_written_at_once() -> None:
    server = Server()
    assert not server.protocol.is_connected
    assert await server.turn() == []
    server.protocol.connection_made(server.transport)
    assert server.protocol.is_connected
    assert server.transport.written()[0].kind == SETTINGS
    assert await server.turn() == []


async def test_what_one_turn_has_to_send_goes_together(server: Server) -> None:
    await server.hears(request(1) + request(3))
    for stream in server.streams:
        stream.send_data(b"a")
        stream.send_data(b"b")
    assert server.transport.writes == []
    await asyncio.sleep(0)
    assert len(server.transport.writes) == 1
    assert len(server.transport.written()) == 4


async def test_what_an_arrival_calls_for_goes_at_once_with_what_was_there(server: Server) -> None:
    await server.hears(request(1))
    server.streams[0].send_data(b"a")
    server.protocol.data_received(PING_FRAME)
    assert len(server.transport.writes) == 1
    assert len(server.transport.written()) == 2
    assert await server.turn() == []


@pytest.mark.parametrize("soon", [True, False])
async def test_what_is_whole_goes_at_once_unless_something_went_just_before(
    server: Server, monkeypatch: pytest.MonkeyPatch, soon: bool
) -> None:
    await server.hears(request(1))
    [stream] = server.streams

    def send() -> int:
        stream.cork()
        stream.send_data(b"head")
        stream.send_data(b"body")
        stream.uncork(at_once=True)
        return len(server.transport.writes)

    assert send() == 1
    monkeypatch.setattr("pyraft_lite.rpc.http2.protocol._SOON", 1e9 if soon else -1.0)
    assert send() == (1 if soon else 2)
    await asyncio.sleep(0)
    assert len(server.transport.writes) == 2
    assert len(server.transport.written()) == 4


async def test_what_is_whole_but_can_wait_goes_with_the_turn(server: Server) -> None:
    await server.hears(request(1))
    [stream] = server.streams
    stream.cork()
    stream.send_data(b"a")
    await asyncio.sleep(0)
    assert server.transport.writes == []
    stream.uncork(at_once=False)
    assert server.transport.writes == []
    await asyncio.sleep(0)
    assert len(server.transport.writes) == 1


async def test_nothing_is_written_while_the_transport_takes_nothing(server: Server) -> None:
    await server.hears(request(1))
    server.protocol.pause_writing()
    server.streams[0].send_data(b"data")
    assert await server.hears(PING_FRAME) == []
    assert server.streams[0].unsent == 4
    server.protocol.resume_writing()
    assert [each.kind for each in await server.turn()] == [PING, DATA]
    assert len(await server.hears(PING_FRAME)) == 1


async def test_no_more_is_kept_than_a_peer_that_reads_nothing_may_ask_for(server: Server) -> None:
    server.protocol.pause_writing()
    await server.hears(PING_FRAME * (3 * MAX_OUT // len(PING_FRAME)))
    assert server.transport.ended
    server.protocol.data_received(PING_FRAME)


async def test_more_than_goes_at_once_goes_in_the_same_turn(server: Server) -> None:
    wide = settings((frames.INITIAL_WINDOW_SIZE, 2**24)) + frame(8, 0, 0, (2**24).to_bytes(4, "big"))
    await server.hears(wide + request(1))
    server.streams[0].send_data(bytes(3 * MAX_OUT))
    assert sum(len(each.payload) for each in await server.turn()) == 3 * MAX_OUT


async def test_a_peer_that_breaks_the_rules_is_told_and_heard_no_more(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyraft_lite.rpc.http2.protocol._LINGER", 0)
    await server.hears(request(1))
    server.protocol.data_received(frame(PING, 0, 1, bytes(8)))
    assert server.transport.ended
    assert goodbye(b"".join(server.transport.writes))[:2] == (1, frames.PROTOCOL_ERROR)
    assert server.streams[0].events == [HeadersCame(REQUEST, False), Lost(None)]
    server.protocol.data_received(request(3) + PING_FRAME)
    assert len(server.streams) == 1
    await server.transport.aborted  # It had its time to close its side.


async def test_a_connection_is_closed_once(server: Server) -> None:
    server.protocol.connection.go_away()
    server.protocol.close()
    server.protocol.close()
    assert [each.kind for each in server.transport.written()] == [GOAWAY]
    assert server.transport.ended
    assert not server.transport.aborted.done()
    assert await server.turn() == []


async def test_a_connection_that_is_closed_before_it_is_made_says_what_it_had_to_say() -> None:
    server = Server()
    server.protocol.connection.go_away()
    server.protocol.close()
    server.protocol.connection_made(server.transport)
    assert server.transport.written()[-1].kind == GOAWAY
    assert server.transport.ended


async def test_a_peer_that_is_gone_when_the_connection_is_closed_does_no_harm(server: Server) -> None:
    server.transport.is_gone = True
    server.protocol.close()
    assert server.transport.ended


async def test_a_transport_that_is_closing_already_is_not_closed_again(server: Server) -> None:
    server.protocol.abort()
    server.protocol.close()
    assert server.transport.aborted.done()
    assert not server.transport.ended


async def test_an_abort_before_there_is_a_connection_does_nothing() -> None:
    server = Server()
    server.protocol.abort()
    assert not server.transport.aborted.done()


@pytest.mark.parametrize(
    ("error", "reason"), [(None, "connection closed"), (ConnectionResetError("by peer"), "connection lost: by peer")]
)
async def test_all_streams_are_lost_with_the_transport(server: Server, error: Exception | None, reason: str) -> None:
    await server.hears(request(1))
    server.streams[0].send_data(b"in vain")
    server.protocol.connection_lost(error)
    assert server.lost == 1
    assert server.streams[0].events[1:] == [Lost(None)]
    assert server.streams[0].reason == reason
    assert await server.turn() == []
