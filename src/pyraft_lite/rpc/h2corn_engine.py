"""The engine of h2corn: HTTP/2 in Rust, gRPC on top of it here, in the node's own event loop."""

import asyncio
import logging
import socket
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import h2corn
import h2corn._lib

from pyraft_lite.core.errors import OverloadedError
from pyraft_lite.rpc.engine import GenericHandler, MethodHandler
from pyraft_lite.rpc.grpc_call import Call, Event, Method, Receive, Send, trailers_only
from pyraft_lite.rpc.grpc_headers import Headers, Metadata, MetadataError, decode_metadata, encode_status
from pyraft_lite.rpc.grpc_methods import method_of
from pyraft_lite.rpc.limited import ServiceLimits, service_of
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES
from pyraft_lite.rpc.listening import ListenError, bind_all
from pyraft_lite.rpc.status import status_code

logger = logging.getLogger(__name__)

_BACKLOG = 1024

_ROOM = 256
"""How many more calls than the limits of all services allow are let in: those of services without a limit, which are
the peers', and those that wait to be refused. Beyond them h2corn refuses by itself, with HTTP status 503: that costs
the event loop nothing, where otherwise all that comes would queue for it."""

_KEEPALIVE = (
    # Finds the streams of clients that vanished without a word: h2corn does not ping, so TCP does. The sockets of
    # connections have these from the one that listens.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)

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


@dataclass(frozen=True, slots=True)
class _CallDetails(grpc.HandlerCallDetails):
    """What a generic handler is asked with."""

    method: str
    invocation_metadata: Metadata


class H2cornEngine:
    """A :class:`~pyraft_lite.rpc.engine.ServerEngine`; see ``docs/engines.md``."""

    def __init__(self, grace: float = 0) -> None:
        self._grace = grace
        self._generic: list[GenericHandler] = []
        self._registered: dict[str, Mapping[str, MethodHandler]] = {}
        self._methods: dict[bytes, Method] = {}
        self._limits: dict[str, ServiceLimits] = {}
        self._listening: list[socket.socket] = []
        self._server: h2corn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[GenericHandler]) -> None:
        self._generic.extend(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, MethodHandler]) -> None:
        self._registered[service_name] = method_handlers

    def limit_service(self, service_name: str, limits: ServiceLimits) -> None:
        """See :meth:`ServerEngine.limit_service`."""
        self._limits[service_name] = limits

    async def start(self, address: str) -> int:
        """See :meth:`ServerEngine.start`."""
        for service_name, method_handlers in self._registered.items():
            for name, handler in method_handlers.items():
                path = f"/{service_name}/{name}"
                self._methods[path.encode()] = self._method(path, handler)
        with ExitStack() as undo:
            sockets = [undo.enter_context(each) for each in await bind_all(address)]
            try:
                for each in sockets:
                    for option in _KEEPALIVE:
                        each.setsockopt(*option)
                    each.listen(_BACKLOG)
            except OSError as error:
                raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
            port: int = sockets[0].getsockname()[1]
            bind = tuple(f"fd://{each.fileno()}" for each in sockets)
            most = sum(limits.most for limits in self._limits.values())
            config = h2corn.Config(
                bind=bind,
                timeout_graceful_shutdown=self._grace,
                limit_concurrency=most + _ROOM if most else 0,
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
        fields: Headers = scope["headers"]
        headers = dict(fields)
        refused = _refusal(scope["method"], headers)
        if refused is None:
            path = scope["raw_path"]
            if scope["query_string"]:  # To gRPC it is a part of the path.
                path += b"?" + scope["query_string"]
            try:
                method = self._methods.get(path) or self._find(path.decode("latin-1"), fields)
            except MetadataError as error:
                refused = trailers_only(encode_status(grpc.StatusCode.INTERNAL, str(error)))
            else:
                if method is None:
                    refused = trailers_only(encode_status(grpc.StatusCode.UNIMPLEMENTED, "Method not found!"))
                elif (limit := method.limit) is None:
                    await Call(method, fields, headers, receive, send).run()
                    return
                else:
                    try:
                        with limit:
                            await Call(method, fields, headers, receive, send).run()
                        return
                    except OverloadedError as error:  # Before anything of it is read: refusing must cost little.
                        refused = trailers_only(encode_status(status_code(error, retriable=True), str(error)))
        await send(refused)
        await send({"type": "http.response.body", "body": b""})

    def _find(self, path: str, fields: Headers) -> Method | None:
        """Asks the generic handlers."""
        details = _CallDetails(path, decode_metadata(fields))
        for generic in self._generic:
            if handler := generic.service(details):
                return self._method(path, handler)
        return None

    def _method(self, path: str, handler: MethodHandler) -> Method:
        return method_of(path, handler, self._limits.get(service_of(path)))


def _refusal(verb: str, headers: Mapping[bytes, bytes]) -> Event | None:
    """The beginning of the answer to a request that is not gRPC at all, None if it is."""
    content_type = headers.get(b"content-type", b"")
    if content_type != b"application/grpc" and not content_type.startswith(
        (b"application/grpc+", b"application/grpc;")
    ):
        status = 415
    elif verb != "POST":
        status = 405
    elif headers.get(b"te") != b"trailers":  # Without it nothing could say how the call ended.
        status = 400
    else:
        return None
    return {"type": "http.response.start", "status": status, "headers": []}


def _no_banner(*_: object) -> None:
    """Takes the place of h2corn's greeting on stderr, which is the node's own log; there is no option for it."""


h2corn._lib.emit_banner = _no_banner  # type: ignore[assignment]
