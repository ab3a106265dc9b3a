"""An HTTP/2 client that sends whatever a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

GRPC = {
    b":method": b"POST",
    b":scheme": b"http",
    b":authority": b"test",
    b"content-type": b"application/grpc",
    b"te": b"trailers",
}
"""The headers of a gRPC request, all but ``:path``."""

FRAME_HEADER = 9
GOAWAY = 7


@dataclass
class Answer:
    """What came back on a stream.

    Attributes:
        headers: The first ones.
        body: All of it.
        trailers: What followed the body; None if nothing did.
        reset: The error code that the server reset the stream with; None if it did not.
        ended: Whether that is all.
    """

    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[bytes, bytes] | None = None
    reset: int | None = None
    ended: bool = False

    @property
    def status(self) -> bytes | None:
        """The ``grpc-status``, wherever it is."""
        return {**self.headers, **(self.trailers or {})}.get(b"grpc-status")

    @property
    def message(self) -> bytes:
        """The ``grpc-message``, wherever it is."""
        return {**self.headers, **(self.trailers or {})}.get(b"grpc-message", b"")


class H2Client:
    """One connection.

    Args:
        reader, writer: What it goes over.
        window: How much the server may send on a stream before the test has read it, in bytes.

    Attributes:
        last_stream: The last stream that the server will answer, once it has said that it goes away.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int) -> None:
        config = h2.config.H2Configuration(
            header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._h2 = h2.connection.H2Connection(config)
        self._h2.initiate_connection()
        self._h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self._h2.increment_flow_control_window(1 << 24)
        self._reader = reader
        self._writer = writer
        self._answers: dict[int, Answer] = {}
        self._received = b""
        self._pongs = 0
        self.last_stream: int | None = None

    async def request(
        self,
        path: bytes,
        chunks: Sequence[bytes] = (),
        headers: dict[bytes, bytes | None] | None = None,
        *,
        end: bool = True,
    ) -> Answer:
        """Sends a request, each chunk in a DATA frame of its own, and waits until the server has ended the stream.

        Args:
            path: What is called.
            chunks: The body.
            headers: What differs from ``GRPC``; None leaves one out.
            end: Whether to say that there will be no more.
        """
        stream = self.begin(path, headers, end=end and not chunks)
        for number, chunk in enumerate(chunks, 1):
            await self.send(stream, chunk, end=end and number == len(chunks))
        return await self.answer(stream)

    def begin(self, path: bytes, headers: dict[bytes, bytes | None] | None = None, *, end: bool = False) -> int:
        """Opens a stream with what differs from ``GRPC``; returns its number."""
        fields = {**GRPC, b":path": path, **(headers or {})}
        stream = self._h2.get_next_available_stream_id()
        pairs = [(name, value) for name, value in fields.items() if value is not None]
        pairs.sort(key=lambda pair: not pair[0].startswith(b":"))
        self._answers[stream] = Answer()
        self._h2.send_headers(stream, pairs, end_stream=end)
        self._flush()
        return stream

    async def send(self, stream: int, chunk: bytes, *, end: bool = False, padding: int | None = None) -> None:
        """Sends ``chunk``, in more than one frame if it must be, unless the server wants no more of the stream."""
        padded = 0 if padding is None else padding + 1
        while not self._answers[stream].ended:
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size) - padded
            if len(chunk) <= room:
                self._h2.send_data(stream, chunk, end_stream=end, pad_length=padding)
                self._flush()
                return
            if room > 0:
                self._h2.send_data(stream, chunk[:room], pad_length=padding)
                chunk = chunk[room:]
            else:
                await self._exchange()

    def reset(self, stream: int) -> None:
        """Cancels the stream."""
        if not self._answers[stream].ended:
            self._h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
            self._answers[stream].ended = True
            self._flush()

    async def answer(self, stream: int) -> Answer:
        """Waits until the server has ended the stream."""
        answer = self._answers[stream]
        await self.until(lambda: answer.ended)
        return answer

    async def until(self, condition: Callable[[], bool]) -> None:
        """Takes in what comes until the condition holds."""
        while not condition():
            await self._exchange()

    def open(self, stream: int, size: int) -> None:
        """Lets the server send so much more on a stream."""
        self._h2.increment_flow_control_window(size, stream)
        self._flush()

    async def ping(self) -> None:
        """Waits until the server has taken in all that was sent."""
        self._pongs = 0
        self._h2.ping(bytes(8))
        await self.until(lambda: self._pongs > 0)

    def so_far(self, stream: int) -> Answer:
        """What has come on a stream until now."""
        return self._answers[stream]

    def drop(self) -> None:
        """Is gone without a word."""
        self._writer.transport.abort()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())

    async def _exchange(self) -> None:
        """Sends what there is to send and takes in what comes."""
        self._flush()
        received = await self._reader.read(1 << 16)
        if not received:
            raise ConnectionError("the server closed the connection")
        self._received += received
        events = []
        while len(self._received) >= FRAME_HEADER:
            end = FRAME_HEADER + int.from_bytes(self._received[:3], "big")
            if len(self._received) < end:
                break
            frame, self._received = self._received[:end], self._received[end:]
            if frame[3] == GOAWAY:  # After which h2 would do nothing more, though streams may go on.
                self._go_away(frame[FRAME_HEADER:])
            else:
                events += self._h2.receive_data(frame)
        for event in events:
            match event:
                case h2.events.ResponseReceived(stream_id=stream, headers=headers):
                    self._answers[stream].headers = dict(headers)
                case h2.events.DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                    self._h2.acknowledge_received_data(length, stream)
                    self._answers[stream].body += data
                case h2.events.TrailersReceived(stream_id=stream, headers=headers):
                    self._answers[stream].trailers = dict(headers)
                case h2.events.StreamReset(stream_id=stream, error_code=code):
                    # One that only says that the rest of the request is not wanted comes behind the answer.
                    if not self._answers[stream].ended:
                        self._answers[stream].reset = int(code)
                        self._answers[stream].ended = True
                case h2.events.PingAckReceived():
                    self._pongs += 1
                case h2.events.StreamEnded(stream_id=stream):
                    self._answers[stream].ended = True

    def _go_away(self, payload: bytes) -> None:
        self.last_stream = int.from_bytes(payload[:4], "big")
        if code := int.from_bytes(payload[4:8], "big"):
            raise ConnectionError(f"the server sent GOAWAY with error code {code}")


@asynccontextmanager
async def h2_client(address: str, window: int = 1 << 24) -> AsyncIterator[H2Client]:
    """Connects."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield H2Client(reader, writer, window)
    finally:
        writer.close()
