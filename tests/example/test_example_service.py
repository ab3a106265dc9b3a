"""Example over real connections: AddWord, GetWords, and forwarding to the leader."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from admin.scripted_raft import ScriptedRaft, serving
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import (
    AbortedByRestoreError,
    CommandTooLargeError,
    LeadershipLostError,
    NotLeaderError,
    OverloadedError,
    RaftError,
    ShutdownError,
    StorageError,
    TransferInProgressError,
)
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES
from pyraft_lite.rpc.pb.example_pb2 import AddWordRequest, AddWordResponse, GetWordsRequest, GetWordsResponse
from pyraft_lite.rpc.pb.example_pb2_grpc import ExampleStub
from pyraft_lite.runtime.api import Leader, State
from raftexample.application import ExampleService, WordTracker
from raftexample.forwarding import FORWARDED, LeaderForwarder

LINEARIZABLE = GetWordsRequest(consistency=GetWordsRequest.LINEARIZABLE)


class Node:
    """A node that commits alone if it leads, and says that it doesn't if not."""

    def __init__(self, state: State = State.LEADER, *, forwards: bool = False) -> None:
        self.tracker = WordTracker()
        self.raft = ScriptedRaft(state, outcomes={"apply": self._apply})
        self.raft.outcomes["read_index"] = self.raft.refuse_unless_leading
        self.forwarder = LeaderForwarder() if forwards else None

    def _apply(self, data: bytes, _: bytes) -> RaftError | int:
        if self.raft.state is not State.LEADER:
            return NotLeaderError()
        self.raft.applied_index += 1
        self.tracker.apply(Entry(self.raft.applied_index, 1, EntryType.COMMAND, data))
        return self.raft.applied_index

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        async with serving(self.raft, ExampleService(self.raft, self.tracker, self.forwarder)) as address:
            yield address
        if self.forwarder:
            await self.forwarder.close()

    @contextlib.asynccontextmanager
    async def stub(self) -> AsyncIterator[Any]:
        async with self.served() as address, grpc.aio.insecure_channel(address) as channel:
            yield ExampleStub(channel)


