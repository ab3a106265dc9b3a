"""Leader health over a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub, add_HealthServicer_to_server
from peers import listening

from engines import chosen_engine
from pyraft_lite.rpc.health import LeaderHealth
from pyraft_lite.runtime.api import Leader, Observation, RaftOperations, State

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


class Node:
    """The part of RaftOperations that health looks at."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.observers: list[Callable[[Observation], None]] = []

    def observe(self, observer: Callable[[Observation], None]) -> Callable[[], None]:
        self.observers.append(observer)
        return lambda: self.observers.remove(observer)

    def become(self, state: State) -> None:
        self.state = state
        for observer in self.observers:
            observer(Observation(state, 1, Leader()))


@asynccontextmanager
async def health_of(node: Node) -> AsyncIterator[tuple[LeaderHealth, HealthStub]]:
    health = LeaderHealth(cast(RaftOperations, node), ["Example", "quis.RaftLeader"])
    engine = chosen_engine()
    add_HealthServicer_to_server(health, engine)
    async with listening(engine) as address, grpc.aio.insecure_channel(address) as channel:
        yield health, HealthStub(channel)
        health.close()


async def check(stub: HealthStub, service: str) -> int:
    response = await stub.Check(HealthCheckRequest(service=service))
    return cast(int, response.status)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.LEADER, SERVING),
        (State.FOLLOWER, NOT_SERVING),
        (State.CANDIDATE, NOT_SERVING),
        (State.SHUTDOWN, NOT_SERVING),
    ],
)
async def test_check_says_serving_on_the_leader_only(state: State, expected: int) -> None:
    async with health_of(Node(state)) as (_, stub):
        assert await check(stub, "Example") == expected
        assert await check(stub, "quis.RaftLeader") == expected
        assert await check(stub, "") == SERVING


async def test_check_follows_a_change_of_leader() -> None:
    node = Node(State.FOLLOWER)
    async with health_of(node) as (_, stub):
        assert await check(stub, "Example") == NOT_SERVING
        node.become(State.LEADER)
        assert await check(stub, "Example") == SERVING
        node.become(State.FOLLOWER)
        assert await check(stub, "Example") == NOT_SERVING


async def test_check_of_an_unknown_service_is_not_found() -> None:
    async with health_of(Node(State.LEADER)) as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await check(stub, "RaftAdmin")
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND
    assert failure.value.details() == "unknown service"


async def test_watch_tells_the_status_now_and_at_every_change() -> None:
    node = Node(State.FOLLOWER)
    async with health_of(node) as (_, stub):
        watches = [stub.Watch(HealthCheckRequest(service="Example")) for _ in range(2)]
        for state, expected in [
            (State.FOLLOWER, NOT_SERVING),
            (State.LEADER, SERVING),
            (State.CANDIDATE, NOT_SERVING),
            (State.LEADER, SERVING),
        ]:
            node.become(state)
            assert [(await watch.read()).status for watch in watches] == [expected] * 2


async def test_watch_is_silent_while_the_status_stays() -> None:
    node = Node(State.FOLLOWER)
    async with health_of(node) as (_, stub):
        watch = stub.Watch(HealthCheckRequest(service="Example"))
        assert (await watch.read()).status == NOT_SERVING
        node.become(State.CANDIDATE)
        node.become(State.FOLLOWER)
        node.become(State.LEADER)
        assert (await watch.read()).status == SERVING


async def test_watch_of_the_whole_server_stays_serving_until_the_end() -> None:
    node = Node(State.FOLLOWER)
    async with health_of(node) as (health, stub):
        watch = stub.Watch(HealthCheckRequest(service=""))
        assert (await watch.read()).status == SERVING
        node.become(State.LEADER)
        health.close()
        assert await watch.read() is grpc.aio.EOF


async def test_watch_of_an_unknown_service_says_so_and_goes_on() -> None:
    async with health_of(Node(State.LEADER)) as (health, stub):
        watch = stub.Watch(HealthCheckRequest(service="nope"))
        assert (await watch.read()).status == HealthCheckResponse.SERVICE_UNKNOWN
        again = asyncio.ensure_future(watch.read())
        await check(stub, "")
        assert not again.done()
        health.close()
        assert await again is grpc.aio.EOF


async def test_close_ends_watches_and_the_observation() -> None:
    node = Node(State.LEADER)
    async with health_of(node) as (health, stub):
        watch = stub.Watch(HealthCheckRequest(service="Example"))
        assert (await watch.read()).status == SERVING
        health.close()
        assert await watch.read() is grpc.aio.EOF
        assert await watch.code() is grpc.StatusCode.OK
        assert node.observers == []
        node.become(State.FOLLOWER)
