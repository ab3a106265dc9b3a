"""Bounds how many calls of a service are under way: more are refused at once with RESOURCE_EXHAUSTED.

A service that clients call has bounds of its own, so that however many there are, the other services on the port
(votes, appends, health, administration) are served.
"""

from __future__ import annotations

import inspect
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from pyraft_lite.core.errors import OverloadedError
from pyraft_lite.rpc.status import abort_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from pyraft_lite.rpc.engine import CallContext, GenericHandler, MethodHandler
    from pyraft_lite.runtime.limit import Limit


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """What of one service may be under way.

    Attributes:
        calls: Bounds the calls of one request and one response.
        streams: Bounds the others.
    """

    calls: Limit
    streams: Limit

    @property
    def most(self) -> int:
        """How many calls and streams together."""
        return self.calls.most + self.streams.most

    def of(self, handler: MethodHandler) -> Limit:
        """The one for a method."""
        return self.streams if handler.request_streaming or handler.response_streaming else self.calls


def service_of(path: str) -> str:
    """The service of a method, whose path is ``/Service/Method``."""
    return path[1:].rpartition("/")[0]


class LimitedHandler(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """A generic handler whose methods keep to the limits of their services."""

    def __init__(self, handler: GenericHandler, limits: Mapping[str, ServiceLimits]) -> None:
        self._handler = handler
        self._limits = limits

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> MethodHandler | None:
        """See :meth:`grpc.GenericRpcHandler.service`."""
        handler = self._handler.service(handler_call_details)
        limits = self._limits.get(service_of(handler_call_details.method))
        return handler if handler is None or limits is None else keep_to(limits, handler)


def keep_to(limits: ServiceLimits, handler: MethodHandler) -> MethodHandler:
    """The handler, which refuses calls beyond its service's limit."""
    limit = limits.of(handler)
    kind = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
    make: Callable[..., MethodHandler] = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(_limited(getattr(handler, kind), limit), handler.request_deserializer, handler.response_serializer)


def _limited(behave: Callable[..., Any], limit: Limit) -> Callable[..., Any]:
    async def answer(request: Any, context: CallContext) -> Any:
        await _enter(limit, context)
        try:
            return await behave(request, context)
        finally:
            limit.leave()

    async def answer_all(request: Any, context: CallContext) -> AsyncIterator[Any]:
        await _enter(limit, context)
        try:
            async with aclosing(behave(request, context)) as responses:
                async for response in responses:
                    yield response
        finally:
            limit.leave()

    return answer_all if inspect.isasyncgenfunction(behave) else answer


async def _enter(limit: Limit, context: CallContext) -> None:
    try:
        limit.enter()
    except OverloadedError as error:
        await abort_with(context, error, retriable=True)
