"""Streams of appends, both ends."""

import asyncio

import grpc
import pytest
from peers import ALICE, Handler, append, calling, send, serving, serving_node, yes

from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import ShutdownError
from pyraft_lite.core.messages import AppendEntriesRequest, Request, Response
from pyraft_lite.rpc import wire
from pyraft_lite.rpc.append_stream import MAX_BYTES_IN_FLIGHT, MAX_IN_FLIGHT, AppendStream
from pyraft_lite.rpc.pb import raft_transport_pb2 as pb
from pyraft_lite.rpc.pb.raft_transport_pb2_grpc import RaftTransportStub
from pyraft_lite.rpc.transport import Deadlines
from pyraft_lite.runtime.transport import Answer, FailureKind, TransportError

LARGE = 3 * 1024 * 1024


def large_append(index: int) -> AppendEntriesRequest:
    return append(index)._replace(entries=(Entry(index + 1, 1, EntryType.COMMAND, bytes(LARGE)),))


class Slow:
    """Answers requests only when told to; by their ``prev_index``."""

    def __init__(self) -> None:
        self.may_answer: dict[int, asyncio.Event] = {}
        self.taken_in: asyncio.Queue[int] = asyncio.Queue()

    def gate(self, index: int) -> asyncio.Event:
        return self.may_answer.setdefault(index, asyncio.Event())

    async def __call__(self, request: Request) -> Response:
        assert isinstance(request, AppendEntriesRequest)
        self.taken_in.put_nowait(request.prev_index)
        await self.gate(request.prev_index).wait()
        return yes(request)


async def test_responses_come_in_the_order_of_the_requests() -> None:
    handler = Handler()
    async with serving(handler) as bob, calling() as transport:
        pipeline = transport.pipeline(bob)
        futures = [send(pipeline, append(i)) for i in range(500)]
        responses = await asyncio.gather(*futures)
    assert responses == [yes(append(i)) for i in range(500)]
    assert handler.requests == [append(i) for i in range(500)]


async def test_a_later_request_starts_before_the_earlier_one_is_answered() -> None:
    slow = Slow()
    async with serving(Handler(answer=slow)) as bob, calling() as transport:
        pipeline = transport.pipeline(bob)
        first, second = send(pipeline, append(1)), send(pipeline, append(2))
        assert [await slow.taken_in.get(), await slow.taken_in.get()] == [1, 2]
        slow.gate(1).set()
        assert await first == yes(append(1))
        assert not second.done()
        slow.gate(2).set()
        assert await second == yes(append(2))


async def test_an_answer_that_is_ready_early_waits_for_its_turn() -> None:
    slow = Slow()
    async with serving(Handler(answer=slow)) as bob, calling() as transport:
        pipeline = transport.pipeline(bob)
        first, second = send(pipeline, append(1)), send(pipeline, append(2))
        slow.gate(2).set()
        assert [await slow.taken_in.get(), await slow.taken_in.get()] == [1, 2]
        # A unary call on the same connection: had the second response been let out, it would have come first.
        slow.gate(3).set()
        await transport.send(bob, append(3))
        assert not second.done()
        slow.gate(1).set()
        assert await first == yes(append(1))
        assert await second == yes(append(2))


async def test_no_more_than_the_limit_is_under_way_at_a_time() -> None:
    slow = Slow()
    async with serving(Handler(answer=slow)) as bob, calling() as transport:
        pipeline = transport.pipeline(bob)
        futures = [send(pipeline, append(i)) for i in range(MAX_IN_FLIGHT + 1)]
        for i in range(MAX_IN_FLIGHT):
            assert await slow.taken_in.get() == i
        slow.gate(1000).set()
        await transport.send(bob, append(1000))
        assert await slow.taken_in.get() == 1000
        assert slow.taken_in.empty()
        for i in range(MAX_IN_FLIGHT + 1):
            slow.gate(i).set()
        assert await asyncio.gather(*futures) == [yes(append(i)) for i in range(MAX_IN_FLIGHT + 1)]


