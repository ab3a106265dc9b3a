"""The engine of grpcio: C++, with its own threads."""

import socket
from collections.abc import Mapping, Sequence

import grpc

from pyraft_lite.rpc.address import split_address
from pyraft_lite.rpc.engine import GenericHandler, MethodHandler
from pyraft_lite.rpc.limited import LimitedHandler, ServiceLimits, keep_to
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES
from pyraft_lite.rpc.listening import EVERYWHERE, ListenError, bind_all
from pyraft_lite.rpc.unreadable import refuse_unreadable

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

_SHED = (
    # When calls come faster than Python takes them, grpcio ends some with CANCELLED, of all services: ever more of them
    # when more than the first number wait, all beyond the second. They have cost little yet, and the others are
    # answered in time. Without this, grpcio's own numbers of 1000 and 3000 count.
    ("grpc.server.max_pending_requests", 512),
    ("grpc.server.max_pending_requests_hard_limit", 768),
)


class GrpcioEngine:
    """A :class:`~pyraft_lite.rpc.engine.ServerEngine`; see ``docs/engines.md``."""

    def __init__(self, grace: float = 0) -> None:
        self._grace = grace
        self._generic: list[GenericHandler] = []
        self._registered: dict[str, Mapping[str, MethodHandler]] = {}
        self._limits: dict[str, ServiceLimits] = {}
        self._server: grpc.aio.Server | None = None

    def limit_service(self, service_name: str, limits: ServiceLimits) -> None:
        """See :meth:`ServerEngine.limit_service`."""
        self._limits[service_name] = limits

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[GenericHandler]) -> None:
        self._generic.extend(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, MethodHandler]) -> None:
        self._registered[service_name] = {name: refuse_unreadable(handler) for name, handler in method_handlers.items()}

    async def start(self, address: str) -> int:
        """See :meth:`ServerEngine.start`."""
        hosts, port = await _places(address)
        server = grpc.aio.server(options=_OPTIONS + _SHED if self._limits else _OPTIONS)
        server.add_generic_rpc_handlers([LimitedHandler(handler, self._limits) for handler in self._generic])
        for service_name, method_handlers in self._registered.items():
            if limits := self._limits.get(service_name):
                method_handlers = {name: keep_to(limits, handler) for name, handler in method_handlers.items()}
            server.add_registered_method_handlers(service_name, method_handlers)  # type: ignore[attr-defined]
        try:
            for host in hosts:
                port = server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {address}: {error}") from error
        await server.start()
        self._server = server
        return port

    async def stop(self) -> None:
        """See :meth:`ServerEngine.stop`."""
        if self._server is not None:
            await self._server.stop(self._grace)


async def _places(address: str) -> tuple[list[str], int]:
    """The IP addresses, as they stand before a port, and the port to listen on; raises ListenError if one is taken.

    Left alone, grpcio is content if it can listen at one of the addresses a name stands for, and does not say why it
    cannot. So it is tried before grpcio does.
    """
    hosts: list[str] = []
    for each in await bind_all(address):
        with each:
            host = each.getsockname()[0]
            hosts.append(f"[{host}]" if each.family == socket.AF_INET6 else host)
    host, port = split_address(address)
    # To grpcio the wildcard of either family is that of both.
    return (hosts[:1] if host in EVERYWHERE else hosts), port
