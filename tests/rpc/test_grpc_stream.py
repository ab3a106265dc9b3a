"""How a stream to a peer ends, whatever the peer does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import grpc
import h2.config
import h2.connection
import h2.events
import pytest

from pyraft_lite.rpc.grpc_framing import frame
from pyraft_lite.rpc.grpc_stream import GrpcStream
from raftexample.local_cluster import free_ports

OK = [(b":status", b"200"), (b"content-type", b"application/grpc+proto")]
STREAM = 1

Http = h2.connection.H2Connection
Script = Callable[[Http], None]


@contextlib.asynccontextmanager
async def peer(script: Script) -> AsyncIterator[str]:
    """A server that does as the script says as soon as it has a request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = Http(h2.config.H2Configuration(client_side=False, header_encoding=None))
        http.initiate_connection()
        while data := await reader.read(65536):
            for event in http.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    script(http)
            writer.write(http.data_to_send())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


class Outcome:
    """What a stream told of itself."""

    def __init__(self, address: str) -> None:
        self.messages: list[bytes] = []
        self.ended: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()
        self.stream = GrpcStream(address, "/Echo/Stream", self.messages.append, self._end)

    def _end(self, code: grpc.StatusCode, details: str) -> None:
        self.ended.set_result((code, details))  # fails if it is called twice


async def outcome_of(script: Script) -> tuple[grpc.StatusCode, str, list[bytes]]:
    async with peer(script) as address:
        outcome = Outcome(address)
        code, details = await outcome.ended
        await outcome.stream.closed
        return code, details, outcome.messages


def answer(
    *headers: tuple[bytes, bytes], data: bytes = b"", trailers: list[tuple[bytes, bytes]] | None = None
) -> Script:
    def script(http: Http) -> None:
        http.send_headers(STREAM, list(headers), end_stream=not data and trailers is None)
        if data:
            http.send_data(STREAM, data, end_stream=trailers is None)
        if trailers is not None:
            http.send_headers(STREAM, trailers, end_stream=True)

    return script


async def test_messages_arrive_until_the_status_does() -> None:
    trailers = [(b"grpc-status", b"14"), (b"grpc-message", b"gone %C3%A9 100%25")]
    script = answer(*OK, data=frame(b"one") + frame(b"") + frame(b"three"), trailers=trailers)
    assert await outcome_of(script) == (grpc.StatusCode.UNAVAILABLE, "gone é 100%", [b"one", b"", b"three"])


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
        (answer(*OK, (b"grpc-status", b"x")), grpc.StatusCode.UNKNOWN, ""),
        (
            answer(*OK, data=frame(b"one", compressed=True), trailers=[(b"grpc-status", b"0")]),
            grpc.StatusCode.INTERNAL,
            "compressed",
        ),
        (answer(*OK, data=b"\xffjunk!", trailers=[(b"grpc-status", b"0")]), grpc.StatusCode.INTERNAL, "bad frame type"),
        (
            answer(*OK, data=b"\0\xff\xff\xff\xff", trailers=[(b"grpc-status", b"0")]),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "larger than max",
        ),
        (lambda http: http.reset_stream(STREAM, 8), grpc.StatusCode.CANCELLED, "reset"),
        (lambda http: http.reset_stream(STREAM, 7), grpc.StatusCode.UNAVAILABLE, "reset"),
        (lambda http: http.reset_stream(STREAM, 2), grpc.StatusCode.INTERNAL, "reset"),
        (lambda http: http.close_connection(11, last_stream_id=0), grpc.StatusCode.UNAVAILABLE, "going away"),
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
        await outcome.stream.closed
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "makes no sense" in details


@pytest.mark.parametrize("address", ["refused", "nobody.invalid:1", "no address"])
async def test_who_can_not_be_reached_is_unavailable(address: str) -> None:
    if address == "refused":
        address = f"127.0.0.1:{free_ports(1)[0]}"
    outcome = Outcome(address)
    outcome.stream.send(b"in vain")
    code, _ = await outcome.ended
    await outcome.stream.closed
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_whoever_closes_it_hears_no_more() -> None:
    async with peer(answer(*OK, data=frame(b"one"), trailers=[(b"grpc-status", b"0")])) as address:
        for begun in (False, True):
            outcome = Outcome(address)
            if begun:
                await asyncio.sleep(0)  # the first step of connecting
            outcome.stream.close()
            await outcome.stream.closed
            assert not outcome.ended.done()
            assert outcome.messages == []
