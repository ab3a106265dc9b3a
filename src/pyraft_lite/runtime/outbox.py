"""Sends what the core wants sent to peers, and reports the answers."""

import asyncio
from collections.abc import Callable

from pyraft_lite.core.configuration import Server
from pyraft_lite.core.effects import Channel, Send
from pyraft_lite.core.events import Event, RpcFailed, RpcResponse
from pyraft_lite.core.messages import AppendEntriesRequest, AppendEntriesResponse
from pyraft_lite.runtime.transport import FailureKind, Pipeline, Transport, TransportError


class Outbox:
    """Keeps one append stream per peer; everything else goes as an RPC of its own."""

    def __init__(self, transport: Transport, post: Callable[[Event], None]) -> None:
        self._transport = transport
        self._post = post
        self._pipelines: dict[str, Pipeline] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, effect: Send) -> None:
        """Answers with one RpcResponse or RpcFailed, later."""
        if effect.channel is Channel.STREAM:
            self._send_on_stream(effect)
        else:
            task = asyncio.get_running_loop().create_task(self._send_alone(effect))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close_stream(self, to: Server) -> None:
        pipeline = self._pipelines.pop(to.address, None)
        if pipeline is not None:
            pipeline.close()

    def close(self) -> None:
        """Gives up all that is under way."""
        for task in self._tasks:
            task.cancel()
        for pipeline in self._pipelines.values():
            pipeline.close()
        self._pipelines.clear()

    async def _send_alone(self, effect: Send) -> None:
        try:
            response = await self._transport.send(effect.to, effect.request)
        except TransportError as error:
            self._post(RpcFailed(effect.rpc_id, str(error), error.kind is FailureKind.UNSUPPORTED))
        else:
            self._post(RpcResponse(effect.rpc_id, response))

    def _send_on_stream(self, effect: Send) -> None:
        assert isinstance(effect.request, AppendEntriesRequest), "only appends travel on a stream"
        address = effect.to.address
        pipeline = self._pipelines.get(address)
        if pipeline is None:
            pipeline = self._pipelines[address] = self._transport.pipeline(effect.to)

        def answered(answer: AppendEntriesResponse | TransportError) -> None:
            if not isinstance(answer, TransportError):
                self._post(RpcResponse(effect.rpc_id, answer))
                return
            if self._pipelines.get(address) is pipeline:
                del self._pipelines[address]
            self._post(RpcFailed(effect.rpc_id, str(answer)))

        pipeline.send(effect.request, answered)