async def status(call: Any) -> tuple[grpc.StatusCode, str]:
    """How a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code(), failed.value.details() or ""


# -- without forwarding ------------------------------------------------------------------------------------------------


async def test_add_word_answers_with_the_index_and_get_words_with_all_up_to_there() -> None:
    node = Node()
    async with node.stub() as example:
        for index, word in enumerate(("hello", "hello", ""), 1):
            assert await example.AddWord(AddWordRequest(word=word)) == AddWordResponse(commit_index=index)
        expected = GetWordsResponse(read_at_index=3, best_words=["hello", "hello", ""])
        assert await example.GetWords(GetWordsRequest()) == expected
        assert await example.GetWords(LINEARIZABLE) == expected
    assert [call for call in node.raft.calls if call[0] == "read_index"] == [("read_index", False)]


async def test_a_word_with_a_newline_is_refused_and_not_replicated() -> None:
    node = Node()
    async with node.stub() as example:
        code, details = await status(example.AddWord(AddWordRequest(word="two\nlines")))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "newline" in details
    assert node.raft.calls == []


async def test_a_word_that_is_larger_than_a_message_is_refused_and_not_replicated() -> None:
    node = Node()
    async with node.stub() as example:
        code, details = await status(example.AddWord(AddWordRequest(word="x" * MAX_MESSAGE_BYTES)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(MAX_MESSAGE_BYTES) in details
    assert node.raft.calls == []


async def test_a_word_that_is_no_utf8_is_refused_and_not_replicated() -> None:
    node = Node()
    async with node.served() as address, grpc.aio.insecure_channel(address) as channel:
        await status(channel.unary_unary("/Example/AddWord", bytes, bytes)(b"\x0a\x01\xff"))
    assert node.raft.calls == []


ERRORS = [
    (NotLeaderError(), grpc.StatusCode.UNAVAILABLE),
    (LeadershipLostError(), grpc.StatusCode.UNAVAILABLE),
    (ShutdownError(), grpc.StatusCode.UNAVAILABLE),
    (TransferInProgressError(), grpc.StatusCode.UNAVAILABLE),
    (OverloadedError("overloaded"), grpc.StatusCode.RESOURCE_EXHAUSTED),
    (StorageError("no space left on device"), grpc.StatusCode.UNKNOWN),
    (AbortedByRestoreError(), grpc.StatusCode.ABORTED),
    (CommandTooLargeError("5 bytes, at most 4"), grpc.StatusCode.INVALID_ARGUMENT),
]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
async def test_rafts_errors_have_the_status_of_what_may_be_tried_again(error: RaftError, code: grpc.StatusCode) -> None:
    node = Node()
    node.raft.outcomes = {"apply": error, "read_index": error}
    async with node.stub() as example:
        assert await status(example.AddWord(AddWordRequest(word="word"))) == (code, str(error))
        assert await status(example.GetWords(LINEARIZABLE)) == (code, str(error))
        assert list((await example.GetWords(GetWordsRequest())).best_words) == ["", "", ""], "a local read asks nobody"


async def test_a_consistency_that_does_not_exist_is_named() -> None:
    async with Node().stub() as example:
        request = GetWordsRequest.FromString(b"\x08\x07")
        code, details = await status(example.GetWords(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details == "invalid consistency 7: must be LOCAL (0) or LINEARIZABLE (1)"


async def test_what_came_by_another_way_than_add_word_can_be_read() -> None:
    node = Node()
    node._apply(b"caf\xe9\nau lait", b"")
    async with node.stub() as example:
        assert (await example.GetWords(GetWordsRequest())).best_words[0] == "caf\ufffd au lait"


async def test_the_words_are_never_older_than_the_index_that_comes_with_them() -> None:
    """A word that is applied between the two reads, on the state machine's thread, must be among the words or after
    the index."""
    node = Node()

    class Interrupted(ScriptedRaft):
        @property
        def applied_index(self) -> int:
            before = len(applied)
            applied.append("x" * (before + 1))
            node.tracker.apply(Entry(before + 1, 1, EntryType.COMMAND, applied[-1].encode()))
            return before

        @applied_index.setter
        def applied_index(self, _: int) -> None: ...

    applied: list[str] = []
    raft = Interrupted()
    async with (
        serving(raft, ExampleService(raft, node.tracker)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        for _ in range(3):
            response = await ExampleStub(channel).GetWords(GetWordsRequest())
            assert len(response.best_words[0]) > response.read_at_index


# -- forwarding --------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[Node, Node, Any]]:
    """A follower that forwards, its leader, and a stub of the follower."""
    follower, leader = Node(State.FOLLOWER, forwards=True), Node(State.LEADER, forwards=True)
    async with leader.served() as address, follower.stub() as example:
        follower.raft.leader = Leader("leader", address)
        yield follower, leader, example


async def test_a_follower_passes_writes_and_linearizable_reads_on() -> None:
    async with pair() as (follower, leader, example):
        assert await example.AddWord(AddWordRequest(word="word")) == AddWordResponse(commit_index=1)
        assert await example.GetWords(LINEARIZABLE) == GetWordsResponse(read_at_index=1, best_words=["word", "", ""])
        assert await example.GetWords(GetWordsRequest()) == GetWordsResponse(best_words=["", "", ""]), "read locally"
    assert [call[0] for call in leader.raft.calls] == ["apply", "read_index"]
    assert follower.tracker.words == ("", "", "")


async def test_without_a_forwarder_a_follower_refuses() -> None:
    refused = (grpc.StatusCode.UNAVAILABLE, "node is not the leader")
    async with Node(State.FOLLOWER).stub() as example:
        assert await status(example.AddWord(AddWordRequest(word="word"))) == refused
        assert await status(example.GetWords(LINEARIZABLE)) == refused


async def test_a_follower_that_knows_no_leader_refuses() -> None:
    async with pair() as (follower, _, example):
        follower.raft.leader = Leader()
        assert await status(example.AddWord(AddWordRequest(word="word"))) == (
            grpc.StatusCode.UNAVAILABLE,
            "node is not the leader",
        )


async def test_a_call_is_passed_on_once_and_never_in_a_circle() -> None:
    one, other = Node(State.FOLLOWER, forwards=True), Node(State.FOLLOWER, forwards=True)
    async with one.served() as here, other.stub() as example, grpc.aio.insecure_channel(here) as channel:
        one.raft.leader = other.raft.leader = Leader("one", here)
        refused = (grpc.StatusCode.UNAVAILABLE, "node is not the leader")
        assert await status(example.AddWord(AddWordRequest(word="word"), timeout=5)) == refused
        assert await status(example.GetWords(LINEARIZABLE, timeout=5)) == refused
        assert len(one.raft.calls) == len(other.raft.calls) == 2
        marked = ExampleStub(channel).AddWord(AddWordRequest(word="word"), metadata=((FORWARDED, "1"),))
        assert await status(marked) == refused
        assert len(one.raft.calls) == 3


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
async def test_the_leaders_error_is_the_followers(error: RaftError, code: grpc.StatusCode) -> None:
    async with pair() as (_, leader, example):
        leader.raft.outcomes = {"apply": error, "read_index": error}
        assert await status(example.AddWord(AddWordRequest(word="word"))) == (code, str(error))
        assert await status(example.GetWords(LINEARIZABLE)) == (code, str(error))


async def test_a_leader_that_is_gone_makes_the_call_unavailable() -> None:
    follower = Node(State.FOLLOWER, forwards=True)
    async with Node().served() as gone:
        pass
    follower.raft.leader = Leader("gone", gone)
    async with follower.stub() as example:
        code, _ = await status(example.AddWord(AddWordRequest(word="word")))
    assert code is grpc.StatusCode.UNAVAILABLE


class Deadlines(ExampleService):
    """Notes what is left of each call's deadline."""

    seen: list[float | None]

    async def AddWord(self, request: AddWordRequest, context: Any) -> AddWordResponse:
        self.seen.append(context.time_remaining())
        return AddWordResponse()


