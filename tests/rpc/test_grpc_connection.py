"""How calls to a peer end, and its connection, whatever the peer does."""

import asyncio
import contextlib
import gc
import socket
import weakref
from time import monotonic
from typing import Any

import grpc
import pytest
from aiohappyeyeballs import start_connection
from h2_peer import DONE, OK, Http, Script, answer, ignore, respond, running

from pyraft_lite.rpc.grpc_connection import CallError, GrpcConnection
from pyraft_lite.rpc.grpc_framing import frame
from raftexample.local_cluster import free_ports

PATIENCE = 30.0


class Outcome:
    """What a stream told of itself."""

    def __init__(self, address: str) -> None:
        self.messages: list[bytes] = []
        self.ended: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()
        self.connection = GrpcConnection(address)
        self.call = self.connection.call("/Echo/Stream", self.messages.append, self._end)

    def _end(self, code: grpc.StatusCode, details: str) -> None:
        self.ended.set_result((code, details))  # fails if it is called twice


async def outcome_of(script: Script) -> tuple[grpc.StatusCode, str, list[bytes]]:
    async with running(script, at_once=True) as peer:
        outcome = Outcome(peer.address)
        code, details = await outcome.ended
        outcome.connection.close()
        await outcome.connection.closed
        return code, details, outcome.messages


async def test_messages_arrive_until_the_status_does() -> None:
    trailers = [(b"grpc-status", b"14"), (b"grpc-message", b"gone %C3%A9 100%25")]
    script = answer(*OK, data=frame(b"one") + frame(b"") + frame(b"three"), trailers=trailers)
    assert await outcome_of(script) == (grpc.StatusCode.UNAVAILABLE, "gone é 100%", [b"one", b"", b"three"])


async def test_a_message_may_come_in_parts_that_look_like_messages() -> None:
    def script(http: Http, stream: int) -> None:
        http.send_headers(stream, OK)
        for part in b"\0\0\0\0\x08.", frame(b"in"), frame(b"out"):
            http.send_data(stream, part)
        http.send_headers(stream, DONE, end_stream=True)

    assert await outcome_of(script) == (grpc.StatusCode.OK, "", [b"." + frame(b"in"), b"out"])


async def test_a_status_may_come_alone() -> None:
    script = answer(*OK, (b"grpc-status", b"12"))
    assert await outcome_of(script) == (grpc.StatusCode.UNIMPLEMENTED, "", [])


@pytest.mark.parametrize(
    ("script", "code", "details"),
    [
        (answer((b":status", b"503")), grpc.StatusCode.UNAVAILABLE, "HTTP status 503"),
        (answer((b":status", b"404")), grpc.StatusCode.UNIMPLEMENTED, "HTTP status 404"),
        (answer((b":status", b"418")), grpc.StatusCode.UNKNOWN, "HTTP status 418"),
        (
            answer((b":status", b"200"), (b"content-type", b"text/html"), data=b"<html>"),
            grpc.StatusCode.UNKNOWN,
            "not gRPC",
        ),
        (answer(*OK, data=frame(b"one")), grpc.StatusCode.INTERNAL, "without a status"),
        (answer(*OK), grpc.StatusCode.INTERNAL, "without a status"),
        (answer(*OK, (b"grpc-status", b"x")), grpc.StatusCode.UNKNOWN, ""),
        (
            answer(*OK, data=frame(b"one", compressed=True), trailers=DONE),
            grpc.StatusCode.INTERNAL,
            "compressed",
        ),
        (answer(*OK, data=b"\xffjunk!", trailers=DONE), grpc.StatusCode.INTERNAL, "bad frame type"),
        (
            answer(*OK, data=b"\0\xff\xff\xff\xff", trailers=DONE),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "larger than max",
        ),
        (lambda http, stream: http.reset_stream(stream, 8), grpc.StatusCode.CANCELLED, "reset"),
        (lambda http, stream: http.reset_stream(stream, 7), grpc.StatusCode.UNAVAILABLE, "reset"),
        (lambda http, stream: http.reset_stream(stream, 2), grpc.StatusCode.INTERNAL, "reset"),
        (lambda http, _: http.close_connection(11, last_stream_id=0), grpc.StatusCode.UNAVAILABLE, "going away"),
        (lambda http, _: http.close_connection(2, last_stream_id=1), grpc.StatusCode.UNAVAILABLE, "going away"),
    ],
)
async def test_every_other_end_has_its_status(script: Script, code: grpc.StatusCode, details: str) -> None:
    got, said, _ = await outcome_of(script)
    assert got is code
    assert details in said


