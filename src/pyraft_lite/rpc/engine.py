"""What serves the port.

A service is written once, as a servicer of the generated code, and added to any engine with the generated
``add_<Service>Servicer_to_server(servicer, engine)``. So that each engine can host it, a servicer

- is all ``async``: a coroutine for a single response, an asynchronous generator for a stream of them (or a coroutine
  that calls ``context.write``),
- takes a stream of requests as an asynchronous iterator that ends, or raises, when the client is gone,
- lets itself be cancelled when the client has gone or the deadline has passed,
- uses nothing of the call's context but :class:`CallContext`.

What ``direct`` makes of a method, or of the receiver of a stream, is such a servicer too, and costs a turn of the event
loop less where the engine knows it.
"""

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, Protocol, TypeAlias

import grpc

from pyraft_lite.rpc.limited import ServiceLimits

GenericHandler: TypeAlias = "grpc.GenericRpcHandler[Any, Any]"
MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

ENGINES = ("asyncio", "grpcio", "h2corn")
"""The names of the engines, the default one first; ``docs/engines.md`` says why."""


class CallContext(Protocol):
    """All that a servicer may use of the context of a call; the names and meanings are those of ``grpc.aio``."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Sequence[tuple[str, str | bytes]] = ()
    ) -> NoReturn:
        """Ends the call with an error; raises, so that nothing after it runs."""
        ...

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """What the client sent beside the request."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds until the client gives up, None if it has set no deadline."""
        ...

    async def send_initial_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """Sends what goes before the first response; once at most."""
        ...

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """Says what goes behind the last response."""
        ...

    def set_code(self, code: grpc.StatusCode) -> None:
        """Says how the call ends when the servicer returns."""
        ...

    def set_details(self, details: str) -> None:
        """Says why it ends so."""
        ...

    def set_compression(self, compression: grpc.Compression) -> None:
        """Has all responses compressed; to be called before the first."""
        ...

    def disable_next_message_compression(self) -> None:
        """Has the next response sent as it is."""
        ...

    async def read(self) -> Any:
        """The next request of a stream, ``grpc.aio.EOF`` after the last."""
        ...

    async def write(self, message: Any) -> None:
        """Sends the next response of a stream; waits while the client is slower than we are."""
        ...


class HandlerRegistry(Protocol):
    """Where the generated ``add_<Service>Servicer_to_server`` puts a servicer."""

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[GenericHandler]) -> None: ...

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, MethodHandler]
    ) -> None: ...


class ServerEngine(HandlerRegistry, Protocol):
    """Serves all services on one port, in plaintext. Handlers are added, and limits set, before :meth:`start`."""

    def limit_service(self, service_name: str, limits: ServiceLimits) -> None:
        """Has calls of a service beyond its limits refused at once with RESOURCE_EXHAUSTED; the others are served as
        before."""
        ...

    async def start(self, address: str) -> int:
        """Listens at ``address`` (``host:port``; port 0: any that is free) and serves; returns the port.

        Raises:
            ListenError: the address is invalid, not of this machine, or taken.
        """
        ...

    async def stop(self) -> None:
        """Takes no more calls, gives those under way the engine's grace to end, then cancels them."""
        ...


def available_engines() -> tuple[str, ...]:
    """The names of the engines that are installed, the default one first."""
    return tuple(name for name in ENGINES if name != "h2corn" or importlib.util.find_spec(name))


def new_engine(name: str, grace: float = 0) -> ServerEngine:
    """An engine that has not started.

    Args:
        name: One of :func:`available_engines`.
        grace: Seconds that calls under way get to end when the engine stops.
    """
    # Imported here, since what is not chosen need not be installed.
    if name == "h2corn":
        from pyraft_lite.rpc.h2corn_engine import H2cornEngine

        return H2cornEngine(grace)
    if name == "grpcio":
        from pyraft_lite.rpc.grpcio_engine import GrpcioEngine

        return GrpcioEngine(grace)
    from pyraft_lite.rpc.asyncio_engine import AsyncioEngine

    return AsyncioEngine(grace)
