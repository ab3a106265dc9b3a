"""Clients that find and follow the leader, over real connections."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from admin.scripted_raft import ScriptedRaft, serving
from pyraft_lite.core.errors import LeadershipLostError, NotLeaderError
from pyraft_lite.rpc.client import call_leader, channel_options, find_leader
from pyraft_lite.rpc.engine import CallContext
from pyraft_lite.rpc.pb.example_pb2 import AddWordRequest, AddWordResponse, GetWordsRequest, GetWordsResponse
from pyraft_lite.rpc.pb.example_pb2_grpc import ExampleServicer, ExampleStub
from pyraft_lite.rpc.status import abort_with
from pyraft_lite.rpc.targets import grpc_target
from pyraft_lite.runtime.api import State

PATIENCE = 20.0


class Words(ExampleServicer):
    """Takes words if its node leads, unless it is to do something else with the next ones first."""

    def __init__(
        self, *first: "asyncio.Future[None] | Exception | grpc.StatusCode", raft: ScriptedRaft | None = None
    ) -> None:
        self.first = list(first)
        self.raft = raft or ScriptedRaft(State.LEADER)
        self.called = asyncio.Event()
        self.calls = 0
        self.words: list[str] = []

    async def AddWord(self, request: AddWordRequest, context: CallContext) -> AddWordResponse:
        self.calls += 1
        self.called.set()
        if self.raft.state is not State.LEADER:
            await abort_with(context, NotLeaderError(), retriable=True)
        if self.first:
            match self.first.pop(0):
                case LeadershipLostError() as error:
                    await abort_with(context, error, retriable=True)
                case grpc.StatusCode() as code:
                    await context.abort(code, "as told")
                case asyncio.Future() as until:
                    await until
        self.words.append(request.word)
        return AddWordResponse(commit_index=len(self.words))

    async def GetWords(self, request: GetWordsRequest, context: CallContext) -> GetWordsResponse:
        raise NotImplementedError


def following(*addresses: str) -> grpc.aio.Channel:
    target = grpc_target("multi:///" + ",".join(addresses))
    return grpc.aio.insecure_channel(target, options=channel_options("Example"))


async def add(channel: grpc.aio.Channel, word: str, timeout: float = PATIENCE) -> int:
    response = await call_leader(ExampleStub(channel).AddWord, AddWordRequest(word=word), timeout=timeout)
    return response.commit_index


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Lets the pauses between attempts take no time; records how long they should have been."""
    recorded: list[float] = []
    sleep = asyncio.sleep

    async def sleep_not(seconds: float) -> None:
        recorded.append(seconds)
        await sleep(0)

    monkeypatch.setattr("pyraft_lite.rpc.client.asyncio.sleep", sleep_not)
    return recorded


# -- a channel that follows the leader ---------------------------------------------------------------------------------


async def test_a_call_waits_no_longer_than_it_may_and_waiting_takes_no_attempts(pauses: list[float]) -> None:
    async with serving(ScriptedRaft(State.FOLLOWER), Words()) as address, following(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await add(channel, "word", timeout=0.2)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert pauses == []


# -- attempts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [
        LeadershipLostError(),
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    ],
)
async def test_what_another_attempt_may_mend_is_tried_again(
    failure: Exception | grpc.StatusCode, pauses: list[float]
) -> None:
    words = Words(failure, failure, failure, failure)
    async with serving(ScriptedRaft(), words) as address, following(address) as channel:
        assert await add(channel, "word") == 1
    assert words.calls == 5


