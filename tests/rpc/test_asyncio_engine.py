"""What our own engine does beyond what all engines do: limits, clients that are slow or silent, and how it stops."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from echo_service import echoing
from h2_client import GRPC, h2_client
from http2_peers import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    RST_STREAM,
    frame,
    goodbye,
    number,
    settings,
)
from peers import listening

from pyraft_lite.rpc import grpc_framing as framing
from pyraft_lite.rpc import shedding
from pyraft_lite.rpc.asyncio_engine import AsyncioEngine
from pyraft_lite.rpc.engine import CallContext, ServerEngine
from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.frames import PREFACE
from pyraft_lite.rpc.http2.headers import encode_literally
from pyraft_lite.rpc.limited import ServiceLimits
from pyraft_lite.rpc.shedding import Shedding
from pyraft_lite.runtime.limit import Limit

ECHO, SLEEP, CHAT, FLOOD = b"/test.Echo/Echo", b"/test.Echo/Sleep", b"/test.Echo/Chat", b"/test.Echo/Flood"
OK = b"0"
RESOURCE_EXHAUSTED = b"8"
UNAVAILABLE = b"14"

LONG = 30.0
WINDOW = 65_535
MESSAGE = 1 << 20


class Service:
    """Whose calls can be held.

    Attributes:
        begun: Gets something for each call to Hold and Stubborn that has begun.
        ended: Gets what ended each of them; and what became of the two halves of a call to Both.
        release: Ends calls to Hold and Stubborn.
        read: What a call to Both has read.
    """

    def __init__(self) -> None:
        self.begun: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.release = asyncio.Event()
        self.read: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def hold(self, request: bytes, context: CallContext) -> bytes:
        self.begun.put_nowait(request)
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.ended.put_nowait("cancelled")
            raise
        self.ended.put_nowait("released")
        return request

    async def stubborn(self, request: bytes, context: CallContext) -> bytes:
        """Does not let itself be cancelled."""
        holding = asyncio.ensure_future(self.hold(request, context))
        while not holding.done():
            try:
                await asyncio.shield(holding)
            except asyncio.CancelledError:
                self.ended.put_nowait("not yet")
        self.ended.put_nowait("let go")
        return holding.result()

    async def both(self, _: AsyncIterator[bytes], context: CallContext) -> None:
        """Reads in one task while another writes."""

        async def read() -> None:
            try:
                self.read.set_result(await context.read())
            except asyncio.CancelledError:
                self.ended.put_nowait("reading")
                raise

        reading = asyncio.create_task(read())
        try:
            await context.write(bytes(MESSAGE))
        except asyncio.CancelledError:
            self.ended.put_nowait("writing")
            raise
        await reading
        await context.write(b"behind both")


@asynccontextmanager
async def serving(engine: ServerEngine) -> AsyncIterator[tuple[Service, str]]:
    service = Service()
    handlers = {
        "Hold": grpc.unary_unary_rpc_method_handler(service.hold),
        "Stubborn": grpc.unary_unary_rpc_method_handler(service.stubborn),
        "Both": grpc.stream_stream_rpc_method_handler(service.both),
    }
    engine.add_registered_method_handlers("test.Held", handlers)
    async with listening(engine) as address:
        yield service, address


HOLD, STUBBORN, BOTH = b"/test.Held/Hold", b"/test.Held/Stubborn", b"/test.Held/Both"


class Raw:
    """A connection that sends bytes as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, *parts: bytes) -> None:
        """All in one write."""
        self._writer.write(b"".join(parts))

    async def settle(self) -> None:
        """Waits until the server has seen all that was sent."""
        self.send(frame(PING, 0, 0, b"all seen"))
        await self.until(frame(PING, ACK, 0, b"all seen"))

    async def until(self, answer: bytes) -> None:
        """Waits until the server has sent that."""
        await self._reader.readuntil(answer)

    async def rest(self) -> bytes:
        """All that comes until the server closes its side."""
        return await self._reader.read()

    async def broken(self, flood: bytes) -> None:
        """Sends and sends, and reads nothing, until the server has broken the connection, or for long."""
        for _ in range(1024):
            self._writer.write(flood)
            await self._writer.drain()


