"""gRPC calls to one peer, over one connection at a time, which is made anew when it must be."""

import asyncio

import grpc

from pyraft_lite.rpc.grpc_connection import CallError, GrpcConnection

_PAUSE = 0.2
"""Seconds between attempts to connect that nobody but :meth:`GrpcChannel.until_lost` waits for."""


class GrpcChannel:
    """Connects when it is first used, and again for the first call after its connection was lost, or was given up by
    the peer, or by a call that had waited in vain. What can't connect fails at once: the next call tries again.

    Args:
        address: The peer, ``host:port``.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._current: GrpcConnection | None = None
        self._connections: set[GrpcConnection] = set()
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed = False

    async def unary(self, method: str, request: bytes, timeout: float) -> bytes:
        """See :meth:`GrpcConnection.unary`."""
        return await self._connection().unary(method, request, timeout)

    async def until_lost(self) -> None:
        """Connects, as often as it takes, and returns when a connection is lost, or the channel closed."""
        lost = self._lost
        while not lost.done():
            established = await asyncio.shield(self._connection().established)
            await asyncio.wait([lost], timeout=None if established else _PAUSE)

    async def close(self) -> None:
        """Breaks the connection and ends all calls; every later one fails."""
        self._closed = True
        for connection in self._connections:
            connection.close()
        await asyncio.gather(*(connection.closed for connection in self._connections))
        self._tell_lost()

    def _connection(self) -> GrpcConnection:
        if self._closed:
            raise CallError(grpc.StatusCode.UNAVAILABLE, "the channel is closed")
        if self._current is None or not self._current.takes_calls:
            if self._current is not None:
                self._current.retire()
            connection = self._current = GrpcConnection(self._address)
            self._connections.add(connection)
            connection.closed.add_done_callback(lambda _: self._leave(connection))
        return self._current

    def _leave(self, connection: GrpcConnection) -> None:
        self._connections.discard(connection)
        if connection.established.result():
            self._tell_lost()

    def _tell_lost(self) -> None:
        if not self._lost.done():
            self._lost.set_result(None)
        if not self._closed:
            self._lost = asyncio.get_running_loop().create_future()