async def test_what_is_no_http2_ends_it() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        outcome = Outcome(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        code, details = await outcome.ended
        await outcome.connection.closed
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "makes no sense" in details


@pytest.mark.parametrize("address", ["refused", "nobody.invalid:1", "no address"])
async def test_who_can_not_be_reached_is_unavailable(address: str) -> None:
    if address == "refused":
        address = f"127.0.0.1:{free_ports(1)[0]}"
    outcome = Outcome(address)
    outcome.call.send(b"in vain")
    code, _ = await outcome.ended
    await outcome.connection.closed
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_whoever_closes_it_hears_no_more() -> None:
    async with running(respond(b"one"), at_once=True) as peer:
        for begun in (False, True):
            outcome = Outcome(peer.address)
            if begun:
                await asyncio.sleep(0)  # the first step of connecting
            outcome.call.cancel()
            outcome.connection.close()
            await outcome.connection.closed
            assert not outcome.ended.done()
            assert outcome.messages == []


# -- calls with one response -------------------------------------------------------------------------------------------


async def test_a_unary_call_sends_its_request_and_returns_the_response() -> None:
    async with running(respond(b"pong")) as peer:
        connection = GrpcConnection(peer.address)
        assert await connection.unary("/Echo/Unary", b"ping", PATIENCE) == b"pong"
        assert peer.received == {1: frame(b"ping")}
        connection.close()
        await connection.closed
    (headers,) = peer.headers
    assert headers[b":path"] == b"/Echo/Unary"
    assert headers[b":authority"] == peer.address.encode()
    assert headers[b"grpc-timeout"] == b"30S"


@pytest.mark.parametrize(
    ("script", "code", "details"),
    [
        (
            answer(*OK, (b"grpc-status", b"9"), (b"grpc-message", b"not now")),
            grpc.StatusCode.FAILED_PRECONDITION,
            "not now",
        ),
        (answer(*OK, data=frame(b"one"), trailers=[(b"grpc-status", b"14")]), grpc.StatusCode.UNAVAILABLE, ""),
        (answer(*OK, trailers=DONE), grpc.StatusCode.INTERNAL, "the call ended without a response"),
    ],
)
async def test_a_unary_call_without_a_response_says_why(script: Script, code: grpc.StatusCode, details: str) -> None:
    async with running(script) as peer:
        connection = GrpcConnection(peer.address)
        with pytest.raises(CallError) as failure:
            await connection.unary("/Echo/Unary", b"", PATIENCE)
        connection.close()
    assert (failure.value.code, failure.value.details) == (code, details)


async def test_a_unary_call_that_takes_too_long_ends_on_both_sides() -> None:
    async with running(ignore) as peer:
        connection = GrpcConnection(peer.address)
        with pytest.raises(CallError) as failure:
            await connection.unary("/Echo/Unary", b"", 0.05)
        assert failure.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await peer.resets.get() == (1, 8)
        connection.close()


async def test_each_unary_call_ends_at_its_own_time() -> None:
    def ping(http: Http, stream: int) -> None:
        http.ping(b"anything")

    async with running(ping) as peer:
        connection = GrpcConnection(peer.address)

        async def expire(timeout: float) -> None:
            deadline = monotonic() + timeout
            with pytest.raises(CallError, match="DEADLINE_EXCEEDED"):
                await connection.unary("/Echo/Unary", b"", timeout)
            assert monotonic() >= deadline

        never = asyncio.create_task(connection.unary("/Echo/Unary", b"", PATIENCE))
        await asyncio.gather(*map(expire, (0.2, 0.1, 0.15)))
        assert not never.done()
        connection.close()
        with pytest.raises(CallError, match="UNAVAILABLE"):
            await never


async def test_a_connection_that_is_closed_waits_for_no_deadline() -> None:
    async with running(respond(b"yes")) as peer:
        connection = GrpcConnection(peer.address)
        for timeout in PATIENCE, PATIENCE / 2:
            assert await connection.unary("/Echo/Unary", b"", timeout) == b"yes"
        connection.close()
        await connection.closed
        kept = weakref.ref(connection)
        del connection
        gc.collect()
        assert kept() is None


async def test_a_unary_call_that_is_cancelled_ends_on_both_sides() -> None:
    begun = asyncio.Event()
    async with running(lambda *_: begun.set()) as peer:
        connection = GrpcConnection(peer.address)
        call = asyncio.create_task(connection.unary("/Echo/Unary", b"", PATIENCE))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await peer.resets.get() == (1, 8)
        connection.close()


async def test_a_unary_call_that_is_cancelled_says_nothing_of_the_connection() -> None:
    async with running(ignore) as peer:
        connection, other = GrpcConnection(peer.address), GrpcConnection(peer.address)
        assert await connection.established
        never = asyncio.create_task(connection.unary("/Echo/Unary", b"", PATIENCE))
        await peer.until(lambda: bool(peer.received))
        call = asyncio.create_task(connection.unary("/Echo/Unary", b"", 0.05))
        await peer.until(lambda: len(peer.received) == 2)
        call.cancel()
        with pytest.raises(CallError, match="DEADLINE_EXCEEDED"):
            await other.unary("/Echo/Unary", b"", 0.1)
        assert connection.takes_calls
        assert not never.done()
        never.cancel()
        connection.close()
        other.close()


async def test_a_unary_call_that_is_cancelled_and_lost_at_once_is_cancelled() -> None:
    async with running(ignore) as peer:
        connection = GrpcConnection(peer.address)
        call = asyncio.create_task(connection.unary("/Echo/Unary", b"", PATIENCE))
        await peer.until(lambda: bool(peer.received))
        call.cancel()
        connection._http2.lose("gone")
        with pytest.raises(asyncio.CancelledError):
            await call
        connection.close()


async def test_an_upload_waits_while_the_peer_takes_less() -> None:
    async with running(respond(b"thanks"), grants=False) as peer:
        connection = GrpcConnection(peer.address)
        upload = connection.upload("/Echo/Upload")
        assert await upload.send(b"small")
        sending = asyncio.create_task(upload.send(b"la", b"r", memoryview(b"ge" * 50_000)[2:]))
        await peer.until(lambda: len(peer.received.get(1, b"")) == 65_535)
        assert not sending.done()
        (http,) = peer.https
        http.increment_flow_control_window(100_000)
        http.increment_flow_control_window(100_000, 1)
        peer.flush()
        assert await sending
        assert await upload.finish() == b"thanks"
        assert peer.received[1] == frame(b"small") + frame(b"lar" + b"ge" * 49_999)
        connection.close()


async def test_an_upload_that_is_answered_early_takes_no_more() -> None:
    refusal = answer(*OK, (b"grpc-status", b"9"), (b"grpc-message", b"enough"))
    async with running(refusal, at_once=True, grants=False) as peer:
        connection = GrpcConnection(peer.address)
        upload = connection.upload("/Echo/Upload")
        assert not await upload.send(bytes(100_000))
        assert not await upload.send(b"more")
        with pytest.raises(CallError, match="FAILED_PRECONDITION: enough"):
            await upload.finish()
        connection.close()


# -- the connection ----------------------------------------------------------------------------------------------------


async def test_an_attempt_to_connect_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyraft_lite.rpc.grpc_connection.CONNECT_TIMEOUT", 0.1)
    # A listener whose backlog is full leaves new connections without an answer.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        place = listener.getsockname()
        with socket.create_connection(place):
            connection = GrpcConnection(f"127.0.0.1:{place[1]}")
            with pytest.raises(CallError, match=r"^UNAVAILABLE: failed to connect: no answer for 0\.1 s$"):
                await connection.unary("/Echo/Unary", b"", PATIENCE)
            await connection.closed
            assert not await connection.established


async def test_tcp_looks_whether_the_peer_is_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[socket.socket] = []
    monkeypatch.setattr("pyraft_lite.rpc.grpc_connection.keep_alive", kept.append)
    async with running(ignore) as peer:
        connection = GrpcConnection(peer.address)
        assert await connection.established
        assert [each.getpeername() for each in kept] == [("127.0.0.1", int(peer.address.rpartition(":")[2]))]
        connection.close()
        await connection.closed


async def test_a_connection_that_brings_nothing_for_a_whole_call_is_given_up() -> None:
    async with running(ignore) as peer:
        connection = GrpcConnection(peer.address)
        assert await connection.established
        other = asyncio.create_task(connection.unary("/Echo/Unary", b"", PATIENCE))
        await peer.until(lambda: bool(peer.received))
        with pytest.raises(CallError):
            await connection.unary("/Echo/Unary", b"", 0.05)
        assert not connection.takes_calls
        assert not connection.closed.done(), "another call may still be answered"
        respond(b"late")(peer.https[0], 1)
        peer.flush()
        assert await other == b"late"
        await connection.closed


async def test_a_connection_that_brings_anything_is_kept() -> None:
    def ping(http: Http, stream: int) -> None:
        http.ping(b"anything")

    async with running(ping) as peer:
        connection = GrpcConnection(peer.address)
        for _ in range(2):
            with pytest.raises(CallError):
                await connection.unary("/Echo/Unary", b"", 0.05)
        assert connection.takes_calls
        connection.close()


async def test_a_peer_that_goes_away_answers_what_it_took_and_gets_no_more() -> None:
    async with running(ignore) as peer:
        connection = GrpcConnection(peer.address)
        call = asyncio.create_task(connection.unary("/Echo/Unary", b"", PATIENCE))
        await peer.until(lambda: bool(peer.received))
        peer.say_goodbye(last=1)
        await peer.until(lambda: peer.pongs == 1)
        assert not connection.takes_calls
        respond(b"last")(peer.https[0], 1)
        peer.flush()
        assert await call == b"last"
        await connection.closed


@pytest.mark.parametrize("connected", [True, False])
async def test_one_that_is_retired_without_a_call_closes(connected: bool) -> None:
    async with running(ignore) as peer:
        connection = GrpcConnection(peer.address)
        if connected:
            assert await connection.established
        connection.retire()
        assert not connection.takes_calls
        await connection.closed


@pytest.mark.parametrize("made", [True, False])
async def test_one_that_is_closed_while_it_is_being_made_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    async with running(ignore) as peer:
        connection = GrpcConnection(peer.address)
        protocol, loop = connection._protocol, asyncio.get_running_loop()
        connection_made = protocol.connection_made

        def close_when_made(transport: asyncio.BaseTransport) -> None:
            connection_made(transport)
            connection.close()

        async def close_before(*arguments: Any, **more: Any) -> socket.socket:
            connected = await start_connection(*arguments, **more)
            loop.call_soon(connection.close)
            return connected

        if made:
            monkeypatch.setattr(protocol, "connection_made", close_when_made)
        else:
            monkeypatch.setattr("pyraft_lite.rpc.grpc_connection.start_connection", close_before)
        async with asyncio.timeout(PATIENCE):
            await connection.closed
            await peer.until(lambda: peer.connections == peer.closed == 1)


@pytest.mark.parametrize("hangs", [True, False])
def test_the_next_address_of_a_name_is_tried_if_the_first_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    (port,) = free_ports(1)
    really = socket.getaddrinfo

    def getaddrinfo(host: str | None, *others: Any, **more: Any) -> list[Any]:
        if host != "peer.test":
            return really(host, *others, **more)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("127.0.0.2", "127.0.0.1")]

    async def call() -> bytes:
        async with running(respond(b"pong"), f"127.0.0.1:{port}"):
            connection = GrpcConnection(f"peer.test:{port}")
            try:
                return await connection.unary("/Echo/Unary", b"", PATIENCE)
            finally:
                connection.close()

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with contextlib.ExitStack() as stack:
        if hangs:
            listener = stack.enter_context(socket.create_server(("127.0.0.2", port), backlog=0))
            for _ in range(4):  # More than wait to be accepted: Linux answers no further ones.
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
        # uvloop does not look names up by what is replaced here.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            assert runner.run(call()) == b"pong"
