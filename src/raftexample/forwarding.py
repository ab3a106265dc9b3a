"""Server-side forwarding: a follower passes a client's call on to the leader, once."""

from typing import TypeVar

import grpc

from pyraft_lite.rpc.engine import CallContext
from pyraft_lite.rpc.pb import example_pb2_grpc

FORWARDED = "raft-forwarded"
"""Metadata that marks a call as passed on already: whoever gets it and does not lead must not pass it on again."""

MARK = ((FORWARDED, "1"),)

_CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
)

Request = TypeVar("Request")
Response = TypeVar("Response")


class LeaderForwarder:
    """Keeps a channel to every node that has led so far."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}

    def leader_at(self, address: str) -> example_pb2_grpc.ExampleStub:
        """A stub of the leader's Example service."""
        if address not in self._channels:
            self._channels[address] = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        return example_pb2_grpc.ExampleStub(self._channels[address])

    async def close(self) -> None:
        """Breaks all connections."""
        for channel in self._channels.values():
            await channel.close(None)


def was_forwarded(context: CallContext) -> bool:
    """True if another node passed this call on to us."""
    return any(key == FORWARDED for key, _ in context.invocation_metadata() or ())


async def forward(
    method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]", request: Request, context: CallContext
) -> Response:
    """Makes the call for the client, with what is left of its deadline; its outcome is ours."""
    try:
        return await method(request, timeout=context.time_remaining(), metadata=MARK)
    except grpc.aio.AioRpcError as error:
        await context.abort(error.code(), error.details() or "")
