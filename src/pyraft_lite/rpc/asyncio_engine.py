"""The engine of our own: HTTP/2 and gRPC in the node's own event loop, where servicers run as well."""

import asyncio
import logging
import re
from collections.abc import Iterable
from contextlib import ExitStack
from functools import lru_cache, partial

import grpc

from pyraft_lite.rpc.chunks import Chunk, add_chunk
from pyraft_lite.rpc.direct_call import MOST_UNSENT, DirectCall
from pyraft_lite.rpc.grpc_call import GONE, Status
from pyraft_lite.rpc.grpc_headers import Head
from pyraft_lite.rpc.grpc_services import Refusal, Services, read_head
from pyraft_lite.rpc.http2 import frames
from pyraft_lite.rpc.http2.connection import MAX_STREAMS, Connection, Stream
from pyraft_lite.rpc.http2.headers import Headers, encode_literally
from pyraft_lite.rpc.http2.protocol import Http2Protocol
from pyraft_lite.rpc.http2.server import ServerConnection
from pyraft_lite.rpc.listening import BACKLOG, listen_all
from pyraft_lite.rpc.shedding import Shedding

logger = logging.getLogger(__name__)

_STATUS_200 = encode_literally(((b":status", b"200"),))

_NAME = re.compile(rb":(method|scheme|path|authority)|[a-z0-9!#$%&'*+.^_`|~-]+")
_OF_CONNECTIONS = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_SOUND: set[bytes] = set()
_MOST_SOUND = 1024
"""Names of headers that have been found to be sound: most come again and again."""

_FIRST_WORD = 10.0
"""Seconds that a client has to say that it speaks HTTP/2."""

_STOPPING: Status = (grpc.StatusCode.UNAVAILABLE, "the server is stopping")

_CANCELLATION = 1.0
"""Seconds that calls have to end once they are cancelled, before the engine stops without them."""


class AsyncioEngine(Services):
    """A :class:`~pyraft_lite.rpc.engine.ServerEngine`; see ``docs/engines.md``."""

    def __init__(self, grace: float = 0) -> None:
        super().__init__()
        self._grace = grace
        self._servers: list[asyncio.Server] = []
        self._peers: set[_Peer] = set()
        self._shedding = Shedding()
        self._stopping = False

    async def start(self, address: str) -> int:
        """See :meth:`ServerEngine.start`."""
        self.prepare()
        loop = asyncio.get_running_loop()
        with ExitStack() as undo:
            sockets = [undo.enter_context(each) for each in await listen_all(address)]
            port: int = sockets[0].getsockname()[1]
            for each in sockets:
                self._servers.append(await loop.create_server(self._connect, sock=each, backlog=BACKLOG))
            undo.pop_all()
        return port

    async def stop(self) -> None:
        """See :meth:`ServerEngine.stop`."""
        self._stopping = True
        for server in self._servers:
            server.close()
        for peer in list(self._peers):
            peer.go_away()
        await self._ended(self._grace)
        for call in list(self.calls):
            call.interrupt(_STOPPING)
        await self._ended(_CANCELLATION)
        for peer in self._peers:
            logger.warning("%d calls go on though they were cancelled", peer.calls)
            peer.protocol.abort()

    async def _ended(self, timeout: float) -> None:
        """Waits until no connection is left, or so many seconds."""
        gone = [peer.gone for peer in self._peers]
        if gone:
            await asyncio.wait(gone, timeout=timeout)

    def _connect(self) -> asyncio.Protocol:
        if self._stopping:  # asyncio makes no connection any more of what it accepted before; so it is closed at once.
            raise ConnectionAbortedError("the server is stopping")
        return _Peer(self, self._peers, self._shedding).protocol


class _Peer:
    """A client's connection and its calls.

    Attributes:
        services: What it may call.
        calls: How many calls are under way, those included whose streams have ended but which have not noticed yet.
        gone: Done when nothing is left of the connection.
    """

    def __init__(self, services: Services, peers: "set[_Peer]", shedding: Shedding) -> None:
        self._loop = asyncio.get_running_loop()
        self.services = services
        self.calls = 0
        self.gone: asyncio.Future[None] = self._loop.create_future()
        exchange = partial(_Exchange, peer=self)
        self.protocol = Http2Protocol(lambda wake: ServerConnection(wake, exchange), self._lost)
        self.protocol.connection.on_idle = self._leave
        self._peers = peers
        self._shedding = shedding
        self._going = False
        self._first_word = self._loop.call_later(_FIRST_WORD, self._check_first_word)
        peers.add(self)

    def run(self, exchange: "_Exchange", call: DirectCall) -> None:
        """Has a task answer a call."""
        self._loop.create_task(self._answer(exchange, call))

    async def _answer(self, exchange: "_Exchange", call: DirectCall) -> None:
        try:
            await self.services.answer(call)
        finally:
            self.ended(exchange)

    def refused(self) -> None:
        """A call has just not been taken."""
        self._shedding.refused(self.protocol)

    def ended(self, exchange: "_Exchange") -> None:
        """A call is no more under way."""
        exchange.call = None  # Else they would hold each other until the garbage collector finds them.
        self.calls -= 1
        if self._going:
            self._leave()

    def go_away(self) -> None:
        """Takes no more calls, and closes the connection once those under way have ended."""
        self._going = True
        self.protocol.connection.go_away()
        self._leave()

    def _leave(self) -> None:
        if not self.calls and not self.protocol.connection.streams:
            self.protocol.close()

    def _check_first_word(self) -> None:
        if not self.protocol.connection.has_begun:
            self.protocol.abort()

    def _lost(self, _: Http2Protocol[ServerConnection]) -> None:
        self._first_word.cancel()
        self._peers.discard(self)
        if not self.gone.done():
            self.gone.set_result(None)


