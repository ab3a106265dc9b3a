"""How an engine stops: it says that it goes away, lets what is under way end, and turns all else away at once."""

import asyncio

import grpc
import pytest
from echo_service import echoing
from h2_client import H2Client, h2_client

from pyraft_lite.rpc.client import RETRIED
from pyraft_lite.rpc.engine import available_engines, new_engine
from pyraft_lite.rpc.grpc_framing import frame

ECHO, CHAT, SLEEP = b"/test.Echo/Echo", b"/test.Echo/Chat", b"/test.Echo/Sleep"
OK = b"0"

LONG = 30.0
SHORT = 0.1

pytestmark = pytest.mark.parametrize("name", available_engines())


async def begin(client: H2Client, path: bytes, message: bytes, *, end: bool) -> int:
    """Begins a call; returns its stream."""
    stream = client.begin(path)
    await client.send(stream, frame(message), end=end)
    return stream


async def test_a_call_and_a_stream_under_way_go_on_to_their_ends(name: str) -> None:
    engine = new_engine(name, grace=LONG)
    async with echoing(engine) as (service, address), h2_client(address) as client:
        chat = await begin(client, CHAT, b"before", end=False)
        await client.until(lambda: client.so_far(chat).body == frame(b"before"))
        sleeping = await begin(client, SLEEP, b"in time", end=True)
        await service.started.wait()
        stopping = asyncio.create_task(engine.stop())
        await client.until(lambda: client.last_stream is not None)
        await client.send(chat, frame(b"after"))
        await client.until(lambda: client.so_far(chat).body == frame(b"before") + frame(b"after"))
        await client.send(chat, b"", end=True)
        assert (await client.answer(chat)).status == OK
        assert not stopping.done()
        service.release.set()
        answer = await client.answer(sleeping)
        assert (answer.status, answer.body) == (OK, frame(b"in time"))
        await stopping


async def test_what_goes_on_after_the_grace_is_ended_and_does_not_look_like_success(name: str) -> None:
    engine = new_engine(name, grace=SHORT)
    async with echoing(engine) as (service, address), h2_client(address) as client:
        chat = await begin(client, CHAT, b"before", end=False)
        sleeping = await begin(client, SLEEP, b"too long", end=True)
        await service.started.wait()
        stopping = asyncio.create_task(engine.stop())
        for stream in (chat, sleeping):
            try:
                assert (await client.answer(stream)).status != OK
            except ConnectionError:  # That the connection is closed tells the client as well.
                break
        await stopping
        assert await service.ended == "cancelled"


async def test_a_client_without_calls_is_told_and_disconnected(name: str) -> None:
    engine = new_engine(name, grace=LONG)
    async with echoing(engine) as (_, address), h2_client(address) as client:
        await client.request(ECHO, [frame(b"")])
        stopping = asyncio.create_task(engine.stop())
        with pytest.raises(ConnectionError, match="closed the connection"):
            await client.until(lambda: False)
        assert client.last_stream is not None
        await stopping


async def test_a_call_that_comes_while_the_engine_stops_is_not_left_without_a_word(name: str) -> None:
    engine = new_engine(name, grace=LONG)
    async with echoing(engine) as (service, address), h2_client(address) as client:
        sleeping = await begin(client, SLEEP, b"in time", end=True)
        await service.started.wait()
        stopping = asyncio.create_task(engine.stop())
        await client.until(lambda: client.last_stream is not None)
        late = await begin(client, ECHO, b"late", end=True)
        # Either it has an answer, which is no success, or the client knows that it will have none.
        await client.until(lambda: client.so_far(late).ended or late > (client.last_stream or 0))
        assert client.so_far(late).status != OK
        service.release.set()
        assert (await client.answer(sleeping)).status == OK
        await stopping


async def test_calls_that_race_with_the_stop_succeed_or_are_told_to_go_elsewhere(name: str) -> None:
    engine = new_engine(name, grace=LONG)
    async with echoing(engine) as (_, address), grpc.aio.insecure_channel(address) as channel:
        echo = channel.unary_unary("/test.Echo/Echo")
        stopped = asyncio.Event()

        async def call_on() -> grpc.StatusCode:
            while (code := await echo(b"x").code()) is grpc.StatusCode.OK:
                pass
            assert stopped.is_set()
            return code

        callers = [asyncio.create_task(call_on()) for _ in range(20)]
        await echo(b"x")
        stopped.set()
        await engine.stop()
        assert set(await asyncio.gather(*callers)) <= set(RETRIED)


# -- as grpcio's client sees it ---------------------------------------------------------------------------------------


async def test_a_call_under_way_may_end_within_the_grace(name: str) -> None:
    engine = new_engine(name, grace=30)
    async with echoing(engine) as (service, address), grpc.aio.insecure_channel(address) as channel:
        call = asyncio.ensure_future(channel.unary_unary("/test.Echo/Sleep")(b"in time"))
        await service.started.wait()
        stopping = asyncio.create_task(engine.stop())
        await asyncio.sleep(0)
        # No more calls, neither on this connection nor on a new one.
        async with grpc.aio.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),)) as other:
            for each in (channel, other):
                while (code := await each.unary_unary("/test.Echo/Echo")(b"").code()) is grpc.StatusCode.OK:
                    pass
                assert code in RETRIED
        service.release.set()
        assert await call == b"in time"
        await stopping


async def test_what_does_not_end_within_the_grace_is_cancelled(name: str) -> None:
    engine = new_engine(name)
    async with echoing(engine) as (service, address), grpc.aio.insecure_channel(address) as channel:
        call = asyncio.ensure_future(channel.unary_unary("/test.Echo/Sleep")(b""))
        await service.started.wait()
        await engine.stop()
        assert await service.ended == "cancelled"
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call


async def test_a_call_that_does_not_let_itself_be_cancelled_does_not_keep_the_engine_from_stopping(name: str) -> None:
    engine = new_engine(name, grace=0.1)
    async with echoing(engine) as (service, address), grpc.aio.insecure_channel(address) as channel:
        call = asyncio.ensure_future(channel.unary_unary("/test.Echo/IgnoreCancellation")(b""))
        await service.started.wait()
        await engine.stop()
        assert not service.ended.done()
        service.release.set()
        assert await service.ended == "released"
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call
        # h2corn 2.0 spins for ever if the event loop is closed before it has noticed that the call has ended.
        if left := [
            task for task in asyncio.all_tasks() if "h2corn" in repr(task) and task is not asyncio.current_task()
        ]:
            await asyncio.wait(left)
