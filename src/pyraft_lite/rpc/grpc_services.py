"""What a server of ours serves: which method a request is for, whether it is taken, and how long it may take."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic
from typing import TypeAlias, TypeVar

import grpc

from pyraft_lite.rpc import grpc_framing as framing
from pyraft_lite.rpc.engine import GenericHandler, MethodHandler
from pyraft_lite.rpc.expiry import Expiry
from pyraft_lite.rpc.grpc_call import Call, Method, Status, trailers_only
from pyraft_lite.rpc.grpc_headers import (
    Headers,
    Metadata,
    MetadataError,
    decode_metadata,
    encode_status,
    parse_timeout,
)
from pyraft_lite.rpc.grpc_methods import method_of
from pyraft_lite.rpc.limited import ServiceLimits, service_of

AnyCall = TypeVar("AnyCall", bound=Call)

MakeCall: TypeAlias = Callable[[Method, Headers, Mapping[bytes, bytes], float | None], AnyCall]
"""Makes a call of its method, its headers, the same by name, and its deadline."""

_EXPIRED: Status = (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


@dataclass(frozen=True, slots=True)
class _CallDetails(grpc.HandlerCallDetails):
    """What a generic handler is asked with."""

    method: str
    invocation_metadata: Metadata


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """The answer to a request that is not taken; the same object for all that are refused alike.

    Attributes:
        status: HTTP's.
        headers: Those of the answer, which has no body.
    """

    status: int
    headers: Headers = ()


_NOT_GRPC = Refusal(415)
_NOT_POST = Refusal(405)
_NO_TRAILERS = Refusal(400)


class Services:
    """The handlers of all services, their limits, and the calls under way.

    Attributes:
        calls: Those that have been admitted and have not ended.
    """

    def __init__(self) -> None:
        self.calls: set[Call] = set()
        self._expiry = Expiry(self.calls, _expire)
        self._generic: list[GenericHandler] = []
        self._registered: dict[str, Mapping[str, MethodHandler]] = {}
        self._limits: dict[str, ServiceLimits] = {}
        self._methods: dict[bytes, Method] = {}

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[GenericHandler]) -> None:
        """See :class:`~pyraft_lite.rpc.engine.HandlerRegistry`."""
        self._generic.extend(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, MethodHandler]) -> None:
        """See :class:`~pyraft_lite.rpc.engine.HandlerRegistry`."""
        self._registered[service_name] = method_handlers

    def limit_service(self, service_name: str, limits: ServiceLimits) -> None:
        """See :meth:`~pyraft_lite.rpc.engine.ServerEngine.limit_service`."""
        self._limits[service_name] = limits

    @property
    def most(self) -> int:
        """How many calls and streams of all services that have limits; 0: no service has."""
        return sum(limits.most for limits in self._limits.values())

    def prepare(self) -> None:
        """All has been added."""
        for service_name, method_handlers in self._registered.items():
            for name, handler in method_handlers.items():
                path = f"/{service_name}/{name}"
                self._methods[path.encode()] = self._method(path, handler)

    def admit(
        self, verb: bytes, path: bytes, fields: Headers, headers: Mapping[bytes, bytes], make: MakeCall[AnyCall]
    ) -> AnyCall | Refusal:
        """Takes a call in, which :meth:`answer` or :meth:`ended` must be called for, or refuses it.

        Args:
            verb: HTTP's method.
            path: With its query: to gRPC that is a part of it.
            fields: The headers.
            headers: The same by name.
            make: Makes the call.
        """
        content_type = headers.get(b"content-type", b"")
        if content_type != b"application/grpc" and not content_type.startswith(
            (b"application/grpc+", b"application/grpc;")
        ):
            return _NOT_GRPC
        if verb != b"POST":
            return _NOT_POST
        if headers.get(b"te") != b"trailers":  # Without it nothing could say how the call ended.
            return _NO_TRAILERS
        encoding = headers.get(b"grpc-encoding")
        if encoding is not None and not framing.is_supported(encoding):
            text = f"invalid grpc-encoding {encoding.decode(errors='replace')!r}: want one of "
            return _failure(grpc.StatusCode.UNIMPLEMENTED, text + framing.ACCEPTED.decode())
        try:
            method = self._methods.get(path) or self._find(path.decode("latin-1"), fields)
            if method is None:
                return _failure(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            limit = method.limit
            if limit is not None and (overload := limit.overload()):  # Before anything more: refusing must cost little.
                return _overloaded(overload)
            deadline = None
            if (timeout := headers.get(b"grpc-timeout")) is not None:
                deadline = monotonic() + parse_timeout(timeout)
        except (MetadataError, ValueError) as error:
            return _failure(grpc.StatusCode.INTERNAL, str(error))
        if limit is not None:
            limit.enter()
        call = make(method, fields, headers, deadline)
        self.calls.add(call)
        if deadline is not None:
            self._expiry.watch(deadline)
        return call

    async def answer(self, call: Call) -> None:
        """Lets a call's servicer answer it."""
        try:
            await call.run()
        finally:
            self.ended(call)

    def ended(self, call: Call) -> None:
        """A call has been answered, or will not be."""
        self.calls.discard(call)
        if call.method.limit is not None:
            call.method.limit.leave()

    def _find(self, path: str, fields: Headers) -> Method | None:
        """Asks the generic handlers."""
        details = _CallDetails(path, decode_metadata(fields))
        for generic in self._generic:
            if handler := generic.service(details):
                return self._method(path, handler)
        return None

    def _method(self, path: str, handler: MethodHandler) -> Method:
        return method_of(path, handler, self._limits.get(service_of(path)))


def _expire(call: Call) -> None:
    """Ends a call whose client has given up by now."""
    call.interrupt(_EXPIRED)


def _failure(code: grpc.StatusCode, details: str) -> Refusal:
    return Refusal(200, trailers_only(encode_status(code, details)))


@lru_cache(256)
def _overloaded(details: str) -> Refusal:
    return _failure(grpc.StatusCode.RESOURCE_EXHAUSTED, details)
