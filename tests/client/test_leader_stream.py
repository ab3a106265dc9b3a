"""A client's stream that outlasts its leaders, over real connections."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator

import grpc
import pytest

from admin.scripted_raft import ScriptedRaft, serving
from client.test_following import following
from pyraft_lite.rpc.engine import CallContext
from pyraft_lite.rpc.leader_stream import RESUMED, stream_to_leader
from pyraft_lite.rpc.pb.example_pb2 import AddWordsRequest, AddWordsResponse
from pyraft_lite.rpc.pb.example_pb2_grpc import ExampleServicer, ExampleStub
from pyraft_lite.runtime.api import State

PATIENCE = 20.0


class Words(ExampleServicer):
    """Takes words; ends the first streams as ``ends`` has it: after so many answers, with this status. A stream that
    may answer no more goes on taking words in, as a leader does that can't commit."""

    def __init__(self, *ends: tuple[int, grpc.StatusCode], log: list[str] | None = None) -> None:
        self.ends = list(ends)
        self.raft = ScriptedRaft(State.LEADER)
        self.log = [] if log is None else log
        self.streams = 0
        self.ended = asyncio.Event()
        self.held = asyncio.Event()
        self.holds: int | None = None

    async def AddWords(
        self, request_iterator: AsyncIterator[AddWordsRequest], context: CallContext
    ) -> AsyncIterator[AddWordsResponse]:
        self.streams += 1
        answers, code = self.ends.pop(0) if self.ends else (None, grpc.StatusCode.OK)
        try:
            for count in itertools.count():
                if count == self.holds:
                    self.held.set()
                    await asyncio.Event().wait()
                if (request := await anext(aiter(request_iterator), None)) is None:
                    return
                if count == answers:
                    await context.abort(code, "as told")
                self.log.extend(request.words)
                yield AddWordsResponse(commit_indexes=[len(self.log)])
        finally:
            self.ended.set()


async def words(*some: str) -> AsyncGenerator[AddWordsRequest, None]:
    for word in some:
        yield AddWordsRequest(words=[word])


async def collect(answers: AsyncIterable[tuple[AddWordsRequest, AddWordsResponse]], acknowledged: list[str]) -> None:
    async for request, _ in answers:
        acknowledged.append(request.words[0])


async def added(channel: grpc.aio.Channel, *some: str, timeout: float = PATIENCE, window: int = 4) -> list[str]:
    """The words that were acknowledged."""
    method = ExampleStub(channel).AddWords
    answers = stream_to_leader(method, words(*some), timeout=timeout, window=window)
    return [request.words[0] async for request, _ in answers]


TEN = [f"word {number}" for number in range(10)]


async def test_each_request_comes_back_with_its_response() -> None:
    service = Words()
    async with serving(service.raft, service) as address, following(address) as channel:
        answers = stream_to_leader(ExampleStub(channel).AddWords, words(*TEN), timeout=PATIENCE)
        pairs = [(request.words[0], response.commit_indexes[0]) async for request, response in answers]
        assert pairs == [(word, index) for index, word in enumerate(TEN, 1)]
    assert service.streams == 1


async def test_whoever_has_nothing_to_send_needs_no_leader() -> None:
    service = Words()
    service.raft.become(State.FOLLOWER)
    async with serving(service.raft, service) as address, following(address) as channel:
        assert await added(channel) == []
    assert service.streams == 0


async def test_it_ends_with_its_source_even_if_the_stream_does_not() -> None:
    service = Words()
    service.holds = 1
    last = asyncio.Event()

    async def source() -> AsyncIterator[AddWordsRequest]:
        yield AddWordsRequest(words=["word"])
        await last.wait()

    async with serving(service.raft, service) as address, following(address) as channel:
        answers = stream_to_leader(ExampleStub(channel).AddWords, source(), timeout=PATIENCE)
        await anext(answers)
        ending = asyncio.create_task(collect(answers, []))
        await service.held.wait()
        last.set()
        await ending


@pytest.mark.parametrize("code", RESUMED)
async def test_what_is_not_answered_is_sent_again_in_order(code: grpc.StatusCode) -> None:
    service = Words((0, code), (3, code), (0, code), (0, code), (2, code))
    async with serving(service.raft, service) as address, following(address) as channel:
        assert await added(channel, *TEN) == TEN
    assert service.log == TEN, "this service loses no answers"
    assert service.streams == 6


async def test_it_goes_on_with_the_next_leader() -> None:
    log: list[str] = []
    one, other = Words((5, grpc.StatusCode.UNAVAILABLE), log=log), Words(log=log)
    other.raft.become(State.FOLLOWER)
    async with (
        serving(one.raft, one) as here,
        serving(other.raft, other) as there,
        following(here, there) as channel,
    ):
        adding = asyncio.create_task(added(channel, *TEN))
        await one.ended.wait()
        one.raft.become(State.FOLLOWER)
        other.raft.become(State.LEADER)
        assert await adding == TEN
    assert log == TEN
    assert other.streams == 1