@asynccontextmanager
async def raw_client(address: str) -> AsyncIterator[Raw]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 12)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()


def request(stream: int, path: bytes) -> bytes:
    pseudo = tuple(each for each in GRPC.items() if each[0].startswith(b":"))
    rest = tuple(each for each in GRPC.items() if not each[0].startswith(b":"))
    return frame(HEADERS, END_HEADERS, stream, encode_literally((*pseudo, (b":path", path), *rest)))


# -- requests ---------------------------------------------------------------------------------------------------------


async def test_an_authority_may_name_several_addresses() -> None:
    async with echoing(AsyncioEngine()) as (_, address), h2_client(address) as client:
        answer = await client.request(ECHO, [framing.frame(b"x")], {b":authority": b"a:1,b:2"})
        assert (answer.status, answer.body) == (OK, framing.frame(b"x"))


@pytest.mark.parametrize(
    "name",
    [
        b"Upper",
        b"with space",
        b"with:colon",
        b"null\0",
        b"new\nline",
        b"caf\xc3\xa9",
        b"\x7f",
        b":status",
        b":unknown",
        b":",
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"transfer-encoding",
        b"upgrade",
    ],
)
async def test_a_header_of_a_name_that_none_can_have_ends_its_stream_alone(name: bytes) -> None:
    async with echoing(AsyncioEngine()) as (_, address), h2_client(address) as client:
        for _ in range(2):
            answer = await client.request(ECHO, [framing.frame(b"x")], {name: b"value"})
            assert answer.reset == frames.PROTOCOL_ERROR
            assert (await client.request(ECHO, [framing.frame(b"x")])).status == OK


async def test_any_other_name_is_taken() -> None:
    async with echoing(AsyncioEngine()) as (service, address), h2_client(address) as client:
        for _ in range(2):
            answer = await client.request(ECHO, [framing.frame(b"x")], {b"!#$%&'*+-.^_`|~09az": b"value"})
            assert answer.status == OK
            assert ("!#$%&'*+-.^_`|~09az", "value") in service.seen


@pytest.mark.parametrize("missing", [b":method", b":path"])
@pytest.mark.parametrize("value", [None, b""])
async def test_a_request_without_a_method_or_path_ends_its_stream_alone(missing: bytes, value: bytes | None) -> None:
    async with echoing(AsyncioEngine()) as (_, address), h2_client(address) as client:
        answer = await client.request(ECHO, [framing.frame(b"x")], {missing: value})
        assert answer.reset == frames.PROTOCOL_ERROR
        assert (await client.request(ECHO, [framing.frame(b"x")])).status == OK


# -- limits -----------------------------------------------------------------------------------------------------------


async def test_calls_whose_streams_were_reset_count_until_they_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyraft_lite.rpc.asyncio_engine.MAX_STREAMS", 3)
    async with serving(AsyncioEngine()) as (service, address), h2_client(address) as client:
        for _ in range(3):
            stream = client.begin(STUBBORN)
            await client.send(stream, framing.frame(b"x"), end=True)
            await service.begun.get()
            client.reset(stream)
            assert await service.ended.get() == "not yet"
        for _ in range(2):
            assert (await client.request(HOLD, [framing.frame(b"x")])).reset == frames.REFUSED_STREAM
        assert service.begun.empty()
        async with h2_client(address) as other:  # Each connection counts its own.
            service.release.set()
            assert (await other.request(HOLD, [framing.frame(b"x")])).status == OK
        assert Counter([await service.ended.get() for _ in range(7)]) == {"released": 4, "let go": 3}
        assert (await client.request(HOLD, [framing.frame(b"x")])).status == OK


async def test_a_call_that_is_reset_before_its_first_step_leaves_its_limit() -> None:
    engine, calls = AsyncioEngine(), Limit("calls", 2)
    engine.limit_service("test.Held", ServiceLimits(calls, Limit("streams", 2)))
    async with serving(engine) as (service, address), raw_client(address) as raw, h2_client(address) as client:
        raw.send(PREFACE, settings())
        for first in (1, 5, 9):
            pair = [request(first, HOLD), request(first + 2, HOLD)]
            raw.send(*(part + frame(RST_STREAM, 0, first + 2 * each, number(8)) for each, part in enumerate(pair)))
            await raw.settle()
            assert calls.count == 0
        service.release.set()
        assert (await client.request(HOLD, [framing.frame(b"sound")])).status == OK
        assert await service.begun.get() == b"sound"
        assert service.begun.empty()


