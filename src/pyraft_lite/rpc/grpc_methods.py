"""The four kinds of methods, as handlers of the generated code have them, made ready to be called."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from pyraft_lite.rpc.direct import direct_of
from pyraft_lite.rpc.engine import MethodHandler
from pyraft_lite.rpc.grpc_call import EOF, Call, Method
from pyraft_lite.rpc.limited import ServiceLimits
from pyraft_lite.rpc.unreadable import unreadable


def method_of(path: str, handler: MethodHandler, limits: ServiceLimits | None) -> Method:
    """What the generated code says of a method, made ready, with the limit of it that its service has."""
    streams = bool(handler.request_streaming), bool(handler.response_streaming)
    serve, behaviour = {
        (False, False): (_unary_unary, handler.unary_unary),
        (False, True): (_unary_stream, handler.unary_stream),
        (True, False): (_stream_unary, handler.stream_unary),
        (True, True): (_stream_stream, handler.stream_stream),
    }[streams]
    assert behaviour is not None
    deserialize, serialize = handler.request_deserializer or bytes, handler.response_serializer or bytes
    limit = limits.of(handler) if limits else None
    return Method(path, serve, behaviour, deserialize, serialize, limit, direct_of(behaviour))


async def _unary_unary(call: Call, behaviour: Callable[..., Any]) -> Any:
    return await behaviour(await _only(call), call)


async def _unary_stream(call: Call, behaviour: Callable[..., Any]) -> None:
    await _write_all(call, behaviour(await _only(call), call))


async def _stream_unary(call: Call, behaviour: Callable[..., Any]) -> Any:
    return await behaviour(_Requests(call), call)


async def _stream_stream(call: Call, behaviour: Callable[..., Any]) -> None:
    await _write_all(call, behaviour(_Requests(call), call))


async def _only(call: Call) -> Any:
    """The request of a method that takes one."""
    try:
        request = await call.read()
    except DecodeError as error:
        call.fail(grpc.StatusCode.INVALID_ARGUMENT, unreadable(error))
    if request is EOF:
        call.fail(grpc.StatusCode.UNIMPLEMENTED, "there is no request: the method takes one")
    return request


async def _write_all(call: Call, responses: Any) -> None:
    """Writes what an asynchronous generator yields; a coroutine writes by itself."""
    if hasattr(responses, "__aiter__"):
        async with aclosing(responses):
            async for response in responses:
                await call.write(response)
    else:
        await responses


class _Requests(AsyncIterator[Any]):
    """The requests of a stream; ends after the last, and is cancelled when the client goes away."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    async def __anext__(self) -> Any:
        request = await self._call.read()
        if request is EOF:
            raise StopAsyncIteration
        return request
