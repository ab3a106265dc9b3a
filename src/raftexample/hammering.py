"""Adds words to a cluster from several callers, or streams, at a time."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import NamedTuple, Protocol

import grpc

from pyraft_lite.rpc.client import call_leader
from pyraft_lite.rpc.leader_stream import RESUMED, stream_to_leader
from pyraft_lite.rpc.pb.example_pb2 import AddWordRequest, AddWordsRequest
from pyraft_lite.rpc.pb.example_pb2_grpc import ExampleStub

MODES = ("unary", "stream")

REQUEST_WORDS = 100
REQUEST_BYTES = 256 * 1024
"""At most so many words, of so many bytes together (unless one word is longer), go into one request of a stream."""

WINDOW = 4
"""How many requests of a stream may be unanswered: enough that the leader always has some, and few to wait behind."""

TRANSIENT = (*RESUMED, grpc.StatusCode.DEADLINE_EXCEEDED)
"""What a call ends with that may succeed at another time."""


class HammerError(Exception):
    """A call that finally failed; the message says which and why.

    Attributes:
        transient: The next call may do better.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class Word(NamedTuple):
    """A word to add, and when it was due, in seconds of the event loop's clock."""

    text: str
    due: float


class Source(Protocol):
    """Where words come from, and what became of them."""

    async def take(self) -> list[Word]:
        """The next word, when it is due, and those due with it, as many as go into one request; none: that's all."""
        ...

    def acknowledged(self, words: list[Word]) -> None:
        """These have been added."""
        ...

    def failed(self, words: list[Word], error: HammerError) -> None:
        """Of these nobody knows; raises if there is no point in going on."""
        ...


class WordList:
    """A source of certain words, all of which must be added.

    Args:
        words: The words.
        most: How many may be taken together.
        advance: Is told how many more words have been acknowledged.
    """

    def __init__(self, words: Iterable[str], most: int, advance: Callable[[int], None]) -> None:
        self._words = iter(words)
        self._most = most
        self._advance = advance

    async def take(self) -> list[Word]:
        """See :meth:`Source.take`."""
        return [Word(text, 0) for _, text in zip(range(self._most), self._words, strict=False)]

    def acknowledged(self, words: list[Word]) -> None:
        """See :meth:`Source.acknowledged`."""
        self._advance(len(words))

    def failed(self, words: list[Word], error: HammerError) -> None:
        """See :meth:`Source.failed`."""
        raise error


async def add_all(stub: ExampleStub, source: Source, mode: str, concurrency: int, timeout: float) -> None:
    """Adds words until the source has no more.

    Args:
        stub: Of a channel that follows the leader.
        source: The words; gives one at a time if they go in calls of their own.
        mode: "unary": a call for each word; "stream": streams of requests.
        concurrency: How many callers, or streams, there are.
        timeout: Seconds for each word, with its retries and the wait for a leader.

    Raises:
        HammerError: what the source raised.
    """
    worker = _call if mode == "unary" else _stream
    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(concurrency):
                workers.create_task(worker(stub, source, timeout))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def describe(error: grpc.aio.AioRpcError, timeout: float) -> str:
    """An RPC error in a line."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no leader answered within {timeout:g} s"
    return f"{error.code().name}: {error.details()}"


async def _call(stub: ExampleStub, source: Source, timeout: float) -> None:
    while words := await source.take():
        [word] = words
        try:
            await call_leader(stub.AddWord, AddWordRequest(word=word.text), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            message = f'AddWord("{word.text}") failed: {describe(error, timeout)}'
            source.failed(words, HammerError(message, transient=error.code() in TRANSIENT))
        else:
            source.acknowledged(words)


async def _stream(stub: ExampleStub, source: Source, timeout: float) -> None:
    while True:
        taken: deque[list[Word]] = deque()
        try:
            async with contextlib.aclosing(
                stream_to_leader(stub.AddWords, _requests(source, taken), timeout=timeout, window=WINDOW)
            ) as answers:
                async for _ in answers:
                    source.acknowledged(taken.popleft())
            return
        except TimeoutError as error:
            failure = HammerError(f"{_named(taken)} failed: {error}", transient=True)
        except grpc.aio.AioRpcError as error:
            failure = HammerError(f"{_named(taken)} failed: {describe(error, timeout)}")
        source.failed([word for words in taken for word in words], failure)


async def _requests(source: Source, taken: deque[list[Word]]) -> AsyncGenerator[AddWordsRequest, None]:
    """Requests for a stream; ``taken`` gets the words of each."""
    while words := await source.take():
        taken.append(words)
        yield AddWordsRequest(words=[word.text for word in words])


def _named(taken: deque[list[Word]]) -> str:
    """The request that failed: the first that is not answered."""
    return f'AddWords("{taken[0][0].text}", …)' if taken else "AddWords"
