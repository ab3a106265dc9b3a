"""A service that does what gRPC's interoperability tests ask of theirs; its messages are plain bytes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from peers import listening

from pyraft_lite.rpc.engine import CallContext, ServerEngine

INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
"""Metadata that comes back before and behind the responses."""


class EchoService:
    """The servicer; says what became of its calls.

    Attributes:
        started: Set when a call to Sleep has begun.
        ended: What ended a call to Sleep.
        written: How many messages of Flood the engine has taken.
    """

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.release = asyncio.Event()
        self.written = 0
        self.seen: list[tuple[str, str | bytes]] = []
        self.time_remaining: float | None = None

    # -- one request, one response --

    async def echo(self, request: bytes, context: CallContext) -> bytes:
        await self._echo_metadata(context)
        self.time_remaining = context.time_remaining()
        return request

    async def compressed(self, request: bytes, context: CallContext) -> bytes:
        context.set_compression(grpc.Compression.Gzip)
        await context.send_initial_metadata(())  # Without it grpcio does not compress a single response.
        if request.startswith(b"plain"):
            context.disable_next_message_compression()
        return request

    async def status(self, request: bytes, context: CallContext) -> bytes:
        code, _, details = request.decode().partition(" ")
        context.set_code(grpc.StatusCode[code])
        context.set_details(details)
        return b"a response"

    async def abort(self, request: bytes, context: CallContext) -> bytes:
        code, _, details = request.decode().partition(" ")
        await context.abort(grpc.StatusCode[code], details, (("why", "because"),))

    async def swallow(self, request: bytes, context: CallContext) -> bytes:
        try:
            await context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        except grpc.aio.AbortError:
            return b"a response"

    async def fail(self, request: bytes, context: CallContext) -> bytes:
        raise ValueError("wrong: " + request.decode())

    def unimplemented(self, request: bytes, context: CallContext) -> bytes:
        """What the generated code has for a method that a servicer lacks."""
        context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        context.set_details("Method not implemented!")
        raise NotImplementedError("Method not implemented!")

    async def sleep(self, request: bytes, context: CallContext) -> bytes:
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.ended.set_result("cancelled")
            raise
        self.ended.set_result("released")
        return request

    async def ignore_cancellation(self, request: bytes, context: CallContext) -> bytes:
        self.started.set()
        while not self.release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.release.wait()
        self.ended.set_result("released")
        return request

    # -- streams --

    async def collect(self, requests: AsyncIterator[bytes], context: CallContext) -> bytes:
        return b"%d" % sum([len(each) async for each in requests])

    async def send(self, request: bytes, context: CallContext) -> AsyncIterator[bytes]:
        await self._echo_metadata(context)
        for size in request.split():
            yield bytes(int(size)) if size.isdigit() else size

    async def write(self, request: bytes, context: CallContext) -> None:
        for size in request.split():
            await context.write(bytes(int(size)))

    async def chat(self, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        await self._echo_metadata(context)
        async for request in requests:
            yield request

    async def read_and_write(self, _: AsyncIterator[bytes], context: CallContext) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            await context.write(request)

    async def chat_compressed(self, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        context.set_compression(grpc.Compression.Gzip)
        async for request in requests:
            if request.startswith(b"plain"):
                context.disable_next_message_compression()
            yield request

    async def status_after(self, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request
            await context.abort(grpc.StatusCode.DATA_LOSS, "after one")

    async def chat_status(self, _: AsyncIterator[bytes], context: CallContext) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            await self.status(request, context)

    async def sleep_between(self, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        self.started.set()
        try:
            async for request in requests:
                yield request
                await asyncio.Event().wait()
        finally:
            self.ended.set_result("cancelled")

    async def flood(self, request: bytes, context: CallContext) -> AsyncIterator[bytes]:
        for _ in range(int(request)):
            yield bytes(1 << 20)
            self.written += 1

    async def ignore(self, requests: AsyncIterator[bytes], context: CallContext) -> bytes:
        await self.release.wait()
        return b""

    # -- inside --

    async def _echo_metadata(self, context: CallContext) -> None:
        self.seen = list(context.invocation_metadata() or ())
        metadata = dict(self.seen)
        if INITIAL in metadata:
            await context.send_initial_metadata(((INITIAL, metadata[INITIAL]),))
        if TRAILING in metadata:
            context.set_trailing_metadata(((TRAILING, metadata[TRAILING]),))


def add_echo_service(service: EchoService, engine: ServerEngine) -> None:
    """As the generated code would, had it been generated."""
    unary_unary, stream_stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
    handlers = {
        **{
            name: unary_unary(getattr(service, name.lower()))
            for name in ("Echo", "Compressed", "Status", "Abort", "Swallow", "Fail", "Unimplemented", "Sleep")
        },
        "IgnoreCancellation": unary_unary(service.ignore_cancellation),
        "Collect": grpc.stream_unary_rpc_method_handler(service.collect),
        "Ignore": grpc.stream_unary_rpc_method_handler(service.ignore),
        "Send": grpc.unary_stream_rpc_method_handler(service.send),
        "Write": grpc.unary_stream_rpc_method_handler(service.write),
        "Flood": grpc.unary_stream_rpc_method_handler(service.flood),
        "Chat": stream_stream(service.chat),
        "ReadAndWrite": stream_stream(service.read_and_write),
        "ChatCompressed": stream_stream(service.chat_compressed),
        "ChatStatus": stream_stream(service.chat_status),
        "StatusAfter": stream_stream(service.status_after),
        "SleepBetween": stream_stream(service.sleep_between),
    }
    engine.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    engine.add_registered_method_handlers("test.Echo", handlers)


@asynccontextmanager
async def echoing(engine: ServerEngine) -> AsyncIterator[tuple[EchoService, str]]:
    """Serves EchoService; yields it and the address."""
    service = EchoService()
    add_echo_service(service, engine)
    async with listening(engine) as address:
        yield service, address
