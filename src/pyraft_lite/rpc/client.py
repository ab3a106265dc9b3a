"""Clients that find and follow the leader.

A channel made with :func:`channel_options` and a health service name watches the health of all nodes it knows and sends
calls only to one that is SERVING it, which is the leader; with ``wait_for_ready`` a call waits while there is none.
What fails all the same, because the leader changed while the call was under way or has too much to do,
:func:`call_leader` tries again.

``leader_client`` does the same over connections of our own, for programs that make many small calls.

Such a channel may send each call to another node. Whoever needs one node for several calls, as RaftAdmin's operations
do, asks :func:`find_leader` which it is.
"""

import asyncio
import contextlib
import json
import random
from typing import Any, Protocol, TypeVar

import grpc

from pyraft_lite.rpc.targets import grpc_targets

RAFT_LEADER = "quis.RaftLeader"
"""The health service that every node of a Raft cluster has SERVING while it leads."""

ATTEMPTS = 5
FIRST_BACKOFF = 0.1
"""Seconds; together the pauses outlast an election timeout, in which a leader whose transfer fails refuses writes."""

RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)
"""RESOURCE_EXHAUSTED: the node has as much to do as it takes, and has done nothing. CANCELLED is how grpcio's server
ends the calls that it has not yet begun, when it stops or there are too many. (That we ourselves were cancelled,
grpc.aio says with ``asyncio.CancelledError``.)"""

Request = TypeVar("Request", contravariant=True)
Response = TypeVar("Response")


def channel_options(health_service: str | None = None) -> list[tuple[str, Any]]:
    """Options for a grpc channel to one or more nodes.

    Args:
        health_service: Send calls only to a node on which this health service is SERVING; None: to any.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.enable_http_proxy", 0),
        # Of several nodes grpc would name all, comma and all: no authority to HTTP/2, and strict servers refuse it.
        ("grpc.default_authority", "raft"),
        # A node that was started again is found at once, not after grpc's usual second and more.
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 1000),  # In spite of its name: how long an attempt to connect may take.
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    if health_service is not None:
        config = {
            # Of grpc's policies only round_robin heeds the health check.
            "loadBalancingConfig": [{"round_robin": {}}],
            "healthCheckConfig": {"serviceName": health_service},
        }
        options.append(("grpc.service_config", json.dumps(config)))
    return options


class UnaryMethod(Protocol[Request, Response]):
    """A unary method of a grpc.aio stub."""

    def __call__(
        self, request: Request, *, timeout: float | None = None, wait_for_ready: bool | None = None
    ) -> "grpc.aio.UnaryUnaryCall[Any, Response]": ...


async def call_leader(
    method: UnaryMethod[Request, Response], request: Request, *, timeout: float, attempts: int = ATTEMPTS
) -> Response:
    """Calls a method of whoever leads, through failovers. A call whose answer was lost may take effect more than once.

    Args:
        method: Of a stub on a channel that follows the leader.
        request: What to call it with.
        timeout: Seconds for all attempts together, waiting for a leader included.
        attempts: How often to try; the pauses between them double from 100 ms, plus up to a quarter at random.

    Raises:
        grpc.aio.AioRpcError: of the last attempt: another would not mend it, or there is no time left for one.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    attempt = 1
    while True:
        try:
            return await method(request, timeout=deadline - clock(), wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            pause = pause_after(attempt)
            if error.code() not in RETRIED or attempt == attempts or clock() + pause >= deadline:
                raise
        await asyncio.sleep(pause)
        attempt += 1


def pause_after(attempt: int) -> float:
    """Seconds to wait after so many attempts before another is made."""
    least: float = FIRST_BACKOFF * 2 ** (attempt - 1)
    return least * random.uniform(1, 1.25)


def hides_status(error: grpc.aio.AioRpcError) -> bool:
    """True if a stream ended with a status that nobody will learn: when a write meets the end of the stream, grpcio
    (1.85) reports an INTERNAL of its own instead. Any stream that is written to may end so."""
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == "Internal error from Core"


async def find_leader(target: str, health_service: str = RAFT_LEADER) -> str:
    """Waits until one of a target's nodes leads; the caller sets the time limit, with ``asyncio.timeout``.

    Args:
        target: The nodes, as ``targets.parse_target`` has it.
        health_service: The health service that the leader has SERVING.

    Returns:
        The leader as a grpc target.

    Raises:
        ValueError: the target is not of a known form, or none of its names can be resolved.
    """
    nodes = grpc_targets(target)
    async with contextlib.AsyncExitStack() as channels:

        async def ready(node: str) -> str:
            channel = grpc.aio.insecure_channel(node, options=channel_options(health_service))
            await (await channels.enter_async_context(channel)).channel_ready()
            return node

        searches = [asyncio.create_task(ready(node)) for node in nodes]
        try:
            found, _ = await asyncio.wait(searches, return_when=asyncio.FIRST_COMPLETED)
            return found.pop().result()
        finally:
            for search in searches:
                search.cancel()
            await asyncio.gather(*searches, return_exceptions=True)
