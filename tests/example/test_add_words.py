"""AddWords over real connections: a stream of requests, read ahead and answered in order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import grpc
import pytest

from admin.scripted_raft import ScriptedRaft, serving
from example.test_example_service import ERRORS, Node, pair
from pyraft_lite.core.entry import ENTRY_OVERHEAD
from pyraft_lite.core.errors import LeadershipLostError, NotLeaderError, OverloadedError, RaftError
from pyraft_lite.core.settings import MAX_MESSAGE_BYTES
from pyraft_lite.rpc.pb.example_pb2 import AddWordRequest, AddWordsRequest, AddWordsResponse
from pyraft_lite.rpc.pb.example_pb2_grpc import ExampleStub
from pyraft_lite.runtime.api import Leader, State
from raftexample.application import ExampleService, WordTracker
from raftexample.forwarding import FORWARDED
from raftexample.word_stream import WINDOW_BYTES, WINDOW_WORDS, WordStream

NOT_LEADER = (grpc.StatusCode.UNAVAILABLE, "node is not the leader")


def request(*words: str) -> AddWordsRequest:
    return AddWordsRequest(words=words)


def indexes(*values: int) -> AddWordsResponse:
    return AddWordsResponse(commit_indexes=values)


async def answers(call: Any) -> tuple[list[AddWordsResponse], grpc.StatusCode, str]:
    """All that a stream answers, and how it ends."""
    received: list[AddWordsResponse] = []
    with contextlib.suppress(grpc.aio.AioRpcError):
        async for response in call:
            received.append(response)  # noqa: PERF401 (an error must not take those before it away)
    return received, await call.code(), await call.details()


class Held:
    """A leader that commits only what it is told to."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.commits: list[asyncio.Future[int | RaftError]] = []
        self.changed = asyncio.Event()
        self.raft = ScriptedRaft(outcomes={"apply": self._apply})
        self.service = ExampleService(self.raft, WordTracker())

    def _apply(self, data: bytes, _: bytes) -> "asyncio.Future[int | RaftError]":
        self.words.append(data.decode())
        self.commits.append(asyncio.get_running_loop().create_future())
        self.changed.set()
        return self.commits[-1]

    @contextlib.asynccontextmanager
    async def stub(self) -> AsyncIterator[Any]:
        async with serving(self.raft, self.service) as address, grpc.aio.insecure_channel(address) as channel:
            yield ExampleStub(channel)

    async def until_taken(self, count: int) -> None:
        """Waits until so many words have been proposed."""
        while len(self.words) < count:
            self.changed.clear()
            await self.changed.wait()

    async def until_quiet(self) -> int:
        """How many words have been proposed once there come no more."""
        last = -1
        while last != (last := len(self.words)):  # noqa: ASYNC110 (nothing tells that nothing happens)
            await asyncio.sleep(0.3)
        return last


async def test_each_request_is_answered_with_the_indexes_of_its_words() -> None:
    node = Node()
    async with node.stub() as example:
        call = example.AddWords([request("one", "two"), request(), request("three")])
        assert await answers(call) == ([indexes(1, 2), indexes(), indexes(3)], grpc.StatusCode.OK, "")
    assert node.tracker.words == ("three", "one", "two")


async def test_a_stream_without_requests_ends_well() -> None:
    async with Node().stub() as example:
        assert await answers(example.AddWords([])) == ([], grpc.StatusCode.OK, "")


async def test_a_request_is_taken_in_before_those_before_it_are_answered_and_the_answers_keep_their_order() -> None:
    held = Held()
    async with held.stub() as example:
        call = example.AddWords([request("one"), request(), request("two", "three")])
        await held.until_taken(3)
        for index in (2, 1, 0):
            held.commits[index].set_result(index)
        assert await answers(call) == ([indexes(0), indexes(), indexes(1, 2)], grpc.StatusCode.OK, "")


async def test_a_client_may_wait_for_each_answer() -> None:
    async with Node().stub() as example:
        call = example.AddWords()
        for index in (1, 2, 3):
            await call.write(request("word"))
            assert await anext(aiter(call)) == indexes(index)
        await call.done_writing()
        assert await answers(call) == ([], grpc.StatusCode.OK, "")


# -- what is refused ---------------------------------------------------------------------------------------------------

TOO_LARGE = "x" * (MAX_MESSAGE_BYTES - ENTRY_OVERHEAD + 1)


@pytest.mark.parametrize("word", ["two\nlines", TOO_LARGE], ids=["newline", "too large"])
async def test_a_bad_word_is_named_and_nothing_of_its_request_is_added(word: str) -> None:
    node = Node()
    async with node.stub() as example:
        with pytest.raises(grpc.aio.AioRpcError) as alone:
            await example.AddWord(AddWordRequest(word=word))
        call = example.AddWords([request("before"), request("good", word)])
        text = f"word 2 of request 2: {alone.value.details()}"
        assert await answers(call) == ([indexes(1)], grpc.StatusCode.INVALID_ARGUMENT, text)
    assert alone.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert node.raft.calls == [("apply", b"before", b"")]