async def test_five_attempts_must_do_with_pauses_that_double_and_outlast_an_election_timeout(
    pauses: list[float],
) -> None:
    words = Words(*[LeadershipLostError() for _ in range(6)])
    async with serving(ScriptedRaft(), words) as address, following(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await add(channel, "word")
    assert failed.value.details() == "leadership lost while committing log"
    assert words.calls == 5
    least = [0.1, 0.2, 0.4, 0.8]
    assert all(low <= pause <= low * 1.25 for low, pause in zip(least, pauses, strict=True))
    assert sum(least) > 1.0


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.ABORTED, grpc.StatusCode.UNKNOWN], ids=str
)
async def test_what_another_attempt_would_not_mend_fails_at_once(code: grpc.StatusCode) -> None:
    words = Words(code)
    async with serving(ScriptedRaft(), words) as address, following(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await add(channel, "word")
    assert (failed.value.code(), words.calls) == (code, 1)


async def test_the_last_failure_is_told_at_once_if_the_pause_would_outlast_the_timeout(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyraft_lite.rpc.client.FIRST_BACKOFF", PATIENCE)
    words = Words(LeadershipLostError())
    async with serving(ScriptedRaft(), words) as address, following(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await add(channel, "word")
    assert failed.value.details() == "leadership lost while committing log"
    assert (words.calls, pauses) == (1, [])


async def test_a_caller_that_is_cancelled_tries_no_more() -> None:
    words = Words(asyncio.get_running_loop().create_future())
    async with serving(ScriptedRaft(), words) as address, following(address) as channel:
        call = asyncio.create_task(add(channel, "word"))
        await words.called.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await add(channel, "the next one") == 1
    assert words.calls == 2


async def test_a_leader_that_ends_under_a_call_is_followed_by_the_next() -> None:
    old, new = ScriptedRaft(State.LEADER), ScriptedRaft(State.FOLLOWER)
    stuck, words = Words(asyncio.get_running_loop().create_future()), Words()
    async with serving(new, words) as second:
        async with serving(old, stuck) as first:
            channel = following(first, second)
            call = asyncio.create_task(add(channel, "word"))
            await stuck.called.wait()
        new.become(State.LEADER)
        async with channel:
            assert await call == 1
    assert words.words == ["word"]


# -- finding it --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def three() -> AsyncIterator[tuple[list[ScriptedRaft], list[str]]]:
    """Three followers, and where they are."""
    rafts = [ScriptedRaft(State.FOLLOWER) for _ in range(3)]
    async with serving(rafts[0]) as a, serving(rafts[1]) as b, serving(rafts[2]) as c:
        yield rafts, [a, b, c]


@pytest.mark.parametrize("number", range(3))
async def test_the_leader_is_found_among_the_nodes(three: tuple[list[ScriptedRaft], list[str]], number: int) -> None:
    rafts, addresses = three
    rafts[number].become(State.LEADER)
    assert await find_leader("multi:///" + ",".join(addresses)) == f"ipv4:{addresses[number]}"


async def test_the_leader_is_found_once_there_is_one(three: tuple[list[ScriptedRaft], list[str]]) -> None:
    rafts, addresses = three
    search = asyncio.create_task(find_leader("multi:///" + ",".join(addresses), "Example"))
    for raft in rafts:
        await raft.watched.wait()
    assert not search.done()
    rafts[1].become(State.LEADER)
    assert await search == f"ipv4:{addresses[1]}"


async def test_the_leader_is_found_though_other_nodes_are_down(three: tuple[list[ScriptedRaft], list[str]]) -> None:
    rafts, addresses = three
    async with serving(ScriptedRaft()) as gone:
        pass
    rafts[2].become(State.LEADER)
    assert await find_leader(f"multi:///{gone},{addresses[2]}") == f"ipv4:{addresses[2]}"


async def test_a_search_that_is_given_up_leaves_nothing_behind(
    three: tuple[list[ScriptedRaft], list[str]],
) -> None:
    _, addresses = three
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await find_leader(addresses[0])
    assert not [task for task in asyncio.all_tasks() if "find_leader" in repr(task.get_coro())]


async def test_a_bad_target_is_no_search() -> None:
    with pytest.raises(ValueError, match="invalid target 'nope'"):
        await find_leader("nope")
