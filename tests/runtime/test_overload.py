"""A service whose node has more to do than it takes, over real connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from raft_cluster import Member, cluster

from engines import chosen_engine
from pyraft_lite.rpc.admin_service import AdminService
from pyraft_lite.rpc.client import call_leader
from pyraft_lite.rpc.limited import ServiceLimits
from pyraft_lite.rpc.pb import example_pb2_grpc, raft_admin_pb2, raft_admin_pb2_grpc
from pyraft_lite.rpc.pb.example_pb2 import AddWordRequest, GetWordsRequest
from pyraft_lite.runtime.limit import Limit
from raftexample.application import ExampleService, WordTracker

PROPOSALS = 8


@contextlib.asynccontextmanager
async def served(node: Member, calls: int = 1000) -> AsyncIterator[grpc.aio.Channel]:
    """The node's services for clients."""
    engine = chosen_engine()
    engine.limit_service("Example", ServiceLimits(Limit("calls", calls), Limit("streams", 1)))
    service = ExampleService(node.raft, WordTracker())
    example_pb2_grpc.add_ExampleServicer_to_server(service, engine)
    raft_admin_pb2_grpc.add_RaftAdminServicer_to_server(AdminService(node.raft), engine)
    port = await engine.start("127.0.0.1:0")
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await engine.stop()


async def test_a_slow_state_machine_has_writes_refused_and_loses_none_that_was_taken(tmp_path: Path) -> None:
    async with cluster(tmp_path, max_proposals=PROPOSALS) as members:
        node = await members.leader()
        async with served(node) as channel:
            example = example_pb2_grpc.ExampleStub(channel)
            for member in members.values():
                member.journal.gate.clear()
            words = [f"word {number}" for number in range(3 * PROPOSALS)]
            calls = {word: asyncio.ensure_future(example.AddWord(AddWordRequest(word=word))) for word in words}
            refused: set[str] = set()
            while len(refused) < 2 * PROPOSALS:
                await asyncio.wait(
                    [call for word, call in calls.items() if word not in refused],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                refused.update(word for word, call in calls.items() if call.done())
            for word in refused:
                error = calls[word].exception()
                assert isinstance(error, grpc.aio.AioRpcError)
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert error.details() == f"overloaded: the limit of {PROPOSALS} proposals under way is reached"
            later = asyncio.create_task(
                call_leader(example.AddWord, AddWordRequest(word="later"), timeout=30, attempts=100)
            )
            await example.GetWords(GetWordsRequest())
            admin = raft_admin_pb2_grpc.RaftAdminStub(channel)
            assert (await admin.State(raft_admin_pb2.StateRequest())).state == raft_admin_pb2.StateResponse.LEADER
            for member in members.values():
                member.journal.gate.set()
            taken = [word for word in words if word not in refused]
            await asyncio.gather(*(calls[word] for word in taken))
            await later
        await members.until_equal(node.raft.last_index)
        for member in members.values():
            assert sorted(member.journal.commands) == sorted([*(word.encode() for word in taken), b"later"])


async def test_calls_beyond_the_limit_do_not_keep_administrators_out(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as members:
        node = members["node1"]
        async with served(node, calls=2) as channel:
            example = example_pb2_grpc.ExampleStub(channel)
            node.journal.gate.clear()
            calls = [asyncio.ensure_future(example.AddWord(AddWordRequest(word=word))) for word in "abc"]
            done, under_way = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            (refused,) = done
            error = refused.exception()
            assert isinstance(error, grpc.aio.AioRpcError)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            admin = raft_admin_pb2_grpc.RaftAdminStub(channel)
            verifying = await admin.VerifyLeader(raft_admin_pb2.VerifyLeaderRequest())
            assert (await admin.Await(verifying)).error == ""
            node.journal.gate.set()
            await asyncio.gather(*under_way)
