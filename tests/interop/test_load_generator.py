"""The benchmark's load generator keeps to HTTP/2 and gRPC, and says truly what came of its calls."""

import asyncio
import socket
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

import grpc
import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
from h2.settings import SettingCodes, Settings
from peers import listening

import engines
from bench.load import PROGRAM, LoadResult
from pyraft_lite.rpc.engine import CallContext, new_engine
from pyraft_lite.rpc.pb.example_pb2 import AddWordRequest

PREFIX = 5
LAST = 9
"""The last stream before a GOAWAY."""


async def load(*targets: str, seconds: float = 0.3, **flags: float) -> LoadResult:
    """What the generator prints of calls of an echo."""
    named = [f"-{name}={value}" for name, value in flags.items()]
    arguments = ["-targets", ",".join(targets), "-request", "echo", "-duration", f"{seconds}s", *named]
    process = await asyncio.create_subprocess_exec(PROGRAM, *arguments, stdout=PIPE)
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return LoadResult.parse(printed.decode())


class Server(asyncio.Protocol):
    """A connection to h2, which raises on whatever HTTP/2 forbids. The test says how requests are answered."""

    makes_room = True

    def __init__(self, answer: "Callable[[Server, int], None]", settings: dict[SettingCodes, int]) -> None:
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings = Settings(client=False, initial_values=settings)
        self.h2.max_inbound_frame_size = self.h2.local_settings.max_frame_size
        self.h2.decoder.max_allowed_table_size = self.h2.local_settings.header_table_size
        self.answer = answer
        self.headers: dict[int, dict[str, str]] = {}
        self.bodies: Counter[int] = Counter()
        self.open: set[int] = set()
        self.most_open = 0
        self.resets: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.h2.initiate_connection()
        self.send()

    def data_received(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.headers[event.stream_id] = {str(name): str(value) for name, value in event.headers}
                self.open.add(event.stream_id)
                self.most_open = max(self.most_open, len(self.open))
            elif isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id] += len(event.data)
                if self.makes_room:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.answer(self, event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self.resets.append(event.stream_id)
        self.send()

    def send(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def end(self, stream: int, *headers: tuple[str, str], status: str = "200") -> None:
        """With headers alone."""
        self.open.discard(stream)
        self.h2.send_headers(stream, [(":status", status), *headers], end_stream=True)

    def echo(self, stream: int, message: bytes = bytes(PREFIX)) -> None:
        self.open.discard(stream)
        self.h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        self.h2.send_data(stream, message)
        self.h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    def reset(self, stream: int, code: h2.errors.ErrorCodes) -> None:
        self.open.discard(stream)
        self.h2.reset_stream(stream, code)


@asynccontextmanager
async def serving(
    answer: Callable[[Server, int], None],
    settings: dict[SettingCodes, int] | None = None,
    kind: type[Server] = Server,
) -> AsyncIterator[tuple[str, list[Server]]]:
    """Its address, and its connections as they come."""
    connections: list[Server] = []

    def connect() -> Server:
        connections.append(kind(answer, settings or {}))
        return connections[-1]

    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1")
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}", connections


def nobody() -> socket.socket:
    """Holds an address where nobody listens."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken


def encoded(size: int) -> int:
    """Bytes of the message that has a value of so many."""
    return len(AddWordRequest(word=size * "0").SerializeToString())


@pytest.mark.parametrize("size", [1, 16, 1_000_000])
async def test_all_values_arrive_whole_and_all_answers_are_counted(size: int) -> None:
    values: list[bytes] = []

    async def unary(request: bytes, context: CallContext) -> bytes:
        values.append(request)
        assert 0 < (context.time_remaining() or 0) <= 5
        return request

    engine = new_engine(engines.chosen)
    engine.add_registered_method_handlers("Echo", {"Unary": grpc.unary_unary_rpc_method_handler(unary)})
    async with listening(engine) as address:
        result = await load(address, concurrency=4, size=size, connections=2)
    assert not result.failures
    assert len(result.quantiles_ms) == 201
    # What was answered after the end is no part of the rate.
    assert 0 < result.values <= len(values) <= result.values + 4
    assert {len(value) for value in values} == {encoded(size)}
    assert {value[-size:] for value in values} >= {b"%0*d" % (size, each) for each in range(1, min(9, len(values)))}


async def test_a_request_is_one_of_grpc() -> None:
    async with serving(Server.echo) as (address, connections):
        await load(address)
    ((first, headers), *_) = connections[0].headers.items()
    assert first == 1
    timeout = headers.pop("grpc-timeout")
    assert 4_000_000 < int(timeout.removesuffix("u")) <= 5_000_000
    assert headers == {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/Echo/Unary",
        ":authority": address,
        "content-type": "application/grpc",
        "te": "trailers",
        "user-agent": "load",
    }


async def test_no_more_streams_are_open_than_the_server_allows() -> None:
    def answer_later(server: Server, stream: int) -> None:
        def answer() -> None:
            server.echo(stream)
            server.send()

        asyncio.get_running_loop().call_soon(answer)

    async with serving(answer_later, {SettingCodes.MAX_CONCURRENT_STREAMS: 3}) as (address, connections):
        result = await load(address, concurrency=10)
    assert not result.failures
    assert result.values > 10
    assert connections[0].most_open == 3


@pytest.mark.parametrize(("window", "size"), [(1, 20), (100, 1000), (70_000, 300_000)])
async def test_no_more_is_sent_than_the_server_has_room_for(window: int, size: int) -> None:
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.MAX_FRAME_SIZE: 20_000}
    async with serving(Server.echo, settings) as (address, connections):
        result = await load(address, concurrency=2, size=size)
    assert result.values
    assert not result.failures
    assert set(connections[0].bodies.values()) == {PREFIX + encoded(size)}


class Widening(Server):
    """Makes room in a stream by its settings alone, once it has got what they let it have at first."""

    makes_room = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.h2.increment_flow_control_window(2**30)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.bodies.total() == 10:
            self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
            self.send()


async def test_more_is_sent_when_settings_make_room_for_it() -> None:
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 10}
    async with serving(Server.echo, settings, Widening) as (address, connections):
        result = await load(address, size=500)
    assert result.values
    assert not result.failures
    assert set(connections[0].bodies.values()) == {PREFIX + encoded(500)}


async def test_headers_are_taken_apart_by_a_server_without_a_table() -> None:
    async with serving(Server.echo, {SettingCodes.HEADER_TABLE_SIZE: 0}) as (address, connections):
        assert not (await load(address)).failures
    assert {headers[":path"] for headers in connections[0].headers.values()} == {"/Echo/Unary"}


def reset(code: h2.errors.ErrorCodes) -> Callable[[Server, int], None]:
    return lambda server, stream: server.reset(stream, code)


def ended(*headers: tuple[str, str], status: str = "200") -> Callable[[Server, int], None]:
    return lambda server, stream: server.end(stream, *headers, status=status)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (ended(("grpc-status", "8"), ("grpc-message", "busy")), "ResourceExhausted"),
        (ended(("grpc-status", "14")), "Unavailable"),
        (ended(("grpc-status", "0")), "Internal"),
        (ended(status="503"), "Unavailable"),
        (ended(status="404"), "Unknown"),
        (reset(h2.errors.ErrorCodes.REFUSED_STREAM), "Unavailable"),
        (reset(h2.errors.ErrorCodes.CANCEL), "Canceled"),
        (reset(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM), "ResourceExhausted"),
        (reset(h2.errors.ErrorCodes.INTERNAL_ERROR), "Internal"),
        (partial(Server.echo, message=b""), "Internal"),
        (lambda server, _: server.transport.close(), "Unavailable"),
        (lambda server, _: server.transport.abort(), "Unavailable"),
    ],
)
async def test_a_failure_is_told_by_its_code(answer: Callable[[Server, int], None], failure: str) -> None:
    async with serving(answer) as (address, _):
        result = await load(address, concurrency=2)
    assert result.values == 0
    assert set(result.failures) == {failure}
    assert result.failures[failure] > 2, "it does not call again"


async def test_a_call_without_an_answer_is_given_up_and_the_server_told() -> None:
    async with serving(lambda server, stream: None) as (address, connections):
        result = await load(address, concurrency=3)
    assert result.failures == {"DeadlineExceeded": 3}
    assert result.failed_p50_ms >= 5000
    assert sorted(connections[0].resets) == sorted(connections[0].headers) == [1, 3, 5]


async def test_after_a_goaway_calls_go_over_another_connection() -> None:
    def leave(server: Server, stream: int) -> None:
        if stream <= LAST:
            server.echo(stream)
        if stream == LAST:
            server.h2.close_connection(last_stream_id=LAST)
            server.h2.state_machine.state = h2.connection.ConnectionState.SERVER_OPEN  # What is open goes on.

    async with serving(leave) as (address, connections):
        result = await load(address, concurrency=1)
    # A call that was sent before the client could know has failed; none was sent after.
    assert set(result.failures) <= {"Unavailable"}
    assert len(connections) > 2
    *ended, last = [max(each.headers) for each in connections if each.headers]
    assert set(ended) <= {LAST, LAST + 2}
    assert last <= LAST + 2
    answered = sum(stream <= LAST for each in connections for stream in each.headers)
    assert result.values <= answered <= result.values + 1


async def test_what_a_goaway_leaves_out_has_failed() -> None:
    held: list[int] = []

    def leave(server: Server, stream: int) -> None:
        held.append(stream)
        if len(held) == 4:
            server.echo(held[0])
            server.h2.close_connection(last_stream_id=held[0])

    async with serving(leave) as (address, _):
        result = await load(address, concurrency=4, seconds=1)
    assert result.failures["Unavailable"] >= 3
    assert result.values == 1


@pytest.mark.parametrize("lost", [False, True])
async def test_the_next_server_is_called_when_one_fails(lost: bool) -> None:
    unavailable = ended(("grpc-status", "14"))
    async with serving(unavailable) as (failing, _), serving(Server.echo) as (address, _):
        with nobody() as taken:
            first = "{}:{}".format(*taken.getsockname()) if lost else failing
            result = await load(first, address, concurrency=2)
    assert 1 <= result.failures["Unavailable"] <= 2
    assert result.values > 2


async def test_a_busy_server_is_called_again() -> None:
    async with serving(ended(("grpc-status", "8"))) as (busy, _), serving(Server.echo) as (address, others):
        result = await load(busy, address, concurrency=2)
    assert set(result.failures) == {"ResourceExhausted"}
    assert [each.headers for each in others] == [{}]


async def test_at_a_rate_calls_are_made_whether_answers_come_or_not() -> None:
    held: list[int] = []
    answered = 0

    def hold(server: Server, stream: int) -> None:
        nonlocal answered
        held.append(stream)
        if len(held) >= 60:
            for each in held[answered:]:
                server.echo(each)
            answered = len(held)

    async with serving(hold) as (address, connections):
        result = await load(address, seconds=1, rate=100)
    assert not result.failures
    assert len(connections[0].headers) == 100
    assert 60 <= result.values <= 100
    # Counted from when they were due: the first has waited for 59 others.
    assert result.max_ms >= 590
    assert result.p50_ms >= 80