async def test_a_request_of_more_words_than_a_window_holds_is_refused() -> None:
    node = Node()
    async with node.stub() as example:
        most = request(*[""] * WINDOW_WORDS)
        assert (await answers(example.AddWords([most])))[0] == [indexes(*range(1, WINDOW_WORDS + 1))]
        call = example.AddWords([request(*[""] * (WINDOW_WORDS + 1))])
        text = f"request 1 has {WINDOW_WORDS + 1} words: it must have at most {WINDOW_WORDS}"
        assert await answers(call) == ([], grpc.StatusCode.INVALID_ARGUMENT, text)
    assert len(node.raft.calls) == WINDOW_WORDS


async def test_a_request_that_is_unreadable_ends_the_stream_after_the_answers_before_it() -> None:
    async with Node().served() as address, grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream("/Example/AddWords", None, AddWordsResponse.FromString)(
            [request("good").SerializeToString(), b"\x0a\x01\xff"]
        )
        received, code, _ = await answers(call)
    assert received == [indexes(1)]
    assert code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
async def test_the_first_failure_ends_the_stream_after_the_answers_before_it(
    error: RaftError, code: grpc.StatusCode
) -> None:
    held = Held()
    async with held.stub() as example:
        call = example.AddWords([request("one"), request("two", "three"), request("four")])
        await held.until_taken(4)
        for commit, outcome in zip(held.commits, (1, 2, error, LeadershipLostError()), strict=True):
            commit.set_result(outcome)
        assert await answers(call) == ([indexes(1)], code, str(error))


async def test_a_request_that_the_node_has_no_room_for_waits_and_keeps_its_place() -> None:
    node = Node()
    refused: list[tuple[bytes, ...]] = []
    apply_all = node.raft.apply_all

    def refuse_first(commands: Sequence[bytes]) -> Any:
        if len(refused) < 3:
            refused.append(tuple(commands))
            raise OverloadedError("full")
        return apply_all(commands)

    node.raft.apply_all = refuse_first  # type: ignore[method-assign]
    async with node.stub() as example:
        call = example.AddWords([request("one", "two"), request("three")])
        assert await answers(call) == ([indexes(1, 2), indexes(3)], grpc.StatusCode.OK, "")
    assert refused == [(b"one", b"two")] * 3
    assert [call[1] for call in node.raft.calls] == [b"one", b"two", b"three"]


# -- leadership --------------------------------------------------------------------------------------------------------


async def test_a_follower_ends_a_stream_at_once() -> None:
    async with Node(State.FOLLOWER).stub() as example:
        assert await answers(example.AddWords()) == ([], *NOT_LEADER)


@pytest.mark.parametrize("state", [State.FOLLOWER, State.SHUTDOWN])
async def test_an_idle_stream_ends_when_leadership_does(state: State) -> None:
    node = Node()
    async with node.stub() as example:
        call = example.AddWords()
        await call.write(request("word"))
        assert await anext(aiter(call)) == indexes(1)
        node.raft.become(state)
        assert await answers(call) == ([], *NOT_LEADER)
    assert node.raft.observers == []


async def test_a_stream_that_is_closed_as_soon_as_it_is_there_ends() -> None:
    """Before its reader has taken a step."""

    async def nothing() -> AsyncIterator[AddWordsRequest]:
        await asyncio.Event().wait()
        yield request()

    stream = WordStream(ScriptedRaft(), nothing(), asyncio.Lock())
    stream.close(NotLeaderError())
    with pytest.raises(NotLeaderError):
        await anext(stream.responses())


async def test_what_was_taken_in_is_answered_after_leadership_ended() -> None:
    held = Held()
    async with held.stub() as example:
        call = example.AddWords()
        await call.write(request("committed"))
        await held.until_taken(1)
        held.raft.become(State.FOLLOWER)
        held.commits[0].set_result(7)
        assert await answers(call) == ([indexes(7)], *NOT_LEADER)


async def test_a_stream_ends_when_the_service_closes_with_what_was_taken_in_answered() -> None:
    node = Held()
    async with node.stub() as example:
        call = example.AddWords()
        await call.write(request("word"))
        await node.until_taken(1)
        node.service.close()
        node.commits[0].set_result(7)
        text = "raft is already shutdown"
        assert await answers(call) == ([indexes(7)], grpc.StatusCode.UNAVAILABLE, text)


# -- flow control and clients that vanish ------------------------------------------------------------------------------


async def write_all(call: Any, requests: Iterable[AddWordsRequest]) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError, asyncio.InvalidStateError):
        for each in requests:
            await call.write(each)


