"""grpc.health.v1: tells clients and load balancers which node leads."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer

from pyraft_lite.rpc.engine import CallContext
from pyraft_lite.runtime.api import Observation, RaftOperations, State


class LeaderHealth(HealthServicer):  # type: ignore[misc]
    """The Health service of a node: ``""`` is always SERVING, each of ``services`` only while the node leads.

    Args:
        raft: The node.
        services: The names that stand for the leader.
    """

    def __init__(self, raft: RaftOperations, services: Iterable[str]) -> None:
        self._services = frozenset(services)
        self._leading = raft.state is State.LEADER
        self._closed = False
        self._changed = asyncio.Event()
        self._stop_observing: Callable[[], None] = raft.observe(self._observe)

    def close(self) -> None:
        """Ends all watches; they would outlast any grace period. Idempotent."""
        if self._closed:
            return
        self._stop_observing()
        self._closed = True
        self._wake()

    async def Check(self, request: HealthCheckRequest, context: CallContext) -> HealthCheckResponse:
        status = self._status(request.service)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return HealthCheckResponse(status=status)

    async def Watch(self, request: HealthCheckRequest, context: CallContext) -> AsyncIterator[HealthCheckResponse]:
        """Tells the status now and at every change; a status that did not last may be left out."""
        last = None
        while not self._closed:
            changed = self._changed
            status = self._status(request.service)
            if status != last:
                yield HealthCheckResponse(status=status)
                last = status
            await changed.wait()

    def _status(self, service: str) -> HealthCheckResponse.ServingStatus:
        if service and service not in self._services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        serving = not service or self._leading
        return HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING

    def _observe(self, observation: Observation) -> None:
        self._leading = observation.state is State.LEADER
        self._wake()

    def _wake(self) -> None:
        """Wakes everyone who waits for a change; later waits are for the next one."""
        self._changed.set()
        self._changed = asyncio.Event()
