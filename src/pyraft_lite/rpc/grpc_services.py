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
    Head,
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

MakeCall: TypeAlias = Callable[[Method, Head, float | None], AnyCall]
"""Makes a call of its method, what its headers say, and its deadline."""

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

    def admit(self, head: Head | Refusal, make: MakeCall[AnyCall]) -> AnyCall | Refusal:
        """Takes a call in, which :meth:`answer` or :meth:`ended` must be called for, or refuses it.

        Args:
            head: What its headers say, by :func:`read_head`.
            make: Makes the call.
        """
        if isinstance(head, Refusal):
            return head
        try:
            method = self._methods.get(head.path) or self._find(head.path.decode("latin-1"), head.fields)
        except MetadataError as error:
            return _failure(grpc.StatusCode.INTERNAL, str(error))
        if method is None:
            return _failure(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        limit = method.limit
        if limit is not None:
            if overload := limit.overload():  # Before anything more: refusing must cost little.
                return _overloaded(overload)
            limit.enter()
        deadline = None if head.timeout is None else monotonic() + head.timeout
        call = make(method, head, deadline)
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


def read_head(verb: bytes, path: bytes, fields: Headers, by_name: Mapping[bytes, bytes]) -> Head | Refusal:
    """What the headers of a request say; a refusal if they are not those of gRPC.

    Args:
        verb: HTTP's method.
        path: With its query: to gRPC that is a part of it.
        fields: The headers.
        by_name: The same by name.
    """
    content_type = by_name.get(b"content-type", b"")
    if content_type != b"application/grpc" and not content_type.startswith(
        (b"application/grpc+", b"application/grpc;")
    ):
        return _NOT_GRPC
    if verb != b"POST":
        return _NOT_POST
    if by_name.get(b"te") != b"trailers":  # Without it nothing could say how the call ended.
        return _NO_TRAILERS
    encoding = by_name.get(b"grpc-encoding")
    if encoding is not None and not framing.is_supported(encoding):
        text = f"invalid grpc-encoding {encoding.decode(errors='replace')!r}: want one of "
        return _failure(grpc.StatusCode.UNIMPLEMENTED, text + framing.ACCEPTED.decode())
    timeout = by_name.get(b"grpc-timeout")
    try:
        return Head(path, fields, by_name, None if timeout is None else parse_timeout(timeout))
    except ValueError as error:
        return _failure(grpc.StatusCode.INTERNAL, str(error))


def _expire(call: Call) -> None:
    """Ends a call whose client has given up by now."""
    call.interrupt(_EXPIRED)


def _failure(code: grpc.StatusCode, details: str) -> Refusal:
    return Refusal(200, trailers_only(encode_status(code, details)))


@lru_cache(256)
def _overloaded(details: str) -> Refusal:
    return _failure(grpc.StatusCode.RESOURCE_EXHAUSTED, details)