class _Exchange(Stream):
    """A call's :class:`~pyraft_lite.rpc.direct_call.DirectExchange`.

    Attributes:
        call: The call while it is under way.
    """

    __slots__ = ("_body", "_gone", "_peer", "_reader", "_writer", "call")

    def __init__(self, connection: Connection, number: int, peer: _Peer) -> None:
        super().__init__(connection, number)
        self._peer = peer
        self._body: list[Chunk] = []
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._gone = False
        self.call: DirectCall | None = None

    # -- Stream -----------------------------------------------------------------------------------------------------

    def headers_received(self, headers: Headers, ended: bool) -> None:
        """The request: begins the call, or refuses it."""
        head = _head_of(headers)
        if head is None:
            self.reset(frames.PROTOCOL_ERROR)
            return
        peer = self._peer
        if peer.calls >= MAX_STREAMS:  # Of streams that were reset, some calls have not noticed yet.
            self.reset(frames.REFUSED_STREAM)
            return
        call = peer.services.admit(head, partial(DirectCall, exchange=self))
        if isinstance(call, Refusal):
            self.send_headers(_block_of(call), ended=True)
            peer.refused()
            return
        self.call = call
        peer.calls += 1
        call.begin(ended)

    def data_received(self, data: bytes, ended: bool) -> None:
        call = self.call
        if call is not None and not self._body and call.data_came(data, ended):
            return
        add_chunk(self._body, data)
        _wake(self._reader)
        if call is not None:
            call.give()

    def lost(self, code: int | None, reason: str) -> None:
        self._gone = True
        if self.call is not None:
            self.call.interrupt(GONE)
        for waiting in (self._reader, self._writer):
            if waiting is not None:
                waiting.cancel()

    def room_made(self) -> None:
        _wake(self._writer)
        if self.call is not None:
            self.call.give()

    # -- DirectExchange ---------------------------------------------------------------------------------------------

    async def receive(self) -> tuple[Chunk, bool]:
        """See :meth:`~pyraft_lite.rpc.grpc_call.Exchange.receive`."""
        while (taken := self.take()) is None:
            if self._gone:
                raise asyncio.CancelledError("the client has gone")
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return taken

    def take(self) -> tuple[Chunk, bool] | None:
        """See :meth:`~pyraft_lite.rpc.direct_call.DirectExchange.take`."""
        if not self._body:
            return (b"", False) if self.received_all else None
        chunk = self._body.pop(0)
        self.use(len(chunk))
        return chunk, bool(self._body) or not self.received_all

    async def send(self, headers: Headers | None, body: bytes, trailers: Headers | None) -> None:
        """See :meth:`~pyraft_lite.rpc.grpc_call.Exchange.send`."""
        if self._gone:
            raise ConnectionResetError("the client has gone")
        self.put(headers, body, trailers)
        if trailers is None and self.unsent > MOST_UNSENT:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer

    def put(self, headers: Headers | None, body: bytes, trailers: Headers | None) -> None:
        """See :meth:`~pyraft_lite.rpc.direct_call.DirectExchange.put`."""
        if self._gone:
            return
        self.cork()
        if headers is not None:
            self.send_headers(_STATUS_200 + encode_literally(headers), ended=trailers == ())
        if body:
            self.send_data(body)
        if trailers:
            self.send_trailers(encode_literally(trailers))
        # Else there may soon be other answers to go along.
        self.uncork(at_once=trailers is None or self._peer.calls == 1)

    def run(self) -> None:
        """See :meth:`~pyraft_lite.rpc.direct_call.DirectExchange.run`."""
        assert self.call is not None
        self._peer.run(self, self.call)

    def ended(self) -> None:
        """See :meth:`~pyraft_lite.rpc.direct_call.DirectExchange.ended`."""
        assert self.call is not None
        self._peer.services.ended(self.call)
        self._peer.ended(self)


@lru_cache(64)  # Most requests say the same as one before; few, since anybody may send long ones.
def _head_of(headers: Headers) -> Head | Refusal | None:
    """What a request's headers say; None if they are not those of a request."""
    by_name = dict(headers)
    verb, path = by_name.get(b":method"), by_name.get(b":path")
    if not verb or not path or not _are_sound(by_name):
        return None
    return read_head(verb, path, headers, by_name)


@lru_cache(256)
def _block_of(refusal: Refusal) -> bytes:
    return encode_literally(((b":status", b"%d" % refusal.status), *refusal.headers))


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _are_sound(names: Iterable[bytes]) -> bool:
    """False if a header has a name that none can have (RFC 9113, 8.2)."""
    if not _SOUND.issuperset(names):
        for name in names:
            if not _NAME.fullmatch(name) or name in _OF_CONNECTIONS:
                return False
            if len(_SOUND) < _MOST_SOUND:
                _SOUND.add(name)
    return True