@pytest.mark.parametrize("timeout", [None, 500.0])
async def test_the_leader_is_given_what_is_left_of_the_clients_deadline(timeout: float | None) -> None:
    leader, follower = Node(), Node(State.FOLLOWER, forwards=True)
    service = Deadlines(leader.raft, leader.tracker)
    service.seen = []
    async with serving(leader.raft, service) as address, follower.stub() as example:
        follower.raft.leader = Leader("leader", address)
        await example.AddWord(AddWordRequest(word="word"), timeout=timeout)
    (seen,) = service.seen
    if timeout is None:
        assert seen is None
    else:
        assert seen is not None
        assert 0 < seen <= timeout + 2  # A client rounds what it sends up, and there are two.


async def test_a_client_that_gives_up_ends_the_forwarded_call() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()
    under_way: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    under_way.add_done_callback(lambda _: ended.set())

    def begin(*_: object) -> "asyncio.Future[int]":
        begun.set()
        return under_way

    async with pair() as (_, leader, example):
        leader.raft.outcomes["read_index"] = begin
        call = example.GetWords(GetWordsRequest(consistency=GetWordsRequest.LINEARIZABLE))
        await begun.wait()
        call.cancel()
        await ended.wait()
    assert under_way.cancelled()


async def test_a_new_leader_is_passed_on_to_as_the_old_one_was() -> None:
    async with pair() as (follower, old, example):
        new = Node()
        async with new.served() as address:
            for leader in (follower.raft.leader, Leader("new", address), follower.raft.leader):
                follower.raft.leader = leader
                await example.AddWord(AddWordRequest(word=leader.id))
        assert old.tracker.words == ("leader", "leader", "")
        assert new.tracker.words == ("new", "", "")
