"""Methods that answer without a task: with every engine they do what coroutines do, with our own without any."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from h2_client import H2Client, h2_client
from peers import listening

from pyraft_lite.rpc.asyncio_engine import AsyncioEngine
from pyraft_lite.rpc.direct import Reply, attend, direct
from pyraft_lite.rpc.direct_call import MOST_UNSENT
from pyraft_lite.rpc.engine import CallContext, ServerEngine, available_engines, new_engine
from pyraft_lite.rpc.grpc_framing import frame
from pyraft_lite.rpc.http2.connection import STREAM_WINDOW
from pyraft_lite.rpc.limited import ServiceLimits
from pyraft_lite.runtime.limit import Limit

ECHO, LATER, COUNT = b"/test.Direct/Echo", b"/test.Direct/Later", b"/test.Direct/Count"
OK, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED = b"0", b"2", b"3", b"4"
RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = b"8", b"12", b"13", b"14"


class Service:
    """The servicer.

    Attributes:
        tasks: For each request that came to a direct method, the task it came in.
        later: Gets the reply to each request to Later.
        receivers: Gets the receiver of each call to Count.
        waits, cancelled: Set when a coroutine has begun to wait for nothing, and when it has been cancelled.
    """

    def __init__(self) -> None:
        self.waits, self.cancelled = asyncio.Event(), asyncio.Event()
        self.tasks: list[asyncio.Task[Any] | None] = []
        self.later: asyncio.Queue[Reply[bytes]] = asyncio.Queue()
        self.receivers: asyncio.Queue[Receiver] = asyncio.Queue()

    @direct
    def echo(self, request: bytes, context: CallContext, reply: Reply[bytes]) -> None:
        self.tasks.append(asyncio.current_task())
        if request == b"fail":
            raise ValueError("it failed")
        if request == b"wrong":
            reply.respond(1)  # type: ignore[arg-type]
        elif request == b"abort":
            reply.respond_by(partial(context.abort, grpc.StatusCode.INVALID_ARGUMENT, "aborted"))
        elif request == b"wait":
            reply.respond_by(self._wait)
        elif request == b"coroutine":
            reply.respond_by(self._by_coroutine)
        else:
            reply.respond(request)
        reply.respond(b"a second response")
        reply.respond_by(self._by_coroutine)

    async def _wait(self) -> bytes:
        try:
            self.waits.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b""

    async def _by_coroutine(self) -> bytes:
        await asyncio.sleep(0)
        return b"by a coroutine"

    @direct
    def do_later(self, request: bytes, context: CallContext, reply: Reply[bytes]) -> None:
        self.later.put_nowait(reply)

    async def count(self, requests: AsyncIterator[bytes], context: CallContext) -> None:
        await attend(self._new_receiver, requests, context)

    def _new_receiver(self, respond: Callable[[Any], None]) -> "Receiver":
        receiver = Receiver(respond)
        self.receivers.put_nowait(receiver)
        return receiver


class Receiver:
    """Answers each request with its number, but none that begins with "quiet", and those that begin with "hold" when
    told to, and takes no other before."""

    def __init__(self, respond: Callable[[Any], None]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.taken: list[bytes] = []
        self.held = asyncio.Event()
        self._respond = respond

    @property
    def has_room(self) -> bool:
        return not self.held.is_set()

    def take(self, request: bytes) -> None:
        self.taken.append(request)
        if request.startswith(b"hold"):
            self.held.set()
        elif not request.startswith(b"quiet"):
            self._respond(b"%d" % len(self.taken))

    def release(self) -> None:
        """Answers what is held."""
        self.held.clear()
        self._respond(b"%d" % len(self.taken))

    def end(self, failure: Exception | None = None) -> None:
        if self.done.done():
            return
        if failure is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(failure)


def deserialize(message: bytes) -> bytes:
    """A message, unless it says of itself that it is none."""
    if message == b"unreadable":
        raise DecodeError("unreadable")
    if message == b"broken":
        raise ValueError("broken")
    return message


def serialize(response: bytes) -> bytes:
    """The bytes of a response, which must be bytes."""
    if not isinstance(response, bytes):
        raise TypeError(f"no response: {response}")
    return response


@asynccontextmanager
async def serving(engine: ServerEngine) -> AsyncIterator[tuple[Service, H2Client, str]]:
    service = Service()
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(service.echo, deserialize, serialize),
        "Later": grpc.unary_unary_rpc_method_handler(service.do_later, deserialize, serialize),
        "Count": grpc.stream_stream_rpc_method_handler(service.count, deserialize, serialize),
    }
    engine.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Direct", handlers),))
    async with listening(engine) as address, h2_client(address) as client:
        yield service, client, address


@pytest.fixture(params=available_engines())
async def served(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Service, H2Client]]:
    """By each engine."""
    async with serving(new_engine(request.param)) as (service, client, _):
        yield service, client


@pytest.fixture
def calls() -> Limit:
    return Limit("calls", 1)


@pytest.fixture
async def ours(calls: Limit) -> AsyncIterator[tuple[Service, H2Client]]:
    """By our own engine, which takes one call at a time."""
    engine = AsyncioEngine()
    engine.limit_service("test.Direct", ServiceLimits(calls, Limit("streams", 1)))
    async with serving(engine) as (service, client, _):
        yield service, client


@pytest.fixture(autouse=True)
def nothing_is_left(calls: Limit) -> Iterator[None]:
    yield
    assert calls.count == 0


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (b"word", OK, frame(b"word")),
        (b"", OK, frame(b"")),
        (b"coroutine", OK, frame(b"by a coroutine")),
        (b"abort", INVALID_ARGUMENT, b""),
        (b"fail", UNKNOWN, b""),
    ],
)
async def test_a_call_ends_as_the_method_says(
    served: tuple[Service, H2Client], request_: bytes, status: bytes, body: bytes
) -> None:
    _, client = served
    answer = await client.request(ECHO, [frame(request_)])
    assert (answer.status, answer.body) == (status, body)


async def test_a_coroutine_that_is_to_answer_is_cancelled_when_the_client_goes(
    served: tuple[Service, H2Client],
) -> None:
    service, client = served
    stream = client.begin(ECHO)
    await client.send(stream, frame(b"wait"), end=True)
    await service.waits.wait()
    client.reset(stream)
    await service.cancelled.wait()


async def test_a_response_may_come_later(served: tuple[Service, H2Client]) -> None:
    service, client = served
    stream = await begin(client, LATER)
    (await service.later.get()).respond(b"at last")
    assert (await client.answer(stream)).body == frame(b"at last")


async def test_a_stream_is_answered_as_its_receiver_says(served: tuple[Service, H2Client]) -> None:
    _, client = served
    answer = await client.request(COUNT, [frame(b"one") + frame(b"two"), frame(b"three")])
    assert (answer.status, answer.body) == (OK, frame(b"1") + frame(b"2") + frame(b"3"))


async def test_a_receiver_learns_of_the_end_that_comes_with_a_request(served: tuple[Service, H2Client]) -> None:
    service, client = served
    stream = client.begin(COUNT)
    await client.send(stream, frame(b"quiet one"))
    receiver = await service.receivers.get()
    await client.send(stream, frame(b"quiet two"), end=True)
    assert (await client.answer(stream)).status == OK
    assert receiver.taken == [b"quiet one", b"quiet two"]


async def test_what_looks_like_a_message_and_is_the_rest_of_one_is_not_taken_for_one(
    served: tuple[Service, H2Client],
) -> None:
    service, client = served
    inner = frame(b"inner")
    outer = frame(b"outer " + inner)
    stream = client.begin(COUNT)
    await client.send(stream, frame(b"one"))
    receiver = await service.receivers.get()
    await client.send(stream, outer[: -len(inner)])
    await client.send(stream, inner)
    await client.send(stream, b"", end=True)
    assert (await client.answer(stream)).body == frame(b"1") + frame(b"2")
    assert receiver.taken == [b"one", b"outer " + inner]


async def test_messages_that_come_one_by_one_make_room_for_more(served: tuple[Service, H2Client]) -> None:
    service, client = served
    size = 16_000
    count = STREAM_WINDOW // size + 10
    stream = client.begin(COUNT)
    for _ in range(count):
        await client.send(stream, frame(bytes(size)))
    await client.send(stream, b"", end=True)
    await client.answer(stream)
    assert (await service.receivers.get()).taken == [bytes(size)] * count


@pytest.mark.parametrize("chunks", [[frame(b"hold") + frame(b"two")], [frame(b"hold"), frame(b"two")]])
async def test_a_receiver_without_room_is_given_nothing(served: tuple[Service, H2Client], chunks: list[bytes]) -> None:
    service, client = served
    stream = client.begin(COUNT)
    await client.send(stream, frame(b"one"))
    receiver = await service.receivers.get()
    for chunk in chunks:
        await client.send(stream, chunk)
    await receiver.held.wait()
    await client.send(stream, frame(b"three"), end=True)
    await client.ping()
    assert receiver.taken == [b"one", b"hold"]
    receiver.release()
    assert (await client.answer(stream)).body == frame(b"1") + frame(b"2") + frame(b"3") + frame(b"4")


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (frame(b"unreadable"), UNKNOWN),
        (frame(b"broken"), UNKNOWN),
        (frame(b"cut")[:4], INTERNAL),
        (b"\2\0\0\0\0", INTERNAL),
    ],
)
async def test_a_request_that_cannot_be_read_ends_the_stream_after_what_was_answered(
    ours: tuple[Service, H2Client], last: bytes, status: bytes
) -> None:
    _, client = ours
    answer = await client.request(COUNT, [frame(b"one"), last])
    assert (answer.status, answer.body) == (status, frame(b"1"))


async def test_a_receiver_is_cancelled_whose_client_goes(served: tuple[Service, H2Client]) -> None:
    service, client = served
    stream = client.begin(COUNT)
    await client.send(stream, frame(b"hold"))
    receiver = await service.receivers.get()
    await receiver.held.wait()
    client.reset(stream)
    await asyncio.wait([receiver.done])
    assert receiver.done.cancelled()
    receiver.release()


# -- our own engine ---------------------------------------------------------------------------------------------------


async def test_a_request_that_comes_whole_needs_no_task(ours: tuple[Service, H2Client]) -> None:
    service, client = ours
    await client.request(ECHO, [frame(b"word")])
    assert service.tasks == [None]


@pytest.mark.parametrize(
    ("chunks", "headers", "status", "body"),
    [
        ([frame(b"word")[:3], frame(b"word")[3:]], {}, OK, frame(b"word")),
        ([frame(b"word"), b""], {}, OK, frame(b"word")),
        ([frame(gzip.compress(b"word"), compressed=True)], {b"grpc-encoding": b"gzip"}, OK, frame(b"word")),
        ([frame(b"word")[:3]], {}, INTERNAL, b""),
        ([b""], {}, UNIMPLEMENTED, b""),
        ([], {}, UNIMPLEMENTED, b""),
        ([frame(b"unreadable")], {}, INVALID_ARGUMENT, b""),
        ([frame(b"broken")], {}, UNKNOWN, b""),
        ([frame(b"wrong")], {}, UNKNOWN, b""),
    ],
)
async def test_any_other_is_served_as_usual(
    ours: tuple[Service, H2Client],
    chunks: list[bytes],
    headers: dict[bytes, bytes | None],
    status: bytes,
    body: bytes,
) -> None:
    _, client = ours
    answer = await client.request(ECHO, chunks, headers)
    assert (answer.status, answer.body) == (status, body)


async def test_a_deadline_ends_a_call_and_a_response_after_it_is_none(ours: tuple[Service, H2Client]) -> None:
    service, client = ours
    stream = await begin(client, LATER, {b"grpc-timeout": b"1m"})
    reply = await service.later.get()
    assert (await client.answer(stream)).status == DEADLINE_EXCEEDED
    reply.respond(b"too late")
    reply.respond_by(service._by_coroutine)
    assert (await client.request(ECHO, [frame(b"the next")])).body == frame(b"the next")


async def test_a_deadline_ends_all_calls_that_have_it() -> None:
    async with serving(AsyncioEngine()) as (service, client, _):
        streams = [await begin(client, LATER, {b"grpc-timeout": b"1m"}) for _ in range(9)]
        for _ in streams:
            await service.later.get()
        assert {(await client.answer(stream)).status for stream in streams} == {DEADLINE_EXCEEDED}


async def test_a_deadline_ends_a_call_whose_request_does_not_come(ours: tuple[Service, H2Client]) -> None:
    _, client = ours
    assert (await client.request(ECHO, [], {b"grpc-timeout": b"1m"}, end=False)).status == DEADLINE_EXCEEDED


async def test_a_call_leaves_no_trace_whose_client_has_gone(ours: tuple[Service, H2Client], calls: Limit) -> None:
    service, client = ours
    for path in (ECHO, LATER):
        stream = client.begin(path)
        if path == LATER:
            await client.send(stream, frame(b""), end=True)
            reply = await service.later.get()
        assert (await client.request(ECHO, [frame(b"one more")])).status == RESOURCE_EXHAUSTED
        client.reset(stream)
        assert (await client.request(ECHO, [frame(b"the next")])).status == OK
    reply.respond(b"to nobody")


async def test_a_call_without_a_request_ends_once_though_its_client_goes_at_once(
    ours: tuple[Service, H2Client], calls: Limit
) -> None:
    _, client = ours
    client.reset(client.begin(ECHO, end=True))
    await client.ping()
    assert calls.count == 0


async def test_stopping_ends_calls_that_wait() -> None:
    engine = AsyncioEngine()
    async with serving(engine) as (service, client, _):
        streams = [client.begin(ECHO), await begin(client, LATER)]
        await service.later.get()
        await engine.stop()
        assert [(await client.answer(stream)).status for stream in streams] == [UNAVAILABLE] * 2


async def test_a_receiver_waits_for_a_client_that_does_not_read() -> None:
    async with slow_client() as (client, stream, receiver):
        await client.send(stream, frame(b"two"), end=True)
        await client.ping()
        assert receiver.taken == [b"hold"]
        client.open(stream, 1 << 20)
        body = (await client.answer(stream)).body
    assert body == frame(bytes(MOST_UNSENT)) + frame(b"2")


async def test_what_waited_for_a_slow_client_comes_before_what_did_not() -> None:
    async with slow_client() as (client, stream, receiver):
        await client.send(stream, frame(b"two"))
        await client.ping()
        assert receiver.taken == [b"hold"]
        client.open(stream, 1000)
        await client.send(stream, frame(b"three"))
        client.open(stream, 1 << 20)
        await client.send(stream, b"", end=True)
        body = (await client.answer(stream)).body
    assert receiver.taken == [b"hold", b"two", b"three"]
    assert body == frame(bytes(MOST_UNSENT)) + frame(b"2") + frame(b"3")


@asynccontextmanager
async def slow_client() -> AsyncIterator[tuple[H2Client, int, Receiver]]:
    """A client, its call of Count, which is answered with more than may wait for it, and that has read nothing."""
    async with serving(AsyncioEngine()) as (service, _, address), h2_client(address, window=0) as client:
        stream = client.begin(COUNT)
        await client.send(stream, frame(b"hold"))
        receiver = await service.receivers.get()
        await receiver.held.wait()
        receiver._respond(bytes(MOST_UNSENT))
        receiver.held.clear()
        yield client, stream, receiver


async def begin(client: H2Client, path: bytes, headers: dict[bytes, bytes | None] | None = None) -> int:
    """Sends a whole request; returns the number of its stream."""
    stream = client.begin(path, headers)
    await client.send(stream, frame(b""), end=True)
    return stream