async def test_it_goes_on_when_the_leaders_process_is_gone() -> None:
    log: list[str] = []
    one, other = Words(log=log), Words(log=log)
    one.holds = 3
    other.raft.become(State.FOLLOWER)
    async with serving(other.raft, other) as there:
        async with serving(one.raft, one) as here:
            channel = following(here, there)
            adding = asyncio.create_task(added(channel, *TEN))
            await one.held.wait()
        other.raft.become(State.LEADER)
        assert await adding == TEN
        await channel.close()
    assert list(dict.fromkeys(log)) == TEN, "those whose answers were lost may be there twice"


async def test_another_status_ends_it_after_the_answers_before() -> None:
    end = (2, grpc.StatusCode.INVALID_ARGUMENT)
    # If a write meets the first end, the status is learnt from another stream.
    service = Words((0, grpc.StatusCode.UNAVAILABLE), end, (0, end[1]), (0, end[1]))
    acknowledged: list[str] = []
    async with serving(service.raft, service) as address, following(address) as channel:
        answers = stream_to_leader(ExampleStub(channel).AddWords, words(*TEN), timeout=PATIENCE)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await collect(answers, acknowledged)
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "as told")
    assert acknowledged == TEN[:2]


async def test_no_more_is_taken_than_the_window_holds() -> None:
    service = Words()
    service.holds = 5
    taken = 0

    async def source() -> AsyncIterator[AddWordsRequest]:
        nonlocal taken
        for word in TEN * 10:
            taken += 1
            yield AddWordsRequest(words=[word])

    async with serving(service.raft, service) as address, following(address) as channel:
        answers = stream_to_leader(ExampleStub(channel).AddWords, source(), timeout=PATIENCE, window=3)
        for count in range(1, 6):
            await anext(answers)
            assert taken <= count + 3
        waiting = asyncio.ensure_future(anext(answers))
        await service.held.wait()
        await asyncio.sleep(0.1)
        assert taken == 5 + 3
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_without_an_answer_it_gives_up_in_time_and_says_why() -> None:
    service = Words(*[(0, grpc.StatusCode.UNAVAILABLE)] * 1000)
    async with serving(service.raft, service) as address, following(address) as channel:
        with pytest.raises(TimeoutError, match=r"^no answer for 1 s; the last stream ended with UNAVAILABLE: as told$"):
            await added(channel, "word", timeout=1)
        assert service.streams < 10, "it pauses between streams"
        service.raft.become(State.FOLLOWER)
        with pytest.raises(TimeoutError, match=r"^no answer for 0\.3 s$"):
            await added(channel, "word", timeout=0.3)
        service.ends.clear()
        service.holds = 1
        service.raft.become(State.LEADER)
        with pytest.raises(TimeoutError, match=r"^no answer for 0\.3 s$"):
            await added(channel, "one", "two", timeout=0.3)


async def test_time_without_requests_or_with_a_slow_consumer_does_not_count() -> None:
    service = Words()

    async def slow() -> AsyncIterator[AddWordsRequest]:
        for word in TEN[:2]:
            await asyncio.sleep(1.2)
            yield AddWordsRequest(words=[word])

    async with serving(service.raft, service) as address, following(address) as channel:
        method = ExampleStub(channel).AddWords
        assert await added(channel, "connects") == ["connects"]
        assert [request.words[0] async for request, _ in stream_to_leader(method, slow(), timeout=1)] == TEN[:2]
        acknowledged = []
        async for request, _ in stream_to_leader(method, words(*TEN[:3]), timeout=1):
            acknowledged.append(request.words[0])
            await asyncio.sleep(1.2)
        assert acknowledged == TEN[:3]


async def test_an_error_of_the_source_comes_after_the_answers_to_what_it_gave() -> None:
    service = Words()

    async def broken() -> AsyncIterator[AddWordsRequest]:
        yield AddWordsRequest(words=["word"])
        raise ZeroDivisionError

    acknowledged: list[str] = []
    async with serving(service.raft, service) as address, following(address) as channel:
        answers = stream_to_leader(ExampleStub(channel).AddWords, broken(), timeout=PATIENCE)
        with pytest.raises(ZeroDivisionError):
            await collect(answers, acknowledged)
    assert acknowledged == ["word"]


async def test_whoever_stops_early_ends_the_stream() -> None:
    service = Words()
    async with serving(service.raft, service) as address, following(address) as channel:
        answers = stream_to_leader(ExampleStub(channel).AddWords, words(*TEN), timeout=PATIENCE, window=1)
        await anext(answers)
        await answers.aclose()
        await service.ended.wait()
    assert len(service.log) < len(TEN)
