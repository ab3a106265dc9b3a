"""What serves the port.

A service is written once, as a servicer of the generated code, and added to any engine with the generated
``add_<Service>Servicer_to_server(servicer, engine)``. So that another engine than grpcio's can host it, a servicer

- is all ``async``: a coroutine for a single response, an asynchronous generator for a stream of them,
- takes a stream of requests as an asynchronous iterator that ends, or raises, when the client is gone,
- lets itself be cancelled when the client has gone or the deadline has passed,
- uses nothing of the call's context but :class:`CallContext`.
"""

import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, Protocol, TypeAlias

import grpc

from pyraft_lite.rpc.address import NO_SUCH_FAMILY, resolve, split_address
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES
from pyraft_lite.rpc.unreadable import refuse_unreadable

GenericHandler: TypeAlias = "grpc.GenericRpcHandler[Any, Any]"
MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class CallContext(Protocol):
    """All that a servicer may use of the context of a call."""

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        """Ends the call with an error; raises, so that nothing after it runs."""
        ...

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """What the client sent beside the request."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds until the client gives up, None if it has set no deadline."""
        ...


class HandlerRegistry(Protocol):
    """Where the generated ``add_<Service>Servicer_to_server`` puts a servicer."""

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[GenericHandler]) -> None: ...

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, MethodHandler]
    ) -> None: ...


class ListenError(Exception):
    """The engine cannot listen where it was told to; the message names the address and says why."""


class ServerEngine(HandlerRegistry, Protocol):
    """Serves all services on one port, in plaintext. Handlers are added before :meth:`start`."""

    async def start(self, address: str) -> int:
        """Listens at ``address`` (``host:port``; port 0: any that is free) and serves; returns the port.

        Raises:
            ListenError: the address is invalid, not of this machine, or taken.
        """
        ...

    async def stop(self, grace: float) -> None:
        """Takes no more calls, gives those under way ``grace`` seconds to end, then cancels them."""
        ...


_OPTIONS = (
    # A port that another process listens on is taken: never share it.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Peers and clients may ping, calls or not, every 5 s.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Finds the streams of clients that vanished without a word.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class GrpcioEngine:
    """The :class:`ServerEngine` of grpcio."""

    def __init__(self) -> None:
        self._generic: list[GenericHandler] = []
        self._registered: dict[str, Mapping[str, MethodHandler]] = {}
        self._server: grpc.aio.Server | None = None

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[GenericHandler]) -> None:
        self._generic.extend(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, MethodHandler]) -> None:
        self._registered[service_name] = {name: refuse_unreadable(handler) for name, handler in method_handlers.items()}

    async def start(self, address: str) -> int:
        """See :meth:`ServerEngine.start`."""
        hosts, port = await _places(address)
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers(self._generic)
        for service_name, method_handlers in self._registered.items():
            server.add_registered_method_handlers(service_name, method_handlers)  # type: ignore[attr-defined]
        try:
            for host in hosts:
                port = server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {address}: {error}") from error
        await server.start()
        self._server = server
        return port

    async def stop(self, grace: float) -> None:
        """See :meth:`ServerEngine.stop`."""
        if self._server is not None:
            await self._server.stop(grace)


async def _places(address: str) -> tuple[list[str], int]:
    """The IP addresses, as they stand before a port, and the port to listen on; raises ListenError if one is taken.

    Left alone, grpcio is content if it can listen at one of the addresses a name stands for, and does not say why it
    cannot.
    """
    try:
        found = await resolve(address)
    except (ValueError, OSError) as error:
        raise ListenError(f"cannot listen on {address}: {error}") from error
    hosts: list[str] = []  # Without repetition, of which /etc/hosts may hold some.
    reason = ""
    for family, place in dict.fromkeys(found):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(place)
            hosts.append(f"[{place[0]}]" if family == socket.AF_INET6 else place[0])
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno not in NO_SUCH_FAMILY:
                raise ListenError(f"cannot listen on {address}: {reason}") from error
    if not hosts:
        raise ListenError(f"cannot listen on {address}: {reason}")
    # To grpcio the wildcard of either family is that of both.
    everywhere = not split_address(address)[0]
    return (hosts[:1] if everywhere else hosts), found[0][1][1]
