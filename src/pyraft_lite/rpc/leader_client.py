"""A client on connections of our own that finds and follows the leader.

As a grpc channel with a health check does (see ``client``), it watches the health of all nodes that its target stands
for, and sends calls only to one that is SERVING.
"""

import asyncio
from collections import deque
from typing import Self

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from pyraft_lite.rpc.client import ATTEMPTS, RETRIED, pause_after
from pyraft_lite.rpc.grpc_connection import CallError, GrpcConnection
from pyraft_lite.rpc.targets import parse_target, resolve_target

_WATCH = "/grpc.health.v1.Health/Watch"

_FIRST_PAUSE = 0.05
_LAST_PAUSE = 1.0
"""Seconds before a node that is gone is tried again; the pause doubles with each attempt in vain. Names are looked up
no more often than the latter."""


class LeaderClient:
    """Calls whoever leads. It is connected within its context.

    Args:
        target: The nodes, as ``targets.parse_target`` has it.
        health_service: The health service that the leader has SERVING. A node that has no health checks may be it.

    Raises:
        ValueError: the target is not of a known form; or, on entering, none of several names can be resolved.
    """

    def __init__(self, target: str, health_service: str) -> None:
        self._names = len(parse_target(target))
        self._target = target
        self._service = health_service
        self._serving: dict[GrpcConnection, None] = {}  # the next to be called first
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._nodes: dict[str, asyncio.Task[None]] = {}
        self._connections: set[GrpcConnection] = set()
        self._lost = asyncio.Event()

    async def __aenter__(self) -> Self:
        try:
            self._follow_all(await resolve_target(self._target))
        except ValueError:
            if self._names > 1:
                raise
            self._lost.set()  # It may be known later.
        self._resolving = asyncio.create_task(self._resolve())
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [self._resolving, *self._nodes.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in self._connections:
            connection.close()
        await asyncio.gather(*(connection.closed for connection in self._connections))

    async def call(self, method: str, request: bytes, *, timeout: float, attempts: int = ATTEMPTS) -> bytes:
        """Calls a method of whoever leads, through failovers, as :func:`~pyraft_lite.rpc.client.call_leader` does.

        Args:
            method: ``/Service/Method``.
            request: The message.
            timeout: Seconds for all attempts together, waiting for a leader included.
            attempts: How often to try.

        Raises:
            CallError: of the last attempt: another would not mend it, or there is no time left for one.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        attempt = 1
        while True:
            try:
                return await self._attempt(method, request, deadline)
            except CallError as error:
                pause = pause_after(attempt)
                if error.code not in RETRIED or attempt == attempts or clock() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)
            attempt += 1

    # -- whom to call -----------------------------------------------------------------------------------------------

    async def _attempt(self, method: str, request: bytes, deadline: float) -> bytes:
        loop = asyncio.get_running_loop()
        while (connection := self._next()) is None:
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiting.append(waiter)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError:
                raise CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "no node is serving") from None
        try:
            return await connection.unary(method, request, deadline - loop.time())
        finally:
            self._wake(1)

    def _next(self) -> GrpcConnection | None:
        """A node that is serving and has room for a call; each in its turn, should there be several."""
        for connection in self._serving:
            if connection.has_room:
                if len(self._serving) > 1:
                    self._serving[connection] = self._serving.pop(connection)
                return connection
        return None

    def _wake(self, most: int) -> None:
        """There is room for so many calls."""
        while most and self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                most -= 1

    # -- who there is -----------------------------------------------------------------------------------------------

    async def _resolve(self) -> None:
        """Looks names up anew when a node was lost: another may be in its place."""
        while True:
            await self._lost.wait()
            await asyncio.sleep(_LAST_PAUSE)
            self._lost.clear()
            try:
                self._follow_all(await resolve_target(self._target))
            except ValueError:
                self._lost.set()

    def _follow_all(self, places: list[str]) -> None:
        """Follows the nodes that are there now, and goes on to follow those that were before: they may come back."""
        for place in places:
            if place not in self._nodes:
                self._nodes[place] = asyncio.create_task(self._follow(place))

    async def _follow(self, place: str) -> None:
        """Keeps a connection to a node, and watches whether it is serving."""
        pause = _FIRST_PAUSE
        while True:
            connection = self._connect(place)
            told = await self._watch(connection)
            self._set_serving(connection, False)
            self._lost.set()
            pause = _FIRST_PAUSE if told else min(2 * pause, _LAST_PAUSE)
            await asyncio.sleep(pause)

    def _connect(self, place: str) -> GrpcConnection:
        connection = GrpcConnection(place)
        self._connections.add(connection)
        connection.closed.add_done_callback(lambda _: self._connections.discard(connection))
        return connection

    async def _watch(self, connection: GrpcConnection) -> bool:
        """Takes in what a node says of its health, until it says no more; returns whether it has said anything."""
        told = False

        def tells(message: bytes) -> None:
            nonlocal told
            told = True
            status = HealthCheckResponse.FromString(message).status
            self._set_serving(connection, status == HealthCheckResponse.SERVING)

        def ends(code: grpc.StatusCode, details: str) -> None:
            nonlocal told
            if code is grpc.StatusCode.UNIMPLEMENTED:
                told = True
                self._set_serving(connection, True)
            else:
                connection.retire()

        watch = connection.call(_WATCH, tells, ends)
        watch.send(HealthCheckRequest(service=self._service).SerializeToString(), last=True)
        try:
            await asyncio.wait([connection.spent])
        finally:
            watch.cancel()
        return told

    def _set_serving(self, connection: GrpcConnection, serving: bool) -> None:
        if serving:
            self._serving[connection] = None
            self._wake(len(self._waiting))
        else:
            self._serving.pop(connection, None)
