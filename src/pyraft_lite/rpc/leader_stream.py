"""A stream of requests to whoever leads, which outlasts its leaders."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Generic, Protocol, TypeVar

import grpc

from pyraft_lite.rpc.client import RETRIED, hides_status

WINDOW = 16
"""How many requests may be unanswered, by default."""

FIRST_PAUSE = 0.02
LAST_PAUSE = 1.0
"""Seconds before another stream is begun; the pause doubles with each that brought no answer."""

RESUMED = (*RETRIED, grpc.StatusCode.RESOURCE_EXHAUSTED)
"""What a stream ends with when another may go on: the leader is gone, or has too much to do for now."""

Request = TypeVar("Request")
Response = TypeVar("Response")


class StreamMethod(Protocol[Request, Response]):
    """A method of a grpc.aio stub whose requests and responses are streams."""

    def __call__(
        self, requests: None, /, *, wait_for_ready: bool | None = None
    ) -> "grpc.aio.StreamStreamCall[Request, Response]": ...


async def stream_to_leader(
    method: StreamMethod[Request, Response], requests: AsyncIterable[Request], *, timeout: float, window: int = WINDOW
) -> AsyncGenerator[tuple[Request, Response], None]:
    """Sends requests, in order, to whoever leads, through failovers, and gives each with its response, in order.

    When a stream ends because its leader does, or is overloaded, another one, to the leader of then, begins with what
    is not answered. So a request whose answer was lost may take effect more than once. No more is taken from
    ``requests`` while ``window`` of them are unanswered; whoever stops early closes the generator.

    After a stream that brought no answer, the next one sends one request and waits for its answer before it sends more:
    that spares an overloaded leader, and what is wrong with the request can then be told (see ``hides_status``).

    Args:
        method: Of a stub on a channel that follows the leader; it answers each request with one response, in order.
        requests: What to send; each may come as late as it likes.
        timeout: Seconds without an answer, waiting for a leader included, while there are requests to be answered.
        window: At least 1.

    Raises:
        TimeoutError: there was no answer in time; says how the last stream ended, if one did.
        grpc.aio.AioRpcError: a stream ended otherwise: another would do no better.
    """
    stream = _LeaderStream[Request, Response](timeout, window)
    feeding = asyncio.create_task(stream.feed(requests))
    try:
        pauses = 0
        while await stream.has_unanswered():
            answered = stream.answered
            call = method(None, wait_for_ready=True)
            sending = asyncio.create_task(stream.send(call, carefully=pauses > 0))
            try:
                while not stream.is_done and (answer := await stream.read(call)) is not None:
                    yield answer
                ended = "OK"
            except grpc.aio.AioRpcError as error:
                if error.code() not in RESUMED and not hides_status(error):
                    raise
                ended = f"{error.code().name}: {error.details()}"
            finally:
                call.cancel()
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            if stream.is_done:
                break
            pauses = 0 if stream.answered > answered else pauses + 1
            await stream.pause(min(FIRST_PAUSE * 2**pauses, LAST_PAUSE), ended)
        await feeding
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


class _LeaderStream(Generic[Request, Response]):
    """What outlasts each stream: the requests that are not answered, and until when one must be.

    Attributes:
        answered: How many requests have been.
    """

    def __init__(self, timeout: float, window: int) -> None:
        self.answered = 0
        self._timeout = timeout
        self._clock = asyncio.get_running_loop().time
        self._room = asyncio.Semaphore(window)
        self._unanswered: deque[Request] = deque()
        self._exhausted = False
        self._changed = asyncio.Event()
        self._deadline: float | None = None
        self._reading: asyncio.Timeout | None = None

    @property
    def is_done(self) -> bool:
        """True if everything is answered and nothing more comes."""
        return self._exhausted and not self._unanswered

    async def has_unanswered(self) -> bool:
        """Waits until there is something to send; False if nothing more comes."""
        while not self._unanswered and not self._exhausted:
            self._changed.clear()
            await self._changed.wait()
        return not self.is_done

    async def feed(self, requests: AsyncIterable[Request]) -> None:
        """Takes requests as there is room for them."""
        iterator = aiter(requests)
        try:
            while True:
                await self._room.acquire()
                self._unanswered.append(await anext(iterator))
                self._changed.set()
                if self._reading is not None and self._deadline is None:
                    self._expect_answer()
                    self._reading.reschedule(self._deadline)
        except StopAsyncIteration:
            pass
        finally:
            self._exhausted = True
            self._changed.set()
            if self.is_done and self._reading is not None:
                self._reading.reschedule(self._clock())

    async def send(self, call: "grpc.aio.StreamStreamCall[Request, Response]", *, carefully: bool) -> None:
        """Sends what is unanswered and then what comes, until there is no more or the stream has ended.

        Args:
            call: The stream.
            carefully: Wait for the first answer before sending more than one.
        """
        first = sent = self.answered
        try:
            while True:
                if carefully and sent > first == self.answered:
                    self._changed.clear()
                    await self._changed.wait()
                elif sent - self.answered < len(self._unanswered):
                    await call.write(self._unanswered[sent - self.answered])
                    sent += 1
                elif self._exhausted:
                    await call.done_writing()
                    return
                else:
                    self._changed.clear()
                    await self._changed.wait()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # Reading says why.

    async def read(self, call: "grpc.aio.StreamStreamCall[Request, Response]") -> tuple[Request, Response] | None:
        """The next request that is answered, with its response; None if the stream has ended well, or everything has
        been answered and nothing more comes."""
        self._expect_answer()
        try:
            async with asyncio.timeout_at(self._deadline) as self._reading:
                # Not read(): that gives up what has come as soon as a write met the end of the stream.
                response = await anext(aiter(call), None)
        except TimeoutError:
            if self.is_done:
                return None
            raise TimeoutError(f"no answer for {self._timeout:g} s") from None
        finally:
            self._reading = None
        if response is None:
            return None
        request = self._unanswered.popleft()
        self.answered += 1
        self._changed.set()
        self._deadline = None
        self._room.release()
        return request, response

    async def pause(self, seconds: float, why: str) -> None:
        """Waits for about so long before the next stream.

        Raises:
            TimeoutError: there is no time left for another.
        """
        seconds *= random.uniform(1, 1.25)
        if self._deadline is not None and self._clock() + seconds >= self._deadline:
            raise TimeoutError(f"no answer for {self._timeout:g} s; the last stream ended with {why}")
        await asyncio.sleep(seconds)

    def _expect_answer(self) -> None:
        """Says until when there must be one, unless that is said already or nothing is to be answered."""
        if self._deadline is None and self._unanswered:
            self._deadline = self._clock() + self._timeout
