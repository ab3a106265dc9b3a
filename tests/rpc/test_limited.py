"""What an engine refuses of a service that has as much under way as it may."""

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from peers import listening

from pyraft_lite.rpc.engine import CallContext, ServerEngine, available_engines, new_engine
from pyraft_lite.rpc.limited import ServiceLimits
from pyraft_lite.runtime.limit import Limit

CALLS, STREAMS = 3, 2
CALLS_FULL = f"overloaded: the limit of {CALLS} calls under way is reached"
STREAMS_FULL = f"overloaded: the limit of {STREAMS} streams under way is reached"


class Service:
    """Every call waits until :attr:`go` is set; ``Fail`` then fails."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.ended: asyncio.Queue[str] = asyncio.Queue()

    async def unary_unary(self, request: bytes, context: CallContext) -> bytes:
        self.begun.put_nowait("unary_unary")
        try:
            await self.go.wait()
        finally:
            self.ended.put_nowait("unary_unary")
        return request

    async def fail(self, request: bytes, context: CallContext) -> bytes:
        await self.unary_unary(request, context)
        raise ValueError("as told")

    async def unary_stream(self, request: bytes, context: CallContext) -> AsyncIterator[bytes]:
        yield await self.unary_unary(request, context)

    async def stream_unary(self, requests: AsyncIterator[bytes], context: CallContext) -> bytes:
        return await self.unary_unary(b"".join([request async for request in requests]), context)

    async def stream_stream(self, requests: AsyncIterator[bytes], context: CallContext) -> None:
        """Writes by itself, which is the other way to answer with a stream."""
        await context.write(await self.unary_unary(b"".join([request async for request in requests]), context))

    def handlers(self) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary_unary),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "UnaryStream": grpc.unary_stream_rpc_method_handler(self.unary_stream),
            "StreamUnary": grpc.stream_unary_rpc_method_handler(self.stream_unary),
            "StreamStream": grpc.stream_stream_rpc_method_handler(self.stream_stream),
        }


def registered(engine: ServerEngine, name: str, service: Service) -> None:
    engine.add_registered_method_handlers(name, service.handlers())


def generic(engine: ServerEngine, name: str, service: Service) -> None:
    engine.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, service.handlers())])


@pytest.fixture(params=available_engines())
def engine(request: pytest.FixtureRequest) -> ServerEngine:
    engine = new_engine(request.param)
    engine.limit_service("Limited", ServiceLimits(Limit("calls", CALLS), Limit("streams", STREAMS)))
    return engine


both_ways = pytest.mark.parametrize("add", [registered, generic])


def call(channel: grpc.aio.Channel, method: str, service: str = "Limited") -> "asyncio.Future[bytes | list[bytes]]":
    """Calls a method, of any kind."""

    async def requests() -> AsyncIterator[bytes]:
        yield b"request"

    async def answered() -> bytes | list[bytes]:
        path = f"/{service}/{method}"
        match method:
            case "UnaryStream":
                return [response async for response in channel.unary_stream(path)(b"request")]
            case "StreamUnary":
                return await channel.stream_unary(path)(requests())
            case "StreamStream":
                return [response async for response in channel.stream_stream(path)(requests())]
        return await channel.unary_unary(path)(b"request")

    return asyncio.ensure_future(answered())


async def refused(channel: grpc.aio.Channel, method: str, details: str) -> None:
    path = f"/Limited/{method}"
    match method:  # Nothing is written to a stream: grpc.aio's client says INTERNAL if it writes to one that has ended.
        case "UnaryStream":
            refused = channel.unary_stream(path)(b"request")
        case "StreamUnary":
            refused = channel.stream_unary(path)()
        case "StreamStream":
            refused = channel.stream_stream(path)()
        case _:
            refused = channel.unary_unary(path)(b"request")
    assert (await refused.code(), await refused.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, details)


@both_ways
async def test_calls_and_streams_are_refused_beyond_their_limits_and_taken_again_when_there_is_room(
    engine: ServerEngine, add: Callable[[ServerEngine, str, Service], None]
) -> None:
    limited, other = Service(), Service()
    add(engine, "Limited", limited)
    add(engine, "Other", other)
    async with listening(engine) as address, grpc.aio.insecure_channel(address) as channel:
        for streams in (("UnaryStream", "StreamUnary"), ("StreamStream", "StreamStream")):
            limited.go.clear()
            calls = [call(channel, method) for method in ("Unary", "Unary", "Fail")]
            streaming = [call(channel, method) for method in streams]
            for _ in range(CALLS + STREAMS):
                await limited.begun.get()
            await refused(channel, "Unary", CALLS_FULL)
            for method in ("UnaryStream", "StreamUnary", "StreamStream"):
                await refused(channel, method, STREAMS_FULL)
            assert limited.begun.empty()
            other.go.set()
            assert await call(channel, "Unary", "Other") == b"request"
            limited.go.set()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert outcomes[:2] == [b"request"] * 2
            assert isinstance(outcomes[2], grpc.aio.AioRpcError)
            assert all(answer in (b"request", [b"request"]) for answer in await asyncio.gather(*streaming))


@pytest.mark.skipif("h2corn" not in available_engines(), reason="h2corn is not installed")
async def test_h2corn_refuses_by_itself_what_is_far_beyond_all_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyraft_lite.rpc.h2corn_engine._ROOM", 2)
    engine, other = new_engine("h2corn"), Service()
    engine.limit_service("Limited", ServiceLimits(Limit("calls", CALLS), Limit("streams", STREAMS)))
    registered(engine, "Other", other)
    async with listening(engine) as address, grpc.aio.insecure_channel(address) as channel:
        calls = [call(channel, "Unary", "Other") for _ in range(CALLS + STREAMS + 2)]
        for _ in calls:
            await other.begun.get()
        beyond = channel.unary_unary("/Other/Unary")(b"request")
        assert await beyond.code() is grpc.StatusCode.UNAVAILABLE
        other.go.set()
        assert await asyncio.gather(*calls) == [b"request"] * len(calls)
        assert await call(channel, "Unary", "Other") == b"request"


@both_ways
async def test_a_client_that_goes_away_makes_room(
    engine: ServerEngine, add: Callable[[ServerEngine, str, Service], None]
) -> None:
    service = Service()
    add(engine, "Limited", service)
    async with listening(engine) as address, grpc.aio.insecure_channel(address) as channel:
        for _ in range(2):
            gone = [call(channel, method) for method in ("Unary",) * CALLS + ("UnaryStream",) * STREAMS]
            for _ in gone:
                await service.begun.get()
            for each in gone:
                each.cancel()
            for _ in gone:
                await service.ended.get()
        service.go.set()
        assert await asyncio.gather(*(call(channel, "Unary") for _ in range(CALLS))) == [b"request"] * CALLS


async def test_a_service_without_limits_has_none(engine: ServerEngine) -> None:
    service = Service()
    registered(engine, "Other", service)
    async with listening(engine) as address, grpc.aio.insecure_channel(address) as channel:
        calls = [call(channel, "Unary", "Other") for _ in range(CALLS * 10)]
        for _ in calls:
            await service.begun.get()
        service.go.set()
        assert await asyncio.gather(*calls) == [b"request"] * len(calls)