async def test_calls_leave_their_limits_when_their_connection_is_gone() -> None:
    engine, calls = AsyncioEngine(), Limit("calls", 2)
    engine.limit_service("test.Held", ServiceLimits(calls, Limit("streams", 2)))
    async with serving(engine) as (service, address), h2_client(address) as client:
        async with h2_client(address) as gone:
            for _ in range(2):
                await gone.send(gone.begin(HOLD), framing.frame(b"x"), end=True)
                await service.begun.get()
            gone.drop()
        assert [await service.ended.get() for _ in range(2)] == ["cancelled"] * 2
        service.release.set()
        assert (await client.request(HOLD, [framing.frame(b"x")])).status == OK


# -- clients that are slow, silent or loud ----------------------------------------------------------------------------


MOST_REFUSED = 32


@pytest.fixture
def held_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are held after few refusals."""
    monkeypatch.setattr(shedding, "MOST_REFUSED", MOST_REFUSED)


@asynccontextmanager
async def overloaded(engine: AsyncioEngine) -> AsyncIterator[tuple[Callable[[], Awaitable[None]], str]]:
    """An engine that takes no more calls of a service until one has been released, and its address."""
    engine.limit_service("test.Held", ServiceLimits(Limit("calls", 1), Limit("streams", 1)))
    async with serving(engine) as (service, address), h2_client(address) as holder:
        held = holder.begin(HOLD)
        await holder.send(held, framing.frame(b"x"), end=True)
        await service.begun.get()

        async def release() -> None:
            service.release.set()
            assert (await holder.answer(held)).status == OK

        yield release, address


@pytest.mark.usefixtures("held_soon")
async def test_a_turn_of_the_loop_refuses_only_so_many_calls_and_in_the_end_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused, loop, each_turn = Shedding.refused, asyncio.get_running_loop(), [0]

    def counted(*arguments: Any) -> None:
        each_turn[-1] += 1
        refused(*arguments)

    def turn() -> None:
        each_turn.append(0)
        loop.call_soon(turn)

    monkeypatch.setattr(Shedding, "refused", counted)
    async with overloaded(AsyncioEngine()) as (_, address), h2_client(address) as one, h2_client(address) as other:
        loop.call_soon(turn)
        asked = [(client, client.begin(HOLD, end=True)) for client in (one, other) for _ in range(500)]
        for client, stream in asked:
            assert (await client.answer(stream)).status == RESOURCE_EXHAUSTED
    assert sum(each_turn) == len(asked)
    assert max(each_turn) <= MOST_REFUSED + 2, "and one of each connection before it is held"


@pytest.mark.usefixtures("held_soon")
async def test_who_is_held_up_is_heard_again_and_may_leave(caplog: pytest.LogCaptureFixture) -> None:
    async with overloaded(AsyncioEngine()) as (release, address), h2_client(address) as client:
        asked = [client.begin(HOLD, end=True) for _ in range(500)]
        async with h2_client(address) as gone:
            first, *_ = [gone.begin(HOLD, end=True) for _ in range(500)]
            await gone.answer(first)
            gone.drop()
        for stream in asked:
            assert (await client.answer(stream)).status == RESOURCE_EXHAUSTED
        await release()
        # What the one that left has asked for may still have its turn.
        while (answer := await client.request(HOLD, [framing.frame(b"x")])).status == RESOURCE_EXHAUSTED:
            pass
        assert answer.status == OK
    assert not caplog.records


@pytest.mark.usefixtures("held_soon")
async def test_an_engine_stops_though_connections_are_held_up() -> None:
    engine = AsyncioEngine(LONG)
    async with overloaded(engine) as (release, address), h2_client(address) as client:
        asked = [client.begin(HOLD, end=True) for _ in range(500)]
        assert (await client.answer(asked[0])).status == RESOURCE_EXHAUSTED
        await release()
        await engine.stop()


async def test_a_servicer_waits_while_its_client_is_slow_and_goes_on_when_there_is_room() -> None:
    async with echoing(AsyncioEngine()) as (service, address), h2_client(address, window=WINDOW) as client:
        stream = client.begin(FLOOD)
        await client.send(stream, framing.frame(b"8"), end=True)
        answer = client.so_far(stream)

        def has_ended_and_was_never_far_ahead() -> bool:
            assert service.written * MESSAGE <= len(answer.body) + WINDOW + (64 << 10)
            return answer.ended

        await client.until(has_ended_and_was_never_far_ahead)
        assert service.written == 8
        assert answer.body == framing.frame(bytes(MESSAGE)) * 8
        assert answer.status == OK


async def test_a_task_that_reads_while_another_writes_does_not_keep_it_from_going_on() -> None:
    async with serving(AsyncioEngine()) as (service, address), h2_client(address, window=WINDOW) as client:
        stream = client.begin(BOTH)
        answer = client.so_far(stream)
        await client.until(lambda: bool(answer.body))
        await client.send(stream, framing.frame(b"request"), end=True)
        assert await service.read == b"request"
        assert len(answer.body) < MESSAGE
        assert not answer.ended
        await client.answer(stream)
        assert answer.body == framing.frame(bytes(MESSAGE)) + framing.frame(b"behind both")
        assert answer.status == OK


@pytest.mark.parametrize("reset", [True, False])
async def test_a_client_that_goes_away_ends_both_a_task_that_reads_and_one_that_writes(reset: bool) -> None:
    async with serving(AsyncioEngine()) as (service, address), h2_client(address, window=WINDOW) as client:
        stream = client.begin(BOTH)
        await client.until(lambda: bool(client.so_far(stream).body))
        if reset:
            client.reset(stream)
        else:
            client.drop()
        assert {await service.ended.get() for _ in range(2)} == {"reading", "writing"}


@pytest.mark.parametrize("said", [b"", PREFACE[:9], PREFACE, PREFACE + settings()[:8]], ids=len)
async def test_a_client_that_does_not_speak_is_disconnected(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyraft_lite.rpc.asyncio_engine._FIRST_WORD", 0.05)
    async with echoing(AsyncioEngine()) as (_, address), h2_client(address) as client:
        assert (await client.request(ECHO, [framing.frame(b"x")])).status == OK
        async with raw_client(address) as silent:  # It came later, so its time is up later, too.
            silent.send(said)
            await silent.rest()
        assert (await client.request(ECHO, [framing.frame(b"x")])).status == OK


async def test_a_client_that_speaks_something_else_is_told_so() -> None:
    async with echoing(AsyncioEngine()) as (_, address), raw_client(address) as raw:
        raw.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", bytes(1 << 20))
        last, code, reason = goodbye(await raw.rest())
        assert (last, code) == (0, frames.PROTOCOL_ERROR)
        assert b"does not speak HTTP/2" in reason


async def test_a_client_that_breaks_the_rules_has_its_calls_ended_and_is_told_so() -> None:
    async with serving(AsyncioEngine()) as (service, address), raw_client(address) as raw:
        raw.send(PREFACE, settings(), request(5, HOLD), frame(DATA, END_STREAM, 5, framing.frame(b"x")))
        await service.begun.get()
        raw.send(frame(PING, 0, 1, bytes(8)), request(7, HOLD))
        assert goodbye(await raw.rest())[:2] == (5, frames.PROTOCOL_ERROR)
        assert await service.ended.get() == "cancelled"
        assert service.begun.empty()


async def test_a_client_that_asks_and_asks_and_reads_nothing_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyraft_lite.rpc.http2.protocol._LINGER", 0)
    async with echoing(AsyncioEngine()) as (_, address), raw_client(address) as raw:
        raw.send(PREFACE, settings())
        with pytest.raises(ConnectionError):
            await raw.broken(frame(PING, 0, 0, bytes(8)) * 4096)


# -- how it stops -----------------------------------------------------------------------------------------------------


async def test_a_stopping_engine_ends_calls_with_unavailable() -> None:
    engine = AsyncioEngine()
    async with echoing(engine) as (service, address), h2_client(address) as client, h2_client(address) as other:
        chat = client.begin(CHAT)
        await client.send(chat, framing.frame(b"before"))
        await client.until(lambda: client.so_far(chat).body == framing.frame(b"before"))
        sleeping = other.begin(SLEEP)
        await other.send(sleeping, framing.frame(b"x"), end=True)
        await service.started.wait()
        stopping = asyncio.create_task(engine.stop())
        for each, stream in ((client, chat), (other, sleeping)):
            answer = await each.answer(stream)
            assert (answer.status, answer.message) == (UNAVAILABLE, b"the server is stopping")
        await stopping
        assert await service.ended == "cancelled"


async def test_a_client_that_does_not_leave_when_told_is_disconnected(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pyraft_lite.rpc.http2.protocol._LINGER", 0)
    engine = AsyncioEngine(LONG)
    async with echoing(engine) as (_, address), raw_client(address) as raw:
        raw.send(PREFACE, settings())
        await raw.settle()
        await engine.stop()
        assert not caplog.records  # Nothing was given up on.


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("turns", range(5))
async def test_a_client_that_connects_while_the_engine_stops_is_sent_away_or_never_taken(
    turns: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pyraft_lite.rpc.http2.protocol._LINGER", 0)
    monkeypatch.setattr("pyraft_lite.rpc.asyncio_engine._FIRST_WORD", 10 * LONG)
    engine = AsyncioEngine(LONG)
    port = await engine.start("127.0.0.1:0")
    late = socket.create_connection(("127.0.0.1", port))
    for _ in range(turns):  # The loop takes some to make a connection of what it has accepted.
        await asyncio.sleep(0)
    await engine.stop()
    reader, writer = await asyncio.open_connection(sock=late)
    try:
        sent = await reader.read()
    except ConnectionResetError:
        sent = b""
    writer.close()
    assert not sent or goodbye(sent)[:2] == (0, frames.NO_ERROR)
    assert not caplog.records  # Nothing was given up on.


async def test_a_connection_is_closed_as_soon_as_the_last_call_on_it_has_ended() -> None:
    engine = AsyncioEngine(LONG)
    async with serving(engine) as (service, address), h2_client(address) as client:
        streams = [client.begin(HOLD) for _ in range(2)]
        for stream in streams:
            await client.send(stream, framing.frame(b"x"), end=True)
            await service.begun.get()
        stopping = asyncio.create_task(engine.stop())
        await client.until(lambda: client.last_stream is not None)
        service.release.set()
        for stream in streams:
            assert (await client.answer(stream)).status == OK
        with pytest.raises(ConnectionError, match="closed"):
            await client.until(lambda: False)
        await stopping


async def test_a_stopping_engine_waits_for_answers_that_a_slow_client_has_not_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = AsyncioEngine(LONG)
    async with echoing(engine) as (_, address):
        async with h2_client(address, window=WINDOW) as client:
            stream = client.begin(ECHO)
            await client.send(stream, framing.frame(bytes(MESSAGE)), end=True)
            await client.until(lambda: bool(client.so_far(stream).body))
            stopping = asyncio.create_task(engine.stop())
            answer = await client.answer(stream)
            assert (answer.status, answer.body) == (OK, framing.frame(bytes(MESSAGE)))
            with pytest.raises(ConnectionError, match="closed"):
                await client.until(lambda: False)
        await stopping
        assert not caplog.records


async def test_a_stopping_engine_waits_for_calls_whose_streams_were_reset_too() -> None:
    engine, calls = AsyncioEngine(LONG), Limit("calls", 2)
    engine.limit_service("test.Held", ServiceLimits(calls, Limit("streams", 2)))
    async with serving(engine) as (service, address), raw_client(address) as raw:
        raw.send(PREFACE, settings(), request(1, STUBBORN), frame(DATA, END_STREAM, 1, framing.frame(b"x")))
        await service.begun.get()
        raw.send(frame(RST_STREAM, 0, 1, number(frames.CANCEL)))
        assert await service.ended.get() == "not yet"
        stopping = asyncio.create_task(engine.stop())
        await raw.until(frame(frames.GOAWAY, 0, 0, number(1) + number(frames.NO_ERROR)))
        await raw.settle()  # It is there, though it takes no more calls.
        assert calls.count == 1
        service.release.set()
        assert await raw.rest() == b""
        assert calls.count == 0
    await stopping
