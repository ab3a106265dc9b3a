"""Adds words to a cluster from several callers, or streams, at a time."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeAlias

import grpc

from pyraft_lite.rpc.client import RETRIED
from pyraft_lite.rpc.grpc_connection import CallError
from pyraft_lite.rpc.leader_client import LeaderClient
from pyraft_lite.rpc.pb.example_pb2 import AddWordRequest

TRANSIENT = (*RETRIED, grpc.StatusCode.DEADLINE_EXCEEDED)
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
        return [Word(text, 0) for text in islice(self._words, self._most)]

    def acknowledged(self, words: list[Word]) -> None:
        """See :meth:`Source.acknowledged`."""
        self._advance(len(words))

    def failed(self, words: list[Word], error: HammerError) -> None:
        """See :meth:`Source.failed`."""
        raise error


Worker: TypeAlias = Callable[[Source, float], Coroutine[Any, Any, None]]
"""Adds words until the source has no more, given it and the seconds that each may take, with its retries and the wait
for a leader."""


async def add_all(worker: Worker, source: Source, concurrency: int, timeout: float) -> None:
    """Has so many workers add words until the source has no more.

    Raises:
        HammerError: what the source raised.
    """
    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(concurrency):
                workers.create_task(worker(source, timeout))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def calling(client: LeaderClient) -> Worker:
    """A worker that makes a call for each word; the source must give one at a time."""

    async def work(source: Source, timeout: float) -> None:
        while words := await source.take():
            [word] = words
            try:
                request = AddWordRequest(word=word.text).SerializeToString()
                await client.call("/Example/AddWord", request, timeout=timeout)
            except CallError as error:
                message = f'AddWord("{word.text}") failed: {describe(error.code, error.details, timeout)}'
                source.failed(words, HammerError(message, transient=error.code in TRANSIENT))
            else:
                source.acknowledged(words)

    return work


def describe(code: grpc.StatusCode, details: str | None, timeout: float) -> str:
    """How a call failed, in a line."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no leader answered within {timeout:g} s"
    return f"{code.name}: {details}"