async def test_no_more_requests_are_started_while_so_many_bytes_are_under_way() -> None:
    slow = Slow()
    most = MAX_BYTES_IN_FLIGHT // LARGE + 1
    async with serving(Handler(answer=slow)) as bob, calling() as transport:
        pipeline = transport.pipeline(bob)
        futures = [send(pipeline, large_append(i)) for i in range(most + 1)]
        for i in range(most):
            assert await slow.taken_in.get() == i
        slow.gate(1000).set()
        await transport.send(bob, append(1000))
        assert await slow.taken_in.get() == 1000
        assert slow.taken_in.empty()
        slow.gate(0).set()
        assert await slow.taken_in.get() == most
        for i in range(most + 1):
            slow.gate(i).set()
        await asyncio.gather(*futures)


async def test_when_the_peer_dies_all_unanswered_and_all_later_requests_fail() -> None:
    slow = Slow()
    async with calling() as transport:
        async with serving(Handler(answer=slow)) as bob:
            pipeline = transport.pipeline(bob)
            futures = [send(pipeline, append(i)) for i in range(3)]
            slow.gate(0).set()
            assert await futures[0] == yes(append(0))
        for future in (*futures[1:], send(pipeline, append(3))):
            with pytest.raises(TransportError) as failure:
                await future
            assert failure.value.kind is FailureKind.UNREACHABLE


async def test_a_pipeline_to_a_peer_that_is_gone_fails_its_requests() -> None:
    async with serving(Handler()) as bob:
        pass
    async with calling() as transport:
        with pytest.raises(TransportError) as failure:
            await send(transport.pipeline(bob), append(1))
    assert failure.value.kind is FailureKind.UNREACHABLE


async def test_an_overdue_response_breaks_the_stream() -> None:
    slow = Slow()
    slow.gate(0).set()
    async with serving(Handler(answer=slow)) as bob, calling(Deadlines(append=0.1)) as transport:
        pipeline = transport.pipeline(bob)
        answered = await send(pipeline, append(0))
        overdue, younger = send(pipeline, append(1)), send(pipeline, append(2))
        for future in (overdue, younger):
            with pytest.raises(TransportError, match=r"no response for 0\.1 s") as failure:
                await future
            assert failure.value.kind is FailureKind.TIMEOUT
        with pytest.raises(TransportError):
            await send(pipeline, append(3))
    assert answered == yes(append(0))


async def test_a_stream_that_is_idle_is_not_stalled() -> None:
    async with serving(Handler()) as bob, calling(Deadlines(append=0.05)) as transport:
        pipeline = transport.pipeline(bob)
        await send(pipeline, append(1))
        await asyncio.sleep(0.15)  # Three deadlines without a request.
        assert await send(pipeline, append(2)) == yes(append(2))


async def test_close_fails_what_is_unanswered_at_once() -> None:
    handler = Handler(answer=Slow())
    async with serving(handler) as bob, calling() as transport:
        pipeline = transport.pipeline(bob)
        future = send(pipeline, append(1))
        pipeline.close()
        assert future.done()
        with pytest.raises(TransportError, match="closed by this node"):
            await future
        with pytest.raises(TransportError, match="closed by this node"):
            await send(pipeline, append(2))


async def test_a_response_nobody_waits_for_any_more_does_no_harm() -> None:
    slow = Slow()
    async with serving(Handler(answer=slow)) as bob, calling() as transport:
        pipeline = transport.pipeline(bob)
        first, second = send(pipeline, append(1)), send(pipeline, append(2))
        first.cancel()
        slow.gate(1).set()
        slow.gate(2).set()
        assert await second == yes(append(2))


async def test_an_error_of_the_handler_ends_the_stream_after_what_was_answered() -> None:
    async def fails_at_two(request: Request) -> Response:
        if request == append(2):
            raise ShutdownError
        return yes(request)

    async with serving(Handler(answer=fails_at_two)) as bob, calling() as transport:
        pipeline = transport.pipeline(bob)
        futures = [send(pipeline, append(i)) for i in range(3)]
        assert await asyncio.gather(*futures[:2]) == [yes(append(0)), yes(append(1))]
        with pytest.raises(TransportError, match="raft is already shutdown") as failure:
            await futures[2]
        assert failure.value.kind is FailureKind.REJECTED
        with pytest.raises(TransportError, match="raft is already shutdown"):
            await send(pipeline, append(3))


