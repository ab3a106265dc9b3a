"""A server on the HTTP/2 of h2, which does whatever a test says."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.settings

from pyraft_lite.rpc.address import split_address
from pyraft_lite.rpc.grpc_framing import frame
from pyraft_lite.rpc.http2 import frames

OK = [(b":status", b"200"), (b"content-type", b"application/grpc+proto")]
DONE = [(b"grpc-status", b"0")]

Http = h2.connection.H2Connection

Script = Callable[[Http, int], None]
"""What becomes of a request: gets the connection and the number of the stream, all of which has come."""


@dataclass
class Peer:
    """A running server.

    Attributes:
        script: What it does with each request.
        address: Where.
        connections: How many clients have connected.
        headers: Those of each request.
        received: The data of each stream.
        resets: The streams that the client has reset, and its error codes.
        pongs: How many pings clients have answered.
        closed: How many clients have closed their connections.
        https: All connections; what is put into one is sent by :meth:`flush`.
    """

    script: Script
    address: str = ""
    connections: int = 0
    headers: list[dict[bytes, bytes]] = field(default_factory=list)
    received: dict[int, bytes] = field(default_factory=dict)
    resets: "asyncio.Queue[tuple[int, int]]" = field(default_factory=asyncio.Queue)
    pongs: int = 0
    closed: int = 0
    https: list[Http] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until a condition on what came holds."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def change(self) -> None:
        """Something came."""
        async with self._changed:
            self._changed.notify_all()

    def say_goodbye(self, last: int) -> None:
        """Tells the latest client that streams behind the last one are not answered; if it has any, it will answer a
        ping when it knows. (h2 would take the streams before it for ended, too.)"""
        self.writers[-1].write(frames.frame(frames.GOAWAY, 0, 0, struct.pack(">II", last, frames.NO_ERROR)))
        self.https[-1].ping(b"know it?")
        self.flush()

    def flush(self) -> None:
        """Sends what there is to send."""
        for http, writer in zip(self.https, self.writers, strict=True):
            if not writer.is_closing():
                writer.write(http.data_to_send())


@contextlib.asynccontextmanager
async def running(
    script: Script,
    address: str = "127.0.0.1:0",
    *,
    at_once: bool = False,
    grants: bool = True,
    streams: int | None = None,
) -> AsyncIterator[Peer]:
    """Runs a server.

    Args:
        script: What to do with each request.
        address: Where to listen.
        at_once: Call the script when a request's headers are there, not when all of it is.
        grants: Make room for more data when some has come.
        streams: How many a client may open at a time.
    """
    peer = Peer(script)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = Http(h2.config.H2Configuration(client_side=False, header_encoding=None))
        http.initiate_connection()
        if streams is not None:
            http.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: streams})
        peer.connections += 1
        peer.https.append(http)
        peer.writers.append(writer)
        await peer.change()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                for event in http.receive_data(data):
                    match event:
                        case h2.events.RequestReceived(stream_id=stream, headers=headers):
                            peer.headers.append(dict(headers))
                            if at_once:
                                peer.script(http, stream)
                        case h2.events.DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                            peer.received[stream] = peer.received.get(stream, b"") + data
                            if grants:
                                http.acknowledge_received_data(length, stream)
                        case h2.events.StreamEnded(stream_id=stream) if not at_once:
                            peer.script(http, stream)
                        case h2.events.StreamReset(stream_id=stream, error_code=code):
                            peer.resets.put_nowait((stream, int(code)))
                        case h2.events.PingAckReceived():
                            peer.pongs += 1
                writer.write(http.data_to_send())
                await peer.change()
        peer.closed += 1
        await peer.change()
        writer.close()

    server = await asyncio.start_server(serve, *split_address(address))
    async with server:
        peer.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield peer


def answer(
    *headers: tuple[bytes, bytes], data: bytes = b"", trailers: list[tuple[bytes, bytes]] | None = None
) -> Script:
    """Answers with these headers, data and trailers."""

    def script(http: Http, stream: int) -> None:
        http.send_headers(stream, list(headers), end_stream=not data and trailers is None)
        if data:
            http.send_data(stream, data, end_stream=trailers is None)
        if trailers is not None:
            http.send_headers(stream, trailers, end_stream=True)

    return script


def respond(payload: bytes) -> Script:
    """Answers with one message."""
    return answer(*OK, data=frame(payload), trailers=DONE)


def ignore(http: Http, stream: int) -> None:
    """Does nothing."""
