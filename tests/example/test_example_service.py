"""AddWord and GetWords over a real connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from admin.scripted_raft import ScriptedRaft, serving
from pyraft_lite.core import errors
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES
from pyraft_lite.rpc.pb.example_pb2 import AddWordRequest, AddWordResponse, GetWordsRequest, GetWordsResponse
from pyraft_lite.rpc.pb.example_pb2_grpc import ExampleStub
from pyraft_lite.runtime.api import Leader, State
from raftexample.application import ExampleService, WordTracker
from raftexample.forwarding import LeaderForwarder

LOCAL = GetWordsRequest(consistency=GetWordsRequest.LOCAL)
LINEARIZABLE = GetWordsRequest(consistency=GetWordsRequest.LINEARIZABLE)


class Node:
    """A node that applies words by itself while it leads, and forwards to ``leader`` otherwise."""

    def __init__(self, leader: str | None = None, **outcomes: Any) -> None:
        self.tracker = WordTracker()
        self.forwarder = None if leader is None else LeaderForwarder()
        state = State.LEADER if leader is None else State.FOLLOWER
        self.raft = ScriptedRaft(state, Leader("a", leader) if leader else Leader(), outcomes=outcomes)
        for operation in ("apply", "read_index"):
            self.raft.outcomes.setdefault(operation, getattr(self, operation))

    def apply(self, data: bytes, _: bytes) -> object:
        if self.raft.state is State.LEADER:
            self.raft.applied_index += 1
            self.tracker.apply(Entry(self.raft.applied_index, 1, EntryType.COMMAND, data))
        return self.raft.refuse_unless_leading()

    def read_index(self, _: bool) -> object:
        return self.raft.refuse_unless_leading()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        service = ExampleService(self.raft, self.tracker, self.forwarder)
        async with serving(self.raft, service) as address:
            yield address
        if self.forwarder is not None:
            await self.forwarder.close()

    @contextlib.asynccontextmanager
    async def stub(self) -> AsyncIterator[Any]:
        async with self.serving() as address, grpc.aio.insecure_channel(address) as channel:
            yield ExampleStub(channel)


@contextlib.asynccontextmanager
async def follower_of(leader: Node) -> AsyncIterator[tuple[Node, Any]]:
    """A node that forwards to ``leader``, and a stub of it."""
    async with leader.serving() as address:
        follower = Node(leader=address)
        async with follower.stub() as stub:
            yield follower, stub


async def failure(call: "grpc.aio.UnaryUnaryCall[Any, Any]") -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code(), raised.value.details() or ""


ERRORS = [
    (errors.NotLeaderError(), grpc.StatusCode.UNAVAILABLE),
    (errors.LeadershipLostError(), grpc.StatusCode.UNAVAILABLE),
    (errors.ShutdownError(), grpc.StatusCode.UNAVAILABLE),
    (errors.TransferInProgressError(), grpc.StatusCode.UNAVAILABLE),
    (errors.EnqueueTimeoutError(), grpc.StatusCode.UNAVAILABLE),
    (errors.AbortedByRestoreError(), grpc.StatusCode.ABORTED),
    (errors.CommandTooLargeError("too large"), grpc.StatusCode.INVALID_ARGUMENT),
    (errors.StorageError("disk full"), grpc.StatusCode.UNKNOWN),
]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
async def test_an_operation_that_fails_ends_the_call_with_its_status_and_message(
    error: errors.RaftError, code: grpc.StatusCode
) -> None:
    async with Node(apply=error, read_index=error).stub() as stub:
        assert await failure(stub.AddWord(AddWordRequest(word="a"))) == (code, str(error))
        assert await failure(stub.GetWords(LINEARIZABLE)) == (code, str(error))


async def test_a_word_is_added_and_read() -> None:
    node = Node()
    async with node.stub() as stub:
        assert await stub.GetWords(GetWordsRequest()) == GetWordsResponse(best_words=["", "", ""])
        for index, word in enumerate(["hello", "", "één"], 1):
            assert await stub.AddWord(AddWordRequest(word=word)) == AddWordResponse(commit_index=index)
        words = GetWordsResponse(best_words=["hello", "één", ""], read_at_index=3)
        assert await stub.GetWords(LOCAL) == words
        assert await stub.GetWords(LINEARIZABLE) == words
    assert node.raft.calls == [
        *(("apply", word.encode(), b"") for word in ("hello", "", "één")),
        ("read_index", False),
    ]


async def test_a_word_with_a_newline_is_refused_and_not_applied() -> None:
    node = Node()
    async with node.stub() as stub:
        assert await failure(stub.AddWord(AddWordRequest(word="two\nlines"))) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "invalid word: it must not hold a newline",
        )
    assert node.raft.calls == []


async def test_a_word_larger_than_a_message_is_refused_and_not_applied() -> None:
    node = Node()
    async with node.stub() as stub:
        code, details = await failure(stub.AddWord(AddWordRequest(word="x" * MAX_MESSAGE_BYTES)))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert str(MAX_MESSAGE_BYTES) in details
    assert node.raft.calls == []


async def test_a_local_read_is_answered_by_a_node_that_knows_no_leader() -> None:
    follower = Node(leader="")
    async with follower.stub() as stub:
        assert await stub.GetWords(LOCAL) == GetWordsResponse(best_words=["", "", ""])
    assert follower.raft.calls == []


async def test_an_unknown_consistency_is_refused_by_its_number() -> None:
    node = Node()
    request = GetWordsRequest.FromString(GetWordsRequest(consistency=1).SerializeToString()[:-1] + b"\x07")
    async with node.stub() as stub:
        assert await failure(stub.GetWords(request)) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "invalid consistency 7: must be LOCAL (0) or LINEARIZABLE (1)",
        )
    assert node.raft.calls == []


async def test_a_follower_forwards_writes_and_linearizable_reads_to_the_leader() -> None:
    leader = Node()
    async with follower_of(leader) as (_, stub):
        assert await stub.AddWord(AddWordRequest(word="hello")) == AddWordResponse(commit_index=1)
        assert await stub.GetWords(LINEARIZABLE) == GetWordsResponse(best_words=["hello", "", ""], read_at_index=1)
        assert await stub.GetWords(LOCAL) == GetWordsResponse(best_words=["", "", ""]), "the follower's own"
    assert leader.raft.calls == [("apply", b"hello", b""), ("read_index", False)]


async def test_a_follower_that_knows_no_leader_says_that_it_is_none() -> None:
    async with Node(leader="").stub() as stub:
        for call in (stub.AddWord(AddWordRequest(word="a")), stub.GetWords(LINEARIZABLE)):
            assert await failure(call) == (grpc.StatusCode.UNAVAILABLE, "node is not the leader")


async def test_two_nodes_that_take_each_other_for_the_leader_forward_a_call_once() -> None:
    first = Node(leader="to be set")
    async with first.serving() as first_address:
        second = Node(leader=first_address)
        async with second.stub() as stub, second.serving() as second_address:
            first.raft.leader = Leader("b", second_address)
            for call in (stub.AddWord(AddWordRequest(word="a")), stub.GetWords(LINEARIZABLE)):
                assert await failure(call) == (grpc.StatusCode.UNAVAILABLE, "node is not the leader")
    assert first.raft.calls == second.raft.calls == [("apply", b"a", b""), ("read_index", False)]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
async def test_the_leaders_error_is_the_followers(error: errors.RaftError, code: grpc.StatusCode) -> None:
    async with follower_of(Node(apply=error)) as (_, stub):
        assert await failure(stub.AddWord(AddWordRequest(word="a"))) == (code, str(error))


async def test_a_leader_that_cannot_be_reached_is_unavailable() -> None:
    async with Node().serving() as gone:
        pass
    async with Node(leader=gone).stub() as stub:
        code, _ = await failure(stub.AddWord(AddWordRequest(word="a")))
        assert code is grpc.StatusCode.UNAVAILABLE


class Deadlines(ExampleService):
    """Notes what is left of each call's deadline."""

    seen: list[float | None]

    async def AddWord(self, request: AddWordRequest, context: Any) -> AddWordResponse:
        self.seen.append(context.time_remaining())
        return AddWordResponse()


@pytest.mark.parametrize("timeout", [None, 500.0])
async def test_the_leader_is_given_what_is_left_of_the_clients_deadline(timeout: float | None) -> None:
    leader = Node()
    service = Deadlines(leader.raft, leader.tracker)
    service.seen = []
    async with serving(leader.raft, service) as address, Node(leader=address).stub() as stub:
        await stub.AddWord(AddWordRequest(word="a"), timeout=timeout)
    (seen,) = service.seen
    if timeout is None:
        assert seen is None
    else:
        assert seen is not None
        assert 0 < seen <= timeout


async def test_a_client_that_gives_up_ends_the_forwarded_call() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()
    under_way: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    under_way.add_done_callback(lambda _: ended.set())

    def begin(*_: object) -> "asyncio.Future[int]":
        begun.set()
        return under_way

    async with follower_of(Node(apply=begin)) as (_, stub):
        call = stub.AddWord(AddWordRequest(word="a"))
        await begun.wait()
        call.cancel()
        await ended.wait()
    assert under_way.cancelled()
