"""Adds words to a cluster over streams."""

import contextlib
from collections import deque
from collections.abc import AsyncGenerator

import grpc

from pyraft_lite.rpc.leader_stream import stream_to_leader
from pyraft_lite.rpc.pb.example_pb2 import AddWordsRequest
from pyraft_lite.rpc.pb.example_pb2_grpc import ExampleStub
from raftexample.hammering import HammerError, Source, Word, Worker, describe

WINDOW = 4
"""How many requests of a stream may be unanswered: enough that the leader always has some, and few to wait behind."""


def streaming(channel: grpc.aio.Channel) -> Worker:
    """A worker that streams requests, each with the words that the source gives at a time.

    Args:
        channel: To whoever leads.
    """
    method = ExampleStub(channel).AddWords

    async def work(source: Source, timeout: float) -> None:
        while True:
            taken: deque[list[Word]] = deque()
            try:
                async with contextlib.aclosing(
                    stream_to_leader(method, _requests(source, taken), timeout=timeout, window=WINDOW)
                ) as answers:
                    async for _ in answers:
                        source.acknowledged(taken.popleft())
                return
            except TimeoutError as error:
                failure = HammerError(f"{_named(taken)} failed: {error}", transient=True)
            except grpc.aio.AioRpcError as error:
                failure = HammerError(f"{_named(taken)} failed: {describe(error.code(), error.details(), timeout)}")
            source.failed([word for words in taken for word in words], failure)

    return work


async def _requests(source: Source, taken: deque[list[Word]]) -> AsyncGenerator[AddWordsRequest, None]:
    """Requests for a stream; ``taken`` gets the words of each."""
    while words := await source.take():
        taken.append(words)
        yield AddWordsRequest(words=[word.text for word in words])


def _named(taken: deque[list[Word]]) -> str:
    """The request that failed: the first that is not answered."""
    return f'AddWords("{taken[0][0].text}", …)' if taken else "AddWords"
