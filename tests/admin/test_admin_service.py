"""RaftAdmin over a real connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from admin.scripted_raft import ScriptedRaft, serving
from pyraft_lite.core.configuration import Configuration, Server, Suffrage
from pyraft_lite.core.errors import ConfigurationError, NotLeaderError, ShutdownError
from pyraft_lite.rpc.pb import raft_admin_pb2 as pb
from pyraft_lite.rpc.pb.raft_admin_pb2_grpc import RaftAdminStub
from pyraft_lite.runtime.api import Leader, State


@contextlib.asynccontextmanager
async def admin_of(raft: ScriptedRaft) -> AsyncIterator[Any]:
    async with serving(raft) as address, grpc.aio.insecure_channel(address) as channel:
        yield RaftAdminStub(channel)


OPERATIONS = [
    ("AddVoter", pb.AddVoterRequest(id="b", address="h:1", previous_index=7), ("add_voter", "b", "h:1", 7), 4),
    ("AddNonvoter", pb.AddNonvoterRequest(id="b", address="h:1"), ("add_nonvoter", "b", "h:1", 0), 4),
    ("DemoteVoter", pb.DemoteVoterRequest(id="b", previous_index=7), ("demote_voter", "b", 7), 4),
    ("RemoveServer", pb.RemoveServerRequest(id="b"), ("remove_server", "b", 0), 4),
    ("ApplyLog", pb.ApplyLogRequest(data=b"\xff", extensions=b"x"), ("apply", b"\xff", b"x"), 4),
    ("Barrier", pb.BarrierRequest(), ("barrier",), 4),
    ("LeadershipTransfer", pb.LeadershipTransferRequest(), ("leadership_transfer", "", ""), 0),
    (
        "LeadershipTransferToServer",
        pb.LeadershipTransferToServerRequest(id="b", address="h:1"),
        ("leadership_transfer", "b", "h:1"),
        0,
    ),
    ("Shutdown", pb.ShutdownRequest(), ("shutdown",), 0),
    ("Snapshot", pb.SnapshotRequest(), ("snapshot",), 0),
    ("VerifyLeader", pb.VerifyLeaderRequest(), ("verify_leader",), 0),
]
METHOD = [operation[0] for operation in OPERATIONS]


@pytest.mark.parametrize(("method", "request_", "call", "index"), OPERATIONS, ids=METHOD)
async def test_an_operation_is_carried_out_and_its_outcome_has_its_index(
    method: str, request_: object, call: tuple[str, ...], index: int
) -> None:
    raft = ScriptedRaft(outcomes={call[0]: 4})
    async with admin_of(raft) as admin:
        future = await getattr(admin, method)(request_)
        assert await admin.Await(future) == pb.AwaitResponse(index=index)
    assert raft.calls == [call]


@pytest.mark.parametrize(("method", "request_", "call", "index"), OPERATIONS, ids=METHOD)
async def test_an_operation_that_fails_has_rafts_error_for_outcome(
    method: str, request_: object, call: tuple[str, ...], index: int
) -> None:
    async with admin_of(ScriptedRaft(outcomes={call[0]: NotLeaderError()})) as admin:
        future = await getattr(admin, method)(request_)
        assert await admin.Await(future) == pb.AwaitResponse(error="node is not the leader")


async def test_an_operation_answers_at_once_and_await_when_it_has_ended() -> None:
    under_way: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with admin_of(ScriptedRaft(outcomes={"barrier": under_way})) as admin:
        future = await admin.Barrier(pb.BarrierRequest())
        with pytest.raises(grpc.aio.AioRpcError) as gave_up:
            await admin.Await(future, timeout=0.05)
        assert gave_up.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        waiting = admin.Await(future)
        under_way.set_result(9)
        assert await waiting == pb.AwaitResponse(index=9)
        assert await admin.Await(future) == pb.AwaitResponse(index=9), "as often as asked"


async def test_an_operation_too_many_is_refused_and_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyraft_lite.rpc.operations.MAX_RUNNING", 1)
    under_way: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    raft = ScriptedRaft(outcomes={"barrier": under_way})
    async with admin_of(raft) as admin:
        future = await admin.Barrier(pb.BarrierRequest())
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await admin.Snapshot(pb.SnapshotRequest())
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.value.details() == "overloaded: the limit of 1 operations under way is reached"
        under_way.set_result(9)
        assert await admin.Await(future) == pb.AwaitResponse(index=9)
    assert raft.calls == [("barrier",)]


async def test_an_outcome_that_was_forgotten_is_unknown() -> None:
    async with admin_of(ScriptedRaft()) as admin:
        future = await admin.Barrier(pb.BarrierRequest())
        assert await admin.Forget(future) == pb.ForgetResponse()
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await admin.Await(future)
        assert unknown.value.code() is grpc.StatusCode.UNKNOWN
        assert unknown.value.details() == f'token "{future.operation_token}" unknown'


@pytest.mark.parametrize("token", ["", "deadbeef"])
async def test_an_unknown_token_is_an_error_of_await_and_none_of_forget(token: str) -> None:
    async with admin_of(ScriptedRaft()) as admin:
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await admin.Await(pb.Future(operation_token=token))
        assert unknown.value.code() is grpc.StatusCode.UNKNOWN
        assert unknown.value.details() == f'token "{token}" unknown'
        assert await admin.Forget(pb.Future(operation_token=token)) == pb.ForgetResponse()


async def test_a_transfer_to_a_server_without_an_id_is_not_one_to_any_server() -> None:
    raft = ScriptedRaft()
    async with admin_of(raft) as admin:
        future = await admin.LeadershipTransferToServer(pb.LeadershipTransferToServerRequest(address="h:1"))
        assert "without an id" in (await admin.Await(future)).error
    assert raft.calls == []


async def test_shutdown_is_answered_though_the_node_then_refuses_everything() -> None:
    raft = ScriptedRaft()

    def shut_down() -> int:
        raft.become(State.SHUTDOWN)
        raft.outcomes["barrier"] = ShutdownError()
        return 0

    raft.outcomes["shutdown"] = shut_down
    async with admin_of(raft) as admin:
        assert await admin.Await(await admin.Shutdown(pb.ShutdownRequest())) == pb.AwaitResponse()
        assert (await admin.State(pb.StateRequest())).state == pb.StateResponse.SHUTDOWN
        outcome = await admin.Await(await admin.Barrier(pb.BarrierRequest()))
        assert outcome.error == "raft is already shutdown"


async def test_what_the_node_knows_is_answered() -> None:
    servers = (Server("a", "h:1"), Server("b", "h:2", Suffrage.NONVOTER), Server("c", "h:3", Suffrage.STAGING))
    raft = ScriptedRaft(
        leader=Leader("a", "h:1"),
        last_index=12,
        applied_index=11,
        last_contact=1795425811.5,
        configuration=Configuration(servers),
        counters={"term": "3", "state": "Leader"},
    )
    Answer = pb.GetConfigurationResponse
    async with admin_of(raft) as admin:
        assert (await admin.LastIndex(pb.LastIndexRequest())).index == 12
        assert (await admin.AppliedIndex(pb.AppliedIndexRequest())).index == 11
        assert (await admin.LastContact(pb.LastContactRequest())).unix_nano == 1795425811_500_000_000
        assert (await admin.Leader(pb.LeaderRequest())).address == "h:1"
        assert dict((await admin.Stats(pb.StatsRequest())).stats) == {"term": "3", "state": "Leader"}
        assert list((await admin.GetConfiguration(pb.GetConfigurationRequest())).servers) == [
            Answer.Server(suffrage=Answer.Server.VOTER, id="a", address="h:1"),
            Answer.Server(suffrage=Answer.Server.NONVOTER, id="b", address="h:2"),
            Answer.Server(suffrage=Answer.Server.STAGING, id="c", address="h:3"),
        ]


async def test_what_the_node_does_not_know_is_empty() -> None:
    async with admin_of(ScriptedRaft(State.FOLLOWER)) as admin:
        assert await admin.LastContact(pb.LastContactRequest()) == pb.LastContactResponse()
        assert await admin.Leader(pb.LeaderRequest()) == pb.LeaderResponse()
        assert await admin.GetConfiguration(pb.GetConfigurationRequest()) == pb.GetConfigurationResponse()


@pytest.mark.parametrize("state", State)
async def test_every_state_has_its_number(state: State) -> None:
    async with admin_of(ScriptedRaft(state)) as admin:
        answer = await admin.State(pb.StateRequest())
        assert pb.StateResponse.State.Name(answer.state) == state.name


async def test_a_client_that_goes_away_does_not_end_what_it_began() -> None:
    under_way: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    raft = ScriptedRaft(outcomes={"add_voter": under_way})
    async with serving(raft) as address:
        async with grpc.aio.insecure_channel(address) as channel:
            admin = RaftAdminStub(channel)
            future = await admin.AddVoter(pb.AddVoterRequest(id="b", address="h:1"))
            waiting = admin.Await(future)
            await admin.State(pb.StateRequest())  # When this is answered, Await has been sent.
        assert waiting.cancelled()
        under_way.set_exception(ConfigurationError("no"))
        async with grpc.aio.insecure_channel(address) as channel:
            assert await RaftAdminStub(channel).Await(future) == pb.AwaitResponse(error="no")