@pytest.mark.parametrize(
    ("words", "fit"),
    [
        (["word"] * 100, WINDOW_WORDS // 100 * 100),
        (["x" * 1000] * 100, WINDOW_BYTES // 100_000 * 100),
        (["x" * (WINDOW_BYTES + 1)], 1),
    ],
    ids=["words", "bytes", "a request larger than the window"],
)
async def test_no_more_is_taken_in_than_the_window_holds(words: list[str], fit: int) -> None:
    held = Held()
    async with held.stub() as example:
        call = example.AddWords()
        writing = asyncio.create_task(write_all(call, [request(*words)] * 100))
        assert await held.until_quiet() == fit
        for index in range(len(words)):
            held.commits[index].set_result(index)
        await held.until_taken(fit + len(words))
        assert await held.until_quiet() == fit + len(words)
        call.cancel()
        await writing


async def test_answers_that_the_client_does_not_read_stop_the_server_from_taking_more_in() -> None:
    node = Node()
    async with node.stub() as example:
        call = example.AddWords()
        # Indexes so large that the answers fill what the network holds soon.
        node.raft.applied_index = 1 << 62
        requests = (request(*[""] * WINDOW_WORDS) for _ in range(10_000))
        writing = asyncio.create_task(write_all(call, requests))
        taken = -1
        while taken != (taken := len(node.raft.calls)):  # noqa: ASYNC110 (nothing tells that nothing happens)
            await asyncio.sleep(0.5)
        assert 0 < taken < 1_000 * WINDOW_WORDS
        assert not writing.done()
        call.cancel()
        await writing


async def test_a_stream_ends_with_its_client() -> None:
    held = Held()
    async with held.stub() as example:
        call = example.AddWords()
        await call.write(request("under way"))
        await held.until_taken(1)
        call.cancel()
        ended = asyncio.Event()
        held.commits[0].add_done_callback(lambda _: ended.set())
        await ended.wait()
    assert held.commits[0].cancelled()
    assert held.raft.observers == []


async def test_a_stream_ends_with_its_deadline() -> None:
    held = Held()
    async with held.stub() as example:
        call = example.AddWords([request("under way")], timeout=0.2)
        received, code, _ = await answers(call)
        assert (received, code) == ([], grpc.StatusCode.DEADLINE_EXCEEDED)
        ended = asyncio.Event()
        held.commits[0].add_done_callback(lambda _: ended.set())
        await ended.wait()
    assert held.raft.observers == []


# -- forwarding --------------------------------------------------------------------------------------------------------


async def test_a_follower_passes_a_stream_on() -> None:
    async with pair() as (follower, leader, example):
        call = example.AddWords([request("one", "two"), request(), request("three")])
        assert await answers(call) == ([indexes(1, 2), indexes(), indexes(3)], grpc.StatusCode.OK, "")
    assert leader.tracker.words == ("three", "one", "two")
    assert follower.raft.calls == []
    assert follower.raft.observers == leader.raft.observers == []


async def test_each_answer_of_a_forwarded_stream_comes_when_it_is_there() -> None:
    async with pair() as (_, _, example):
        call = example.AddWords()
        for index in (1, 2, 3):
            await call.write(request("word"))
            assert await anext(aiter(call)) == indexes(index)
        call.cancel()


async def test_a_follower_that_knows_no_leader_or_got_a_forwarded_stream_refuses() -> None:
    async with pair() as (follower, _, example):
        assert await answers(example.AddWords(metadata=((FORWARDED, "1"),))) == ([], *NOT_LEADER)
        follower.raft.leader = Leader()
        assert await answers(example.AddWords()) == ([], *NOT_LEADER)


async def test_the_end_of_the_leaders_stream_is_that_of_the_forwarded_one() -> None:
    async with pair() as (_, leader, example):
        call = example.AddWords([request("good"), request("two\nlines")])
        text = "word 1 of request 2: invalid word: it must not hold a newline"
        assert await answers(call) == ([indexes(1)], grpc.StatusCode.INVALID_ARGUMENT, text)
        call = example.AddWords()
        await call.write(request("good"))
        assert await anext(aiter(call)) == indexes(2)
        leader.raft.become(State.FOLLOWER)
        assert await answers(call) == ([], *NOT_LEADER)


async def test_a_forwarded_stream_ends_when_its_follower_has_another_leader() -> None:
    """The old one may be cut off, so that it can't end the stream itself."""
    async with pair() as (follower, _, example):
        call = example.AddWords()
        await call.write(request("word"))
        assert await anext(aiter(call)) == indexes(1)
        follower.raft.leader = Leader("another", "127.0.0.1:1")
        follower.raft.become(State.FOLLOWER)
        assert await answers(call) == ([], *NOT_LEADER)


async def test_a_client_that_gives_up_ends_the_forwarded_stream() -> None:
    async with pair() as (_, leader, example):
        ended = asyncio.Event()
        under_way: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        under_way.add_done_callback(lambda _: ended.set())
        leader.raft.outcomes["apply"] = under_way
        call = example.AddWords([request("word")])
        while not leader.raft.calls:  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.01)
        call.cancel()
        await ended.wait()
    assert under_way.cancelled()
