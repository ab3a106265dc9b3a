"""One incoming stream of appends: read ahead, answered in order."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast

from pyraft_lite.core.messages import AppendEntriesResponse, Response
from pyraft_lite.rpc import wire
from pyraft_lite.rpc.pb import raft_transport_pb2 as pb
from pyraft_lite.runtime.transport import RpcHandler

MAX_IN_FLIGHT = 64
MAX_BYTES_IN_FLIGHT = 16 * 1024 * 1024
"""How many requests of a stream may be under way at a time, and how many bytes of them before no more are started; the
next ones wait in the network."""


class AppendStream:
    """Starts each request as it comes, so that their waits for the disk overlap."""

    def __init__(self, handler: RpcHandler, messages: AsyncIterator[pb.AppendEntriesRequest]) -> None:
        self._handler = handler
        self._messages = messages
        self._started: asyncio.Queue[tuple[asyncio.Future[Response], int] | None] = asyncio.Queue()
        self._count = 0
        self._bytes = 0
        self._answered = asyncio.Event()
        self._reader = asyncio.create_task(self._read())
        self._reader.add_done_callback(lambda _: self._started.put_nowait(None))

    def close(self) -> None:
        """Ends the stream once what was taken in is answered."""
        self._reader.cancel()

    async def responses(self) -> AsyncGenerator[AppendEntriesResponse, None]:
        """The responses, in the order of the requests; to be used once.

        Raises:
            WireError, DecodeError: a message made no sense; those before it have been answered.
            RaftError: there is no response to a request, and none to those after it.
        """
        try:
            while (started := await self._started.get()) is not None:
                response, size = started
                yield cast(AppendEntriesResponse, await response)
                self._count -= 1
                self._bytes -= size
                self._answered.set()
            await asyncio.wait([self._reader])
            if not self._reader.cancelled():
                self._reader.result()
        finally:
            await self._drop()

    async def _read(self) -> None:
        """Starts requests until the stream ends; None in the queue will say that it has."""
        async for message in self._messages:
            request = wire.decode_append_request(message)
            while self._count >= MAX_IN_FLIGHT or self._bytes >= MAX_BYTES_IN_FLIGHT:
                self._answered.clear()
                await self._answered.wait()
            size = message.ByteSize()
            self._count += 1
            self._bytes += size
            self._started.put_nowait((asyncio.ensure_future(self._handler.handle(request)), size))

    async def _drop(self) -> None:
        """Cancels what nobody waits for any more."""
        left: list[asyncio.Future[Any]] = [self._reader]
        while not self._started.empty():
            if started := self._started.get_nowait():
                left.append(started[0])
        for waiting in left:
            waiting.cancel()
        await asyncio.gather(*left, return_exceptions=True)
