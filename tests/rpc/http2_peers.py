"""What the tests of HTTP/2 share: frames made by hand, and streams that write down what they hear."""

import struct
from typing import NamedTuple, TypeVar

import h2.config
import h2.connection
import h2.events
from h2.settings import SettingCodes

from pyraft_lite.rpc.http2.connection import Connection, Stream
from pyraft_lite.rpc.http2.headers import Headers

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY, ACK = 0x1, 0x4, 0x8, 0x20, 0x1


Event = TypeVar("Event", bound=h2.events.Event)


class HeadersCame(NamedTuple):
    headers: Headers
    ended: bool


class DataCame(NamedTuple):
    data: bytes
    ended: bool


class Lost(NamedTuple):
    code: int | None


class RoomMade(NamedTuple):
    pass


class Heard(Stream):
    """Writes down what it hears, and uses none of it by itself."""

    def __init__(self, connection: Connection, number: int) -> None:
        super().__init__(connection, number)
        self.events: list[HeadersCame | DataCame | Lost | RoomMade] = []
        self.reason = ""

    def headers_received(self, headers: Headers, ended: bool) -> None:
        self.events.append(HeadersCame(headers, ended))

    def data_received(self, data: bytes, ended: bool) -> None:
        self.events.append(DataCame(data, ended))

    def lost(self, code: int | None, reason: str) -> None:
        self.events.append(Lost(code))
        self.reason = reason

    def room_made(self) -> None:
        self.events.append(RoomMade())

    @property
    def received(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, DataCame))


class Wired:
    """One end of a connection that is h2's, wired to ours at the other."""

    def __init__(self, ours: Connection, *, client_side: bool, wanted: dict[SettingCodes, int] | None) -> None:
        configuration = h2.config.H2Configuration(client_side=client_side, header_encoding=None)
        self.http = h2.connection.H2Connection(configuration)
        self.http.initiate_connection()
        self.http.update_settings(wanted or {})
        self.events: list[h2.events.Event] = []
        self._ours = ours
        self.exchange()

    def exchange(self) -> None:
        """Passes bytes on until neither has any left."""
        while True:
            theirs, ours = self.http.data_to_send(), self._ours.take()
            if not theirs and not ours:
                return
            self.events += self.http.receive_data(ours)
            self._ours.receive(theirs)

    def heard(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def received(self, stream: Heard) -> bytes:
        return b"".join(each.data for each in self.heard(h2.events.DataReceived) if each.stream_id == stream.number)


class Reader(Heard):
    """Uses all data at once."""

    def data_received(self, data: bytes, ended: bool) -> None:
        super().data_received(data, ended)
        self.use(len(data))


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as it is on the wire."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*values: tuple[int, int]) -> bytes:
    """A frame of settings."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *each) for each in values))


def number(*values: int) -> bytes:
    """What most frames consist of."""
    return b"".join(struct.pack(">I", each) for each in values)


def frames_in(data: bytes) -> list[Frame]:
    """The whole frames that ``data`` consists of."""
    frames = []
    while data:
        size = int.from_bytes(data[:3], "big")
        kind, flags, stream = struct.unpack_from(">BBI", data, 3)
        assert len(data) >= 9 + size, "a frame is cut off"
        frames.append(Frame(kind, flags, stream, data[9 : 9 + size]))
        data = data[9 + size :]
    return frames


def take_all(connection: Connection) -> bytes:
    """All that can be taken."""
    parts = []
    while part := connection.take():
        parts.append(part)
    return b"".join(parts)


def goodbye(data: bytes) -> tuple[int, int, bytes]:
    """The last stream, code and reason of the GOAWAY that is the last frame."""
    last = frames_in(data)[-1]
    assert (last.kind, last.stream) == (GOAWAY, 0)
    return (*struct.unpack_from(">II", last.payload), last.payload[8:])
