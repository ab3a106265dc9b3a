"""Answers without a task, for methods to which every turn of the event loop counts.

A servicer's coroutine has to be resumed, which takes a turn of the loop between a request and what it does, and one
more between that and the response. A method marked :func:`direct` is called back instead, as is the :class:`Receiver`
of a stream. The engine of our own does so; with the others both work as well, by coroutines.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

from pyraft_lite.rpc.engine import CallContext
from pyraft_lite.runtime.settle import settle

Servicer = TypeVar("Servicer")
Request = TypeVar("Request")
Response = TypeVar("Response")
Response_contra = TypeVar("Response_contra", contravariant=True)

_DIRECT = "answer_directly"
"""The attribute of the coroutine that :func:`direct` makes which holds what it was made of."""

_MOST_UNSENT = 64
"""How many responses may wait for a slow client before no more requests are taken."""


class Reply(Protocol[Response_contra]):
    """What a direct method ends its call with, now or later, by one of the two. Neither raises; neither does anything
    if the call has ended otherwise meanwhile."""

    def respond(self, response: Response_contra, /) -> None:
        """Answers."""
        ...

    def respond_by(self, answer: Callable[[], Awaitable[Any]], /) -> None:
        """Has a coroutine answer, as for any other method: it returns the response, or aborts the call."""
        ...


Direct: TypeAlias = Callable[[Servicer, Request, CallContext, Reply[Response]], None]
"""A method that answers by a :class:`Reply` and does not wait."""


def direct(
    method: Direct[Servicer, Request, Response],
) -> Callable[[Servicer, Request, CallContext], Coroutine[Any, Any, Response]]:
    """Makes of a direct method of a servicer the coroutine that all engines know, and one of them need not use."""

    @wraps(method)
    async def answer(servicer: Servicer, request: Request, context: CallContext) -> Response:
        reply = _AwaitedReply[Response]()
        method(servicer, request, context, reply)
        return await (await reply.answer)()

    setattr(answer, _DIRECT, method)
    return answer


def direct_of(behaviour: Any) -> Callable[[Any, CallContext, Reply[Any]], None] | None:
    """What :func:`direct` made ``behaviour`` of, a method of a servicer; None if it did not."""
    method = getattr(behaviour, _DIRECT, None)
    return None if method is None else method.__get__(behaviour.__self__)


class _AwaitedReply(Generic[Response]):
    """A :class:`Reply` that a coroutine waits for.

    Attributes:
        answer: What gives the response.
    """

    def __init__(self) -> None:
        self.answer: asyncio.Future[Callable[[], Awaitable[Response]]] = asyncio.get_running_loop().create_future()

    def respond(self, response: Response) -> None:
        async def answer() -> Response:
            return response

        settle(self.answer, answer)

    def respond_by(self, answer: Callable[[], Awaitable[Response]]) -> None:
        settle(self.answer, answer)


class Receiver(Protocol):
    """What takes the requests of a stream as they come.

    Attributes:
        done: Done when all have been answered. Fails with what the call is to end with; is cancelled if the call ends
            otherwise.
    """

    done: "asyncio.Future[None]"

    @property
    def has_room(self) -> bool:
        """Another request may be taken now. When it may again, some have been answered."""
        ...

    def take(self, request: Any, /) -> None:
        """A request has come."""
        ...

    def end(self, failure: Exception | None = None, /) -> None:
        """No more come, or one that can't be read."""
        ...


@runtime_checkable
class DirectContext(Protocol):
    """What the context of a call offers beyond :class:`CallContext` if its engine needs no tasks."""

    def receive_into(self, receiver: Receiver, /) -> None:
        """Gives each request to ``receiver`` as it comes."""
        ...

    def write_soon(self, response: Any, /) -> None:
        """Sends a response; never waits."""
        ...


async def attend(
    make: Callable[[Callable[[Any], None]], Receiver], requests: AsyncIterator[Any], context: CallContext
) -> None:
    """Serves a stream until its receiver is done.

    Args:
        make: Makes the receiver, given what sends a response.
        requests: Those of the call.
        context: The call's.

    Raises:
        Exception: what the receiver failed with.
    """
    if isinstance(context, DirectContext):
        receiver = make(context.write_soon)
        context.receive_into(receiver)
        await receiver.done
    else:
        await _attend_by_turns(make, requests, context)


async def _attend_by_turns(
    make: Callable[[Callable[[Any], None]], Receiver], requests: AsyncIterator[Any], context: CallContext
) -> None:
    responses: asyncio.Queue[Any] = asyncio.Queue()  # None comes last.
    written = asyncio.Event()
    receiver = make(responses.put_nowait)
    receiver.done.add_done_callback(lambda _: responses.put_nowait(None))

    async def read() -> None:
        try:
            async for request in requests:
                receiver.take(request)
                while not receiver.has_room or responses.qsize() > _MOST_UNSENT:
                    written.clear()
                    await written.wait()
        except Exception as error:
            receiver.end(error)
        else:
            receiver.end()

    reading = asyncio.create_task(read())
    try:
        while (response := await responses.get()) is not None:
            await context.write(response)
            written.set()
        await receiver.done
    finally:
        receiver.done.cancel()
        reading.cancel()
        await asyncio.wait([reading])
