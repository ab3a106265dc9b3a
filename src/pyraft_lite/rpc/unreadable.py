"""Requests that are no protobuf message: left alone, grpcio would answer UNKNOWN and log a traceback for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from pyraft_lite.rpc.engine import MethodHandler


def unreadable(error: DecodeError) -> str:
    """What the client is told."""
    return f"the request is unreadable: {error}"


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """In place of a request that could not be read."""

    reason: str


def refuse_unreadable(handler: MethodHandler) -> MethodHandler:
    """The handler, which, if it is for a single request and response, answers an unreadable request with
    INVALID_ARGUMENT. (A stream's handler sees DecodeError when it comes to such a request.)"""
    deserialize, behave = handler.request_deserializer, handler.unary_unary
    if deserialize is None or behave is None:
        return handler

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as error:
            return _Unreadable(unreadable(error))

    async def answer(request: Any, context: Any) -> Any:
        if isinstance(request, _Unreadable):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, request.reason)
        return await behave(request, context)

    return grpc.unary_unary_rpc_method_handler(answer, read, handler.response_serializer)
