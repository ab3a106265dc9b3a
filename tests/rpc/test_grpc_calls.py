"""Calls on a connection: how they end early, and that several at a time leave each other alone."""

import asyncio

import grpc
import pytest
from echo_service import echoing
from h2_peer import DONE, OK, Http, Script, answer, running

from pyraft_lite.rpc.asyncio_engine import AsyncioEngine
from pyraft_lite.rpc.grpc_connection import GrpcCall, GrpcConnection
from pyraft_lite.rpc.grpc_framing import frame
from pyraft_lite.rpc.http2.client import ClientConnection
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES

CANCEL = 8


@pytest.mark.parametrize(
    "script",
    [
        lambda http, stream: http.send_headers(stream, [(b":status", b"503")]),
        lambda http, stream: (
            http.send_headers(stream, OK),
            http.send_data(stream, frame(b"one", compressed=True)),
        ),
    ],
)
async def test_a_call_that_ends_before_we_have_ended_it_is_reset(script: Script) -> None:
    async with running(script, at_once=True) as peer:
        calls = Calls(peer.address, 1)
        await calls.ends[0]
        assert await peer.resets.get() == (1, CANCEL)
        await calls.close()


async def test_whoever_cancels_a_call_hears_no_more_even_of_what_has_come() -> None:
    script = answer(*OK, data=frame(b"one") + frame(b"two"), trailers=DONE)
    async with running(script, at_once=True) as peer:
        connection = GrpcConnection(peer.address)
        heard: list[bytes] = []
        ended: list[grpc.StatusCode] = []

        def hear(message: bytes) -> None:
            heard.append(message)
            call.cancel()

        call = connection.call("/Echo/Stream", hear, lambda code, _: ended.append(code))
        assert await peer.resets.get() == (1, CANCEL)
        connection.close()
        await connection.closed
        assert (heard, ended) == ([b"one"], [])


class Calls:
    """Calls on one connection, and what they told."""

    def __init__(self, address: str, count: int, method: str = "/test.Echo/Chat") -> None:
        self.connection = GrpcConnection(address)
        self.messages: list[list[bytes]] = [[] for _ in range(count)]
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.ends: list[asyncio.Future[tuple[grpc.StatusCode, str]]] = []
        self.calls = [self._begin(method, messages) for messages in self.messages]

    def _begin(self, method: str, messages: list[bytes]) -> GrpcCall:
        ended: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()
        self.ends.append(ended)

        def hear(message: bytes) -> None:
            messages.append(message)
            self.heard.put_nowait(message)

        return self.connection.call(method, hear, lambda code, details: ended.set_result((code, details)))

    async def close(self) -> None:
        self.connection.close()
        await self.connection.closed


SUCCESS = (grpc.StatusCode.OK, "")


async def test_calls_at_once_do_not_mix() -> None:
    async with echoing(AsyncioEngine()) as (_, address):
        calls = Calls(address, 3)
        sent = [[b"%d of %d" % (each, number) for each in range(50)] for number in range(3)]
        for row in zip(*sent, strict=True):
            for call, message in zip(calls.calls, row, strict=True):
                call.send(message)
        for call in calls.calls:
            call.send(b"last", last=True)
        assert await asyncio.gather(*calls.ends) == [SUCCESS] * 3
        assert calls.messages == [[*each, b"last"] for each in sent]
        await calls.close()


async def test_messages_larger_than_any_window_get_through() -> None:
    async with echoing(AsyncioEngine()) as (_, address):
        calls = Calls(address, 3)
        large = bytes(range(256)) * (MAX_MESSAGE_BYTES // 256)
        for call in calls.calls:
            call.send(large)
            call.send(b"small", last=True)
        assert await asyncio.gather(*calls.ends) == [SUCCESS] * 3
        assert calls.messages == [[large, b"small"]] * 3
        await calls.close()


async def test_a_call_that_is_cancelled_leaves_the_others_alone() -> None:
    async with echoing(AsyncioEngine()) as (service, address):
        calls = Calls(address, 2)
        sleeping = Calls(address, 1, "/test.Echo/Sleep")
        sleeping.calls[0].send(b"", last=True)
        await service.started.wait()
        sleeping.calls[0].cancel()
        calls.calls[0].cancel()
        assert await service.ended == "cancelled"
        calls.calls[1].send(b"goes on", last=True)
        assert await calls.ends[1] == SUCCESS
        assert calls.messages == [[], [b"goes on"]]
        assert not calls.ends[0].done()
        assert not sleeping.ends[0].done()
        await calls.close()
        await sleeping.close()


async def test_a_call_that_the_server_ends_early_sends_no_more() -> None:
    async with echoing(AsyncioEngine()) as (_, address):
        calls = Calls(address, 2, "/test.Echo/StatusAfter")
        calls.calls[0].send(b"one")
        assert await calls.ends[0] == (grpc.StatusCode.DATA_LOSS, "after one")
        calls.calls[0].send(b"in vain", last=True)
        calls.calls[1].send(b"two")
        assert await calls.ends[1] == (grpc.StatusCode.DATA_LOSS, "after one")
        assert calls.messages == [[b"one"], [b"two"]]
        await calls.close()


async def test_a_server_that_goes_away_ends_the_calls_that_it_will_not_answer() -> None:
    numbers: list[int] = []

    def script(http: Http, _: int) -> None:
        numbers.append(2 * len(numbers) + 1)
        if len(numbers) == 3:
            http.send_headers(numbers[0], OK)
            http.send_headers(numbers[0], [(b"grpc-status", b"0")], end_stream=True)
            http.send_headers(numbers[1], OK)
            http.send_data(numbers[1], frame(b"so far"))
            http.close_connection(0, last_stream_id=numbers[1])

    async with running(script, at_once=True) as peer:
        calls = Calls(peer.address, 3)
        assert await calls.ends[0] == SUCCESS
        code, details = await calls.ends[2]
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "going away" in details
        assert not calls.ends[1].done()
        assert calls.messages[1] == [b"so far"]
        await calls.close()
        assert (await calls.ends[1])[0] is grpc.StatusCode.UNAVAILABLE


async def test_all_calls_end_with_their_connection() -> None:
    async with echoing(AsyncioEngine()) as (_, address):
        calls = Calls(address, 3)
        for call in calls.calls:
            call.send(b"request")
            await calls.heard.get()
        await calls.close()
        assert {code for code, _ in await asyncio.gather(*calls.ends)} == {grpc.StatusCode.UNAVAILABLE}


async def test_calls_that_begin_together_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async with echoing(AsyncioEngine()) as (_, address):
        connection = GrpcConnection(address)
        await connection.unary("/test.Echo/Echo", b"first", 30)
        written: list[bytes] = []
        take = ClientConnection.take

        def watch(client: ClientConnection) -> bytes:
            if data := take(client):
                written.append(data)
            return data

        monkeypatch.setattr(ClientConnection, "take", watch)
        monkeypatch.setattr("pyraft_lite.rpc.http2.protocol._SOON", -1.0)
        await asyncio.gather(*(connection.unary("/test.Echo/Echo", b"%d" % each, 30) for each in range(10)))
        assert len(written) == 1
        connection.close()
        await connection.closed
