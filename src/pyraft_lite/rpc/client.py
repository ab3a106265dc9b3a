"""A client that follows the leader.

A channel made with :func:`channel_options` and a health service name watches the health of all nodes it knows and sends
calls only to one that is SERVING it, which is the leader; with ``wait_for_ready`` a call waits while there is none.
What fails all the same, because the leader changed while the call was under way, :func:`call_leader` tries again.
"""

import asyncio
import json
import random
from typing import Any, Protocol, TypeVar

import grpc

RAFT_LEADER = "quis.RaftLeader"
"""The health service that every node of a Raft cluster has SERVING while it leads."""

ATTEMPTS = 5
FIRST_BACKOFF = 0.1

Request = TypeVar("Request", contravariant=True)
Response = TypeVar("Response")


def channel_options(health_service: str | None = None) -> list[tuple[str, Any]]:
    """Options for a grpc channel to one or more nodes.

    Args:
        health_service: Send calls only to a node on which this health service is SERVING; None: to any.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.enable_http_proxy", 0),
        # A node that was started again is found at once, not after grpc's usual second and more.
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
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
        attempts: How often to try; the pauses between them double from 100 ms, less up to half at random.

    Raises:
        grpc.aio.AioRpcError: the last attempt failed, or failed in a way that another one would not mend.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    attempt = 1
    while True:
        try:
            left = deadline - asyncio.get_running_loop().time()
            return await method(request, timeout=left, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or attempt == attempts:
                raise
        pause = FIRST_BACKOFF * 2 ** (attempt - 1)
        await asyncio.sleep(pause * random.uniform(0.5, 1))
        attempt += 1