@pytest.mark.parametrize("given_up", [False, True])
async def test_what_becomes_of_requests_behind_the_end_nobody_hears(given_up: bool) -> None:
    answers: list[Answer] = []
    responses: list[pb.AppendEntriesResponse] = []

    class Holding(Handler):
        def handle(self, request: Request, answer: Answer, /) -> None:
            answers.append(answer)

    stream = AppendStream(Holding(), ALICE, responses.append)
    for i in range(4):
        stream.take(wire.encode_append_request(append(i)))
    if given_up:
        stream.done.cancel()
    for answer in answers[1:3]:
        answer(ShutdownError())
    answers[0](yes(append(0)))
    answers[3](yes(append(3)))
    assert len(responses) == (0 if given_up else 1)
    await asyncio.wait([stream.done])
    assert stream.done.cancelled() if given_up else isinstance(stream.done.exception(), ShutdownError)


async def test_a_message_that_makes_no_sense_ends_the_stream_after_what_was_answered() -> None:
    async with serving(Handler()) as bob, grpc.aio.insecure_channel(bob.address) as channel:
        call = RaftTransportStub(channel).AppendEntriesPipeline(None)
        await call.write(wire.encode_append_request(append(1)))
        await call.write(pb.AppendEntriesRequest(term=1))
        assert (await call.read()).last_log == 1
        with pytest.raises(grpc.aio.AioRpcError, match="unsupported protocol version 0") as failure:
            await call.read()
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_bytes_that_are_no_message_end_the_stream_with_a_clear_status() -> None:
    async with serving(Handler()) as bob, grpc.aio.insecure_channel(bob.address) as channel:
        call = channel.stream_stream("/RaftTransport/AppendEntriesPipeline", None, None)(None)
        await call.write(b"\xff")
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call.read()
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_that_the_client_finishes_is_answered_to_the_end() -> None:
    async with serving(Handler()) as bob, grpc.aio.insecure_channel(bob.address) as channel:
        requests = iter([wire.encode_append_request(append(i)) for i in range(3)])
        call = RaftTransportStub(channel).AppendEntriesPipeline(requests)
        assert [response.last_log async for response in call] == [0, 1, 2]
        assert await call.code() is grpc.StatusCode.OK


async def test_an_answer_does_no_harm_whose_sender_has_gone() -> None:
    slow = Slow()
    async with serving_node(Handler(answer=slow)) as (bob, bobs), calling() as transport:
        gone = transport.pipeline(bob)
        send(gone, append(1))
        await slow.taken_in.get()
        (stream,) = bobs.service._streams
        gone.close()
        await asyncio.wait([stream.done])
        slow.gate(1).set()
        slow.gate(2).set()
        assert await send(transport.pipeline(bob), append(2)) == yes(append(2))
    assert stream.done.cancelled()


async def test_a_closing_node_answers_what_it_took_in_and_ends_the_stream() -> None:
    slow = Slow()
    handler = Handler(answer=slow)
    async with serving_node(handler) as (bob, bobs), calling() as transport:
        pipeline = transport.pipeline(bob)
        taken = send(pipeline, append(1))
        await slow.taken_in.get()
        bobs.service.close()
        slow.gate(1).set()
        assert await taken == yes(append(1))
        with pytest.raises(TransportError) as failure:
            await send(pipeline, append(2))
        assert failure.value.kind is FailureKind.UNREACHABLE


async def test_a_closing_node_ends_a_stream_on_which_nothing_is_under_way() -> None:
    async with serving_node(Handler()) as (bob, bobs), grpc.aio.insecure_channel(bob.address) as channel:
        call = RaftTransportStub(channel).AppendEntriesPipeline(None)
        await call.write(wire.encode_append_request(append(1)))
        await call.read()
        bobs.service.close()
        assert await call.code() is grpc.StatusCode.OK


async def test_a_stream_that_is_closed_before_it_began_ends() -> None:
    stream = AppendStream(Handler(), ALICE, lambda _: None)
    stream.end()
    assert stream.done.done()
    assert not stream.has_room


async def test_large_appends_flow() -> None:
    handler = Handler()
    entry = Entry(1, 1, EntryType.COMMAND, bytes(2 * 1024 * 1024))
    async with serving(handler) as bob, calling() as transport:
        pipeline = transport.pipeline(bob)
        request = AppendEntriesRequest(1, ALICE, entries=(entry,))
        await asyncio.gather(*(send(pipeline, request) for _ in range(10)))
    assert handler.requests == [request] * 10
