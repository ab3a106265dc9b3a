"""The engine of h2corn: HTTP/2 in Rust, gRPC on top of it here, in the node's own event loop."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeAlias

import h2corn
import h2corn._lib

from pyraft_lite.rpc.grpc_call import Call
from pyraft_lite.rpc.grpc_headers import Headers
from pyraft_lite.rpc.grpc_services import Refusal, Services, read_head
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES
from pyraft_lite.rpc.listening import listen_all

Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]

logger = logging.getLogger(__name__)

_ROOM = 256
"""How many more calls than the limits of all services allow are let in: those of services without a limit, which are
the peers', and those that wait to be refused. Beyond them h2corn refuses by itself, with HTTP status 503: that costs
the event loop nothing, where otherwise all that comes would queue for it."""

_CONFIG: dict[str, Any] = {
    "grpc": True,
    "http1": False,
    "lifespan": "off",
    "access_log": False,
    "date_header": False,
    # One more hands work back and forth, at a tenth more CPU a call.
    "runtime_threads": 1,
    # A stream that is not read must not keep others of its connection waiting.
    "h2_initial_stream_window_size": MAX_MESSAGE_BYTES,
    "h2_initial_connection_window_size": 16 * MAX_MESSAGE_BYTES,
    # As much metadata as grpcio takes.
    "h2_max_header_list_size": 16 * 1024,
    "max_concurrent_streams": 1024,
    # Idle connections and slow readers are no errors.
    "timeout_keep_alive": 0,
    "h2_timeout_response_stall": 0,
}


class H2cornEngine(Services):
    """A :class:`~pyraft_lite.rpc.engine.ServerEngine`; see ``docs/engines.md``."""

    def __init__(self, grace: float = 0) -> None:
        super().__init__()
        self._grace = grace
        self._listening: list[socket.socket] = []
        self._server: h2corn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, address: str) -> int:
        """See :meth:`ServerEngine.start`."""
        self.prepare()
        with ExitStack() as undo:
            sockets = [undo.enter_context(each) for each in await listen_all(address)]
            port: int = sockets[0].getsockname()[1]
            bind = tuple(f"fd://{each.fileno()}" for each in sockets)
            config = h2corn.Config(
                bind=bind,
                timeout_graceful_shutdown=self._grace,
                limit_concurrency=self.most + _ROOM if self.most else 0,
                **_CONFIG,
            )
            self._server = h2corn.Server(self._serve, config)
            self._serving = asyncio.create_task(self._server.serve())
            await self._server.wait_started()
            self._listening = sockets
            undo.pop_all()
        return port

    async def stop(self) -> None:
        """See :meth:`ServerEngine.stop`."""
        if self._server is not None and self._serving is not None:
            self._server.shutdown()
            while self._listening:
                # h2corn accepts no more, but closes its ends only when all calls are done: refuse who comes meanwhile.
                with self._listening.pop() as each:
                    each.shutdown(socket.SHUT_RDWR)
            try:
                await self._serving
            except RuntimeError as error:  # Calls that do not let themselves be cancelled go on without us.
                logger.warning("%s", error)

    # -- requests ---------------------------------------------------------------------------------------------------

    async def _serve(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """The ASGI application: answers one request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        fields: Headers = tuple(scope["headers"])
        path = scope["raw_path"]
        if scope["query_string"]:
            path += b"?" + scope["query_string"]
        head = read_head(scope["method"].encode(), path, fields, dict(fields))
        call = self.admit(head, partial(Call, exchange=_Exchange(receive, send)))
        if isinstance(call, Refusal):
            await send({"type": "http.response.start", "status": call.status, "headers": call.headers})
            await send({"type": "http.response.body", "body": b""})
            return
        await self.answer(call)


class _Exchange:
    """A call's :class:`~pyraft_lite.rpc.grpc_call.Exchange`, over ASGI."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def receive(self) -> tuple[bytes, bool]:
        """See :meth:`~pyraft_lite.rpc.grpc_call.Exchange.receive`."""
        event = await self._receive()
        if event["type"] == "http.disconnect":
            raise asyncio.CancelledError("the client is gone")
        return event.get("body", b""), event.get("more_body", False)

    async def send(self, headers: Headers | None, body: bytes, trailers: Headers | None) -> None:
        """See :meth:`~pyraft_lite.rpc.grpc_call.Exchange.send`."""
        if headers is not None:
            start = {"type": "http.response.start", "status": 200, "headers": headers, "trailers": trailers != ()}
            await self._send(start)
        # Without a body h2corn would keep the headers until there is one.
        await self._send({"type": "http.response.body", "body": body, "more_body": trailers is None})
        if trailers:
            await self._send({"type": "http.response.trailers", "headers": trailers})


def _no_banner(*_: object) -> None:
    """Takes the place of h2corn's greeting on stderr, which is the node's own log; there is no option for it."""


h2corn._lib.emit_banner = _no_banner  # type: ignore[assignment]
