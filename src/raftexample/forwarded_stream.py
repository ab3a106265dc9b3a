"""One AddWords stream that a follower passes on to the leader."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import grpc
from google.protobuf.message import DecodeError

from pyraft_lite.core.errors import RaftError
from pyraft_lite.rpc.client import hides_status
from pyraft_lite.rpc.engine import CallContext
from pyraft_lite.rpc.pb.example_pb2 import AddWordsRequest, AddWordsResponse
from pyraft_lite.rpc.pb.example_pb2_grpc import ExampleStub
from raftexample.forwarding import MARK
from raftexample.word_stream import encode_request
from raftexample.words import InvalidWordError


class ForwardedStream:
    """Passes requests on as they come, and responses back; the outcome is the leader's.

    What is wrong with a request is found here already: why the leader ends a stream can't always be told (see
    ``hides_status``), and then the client is asked to try again.
    """

    def __init__(self, leader: ExampleStub, requests: AsyncIterator[AddWordsRequest], context: CallContext) -> None:
        self._context = context
        self._call = leader.AddWords(self._checked(requests), timeout=context.time_remaining(), metadata=MARK)
        self._error: RaftError | InvalidWordError | DecodeError | None = None

    def close(self, error: RaftError) -> None:
        """Ends the stream with ``error``; nobody waits for the leader any more."""
        self._error = error
        self._call.cancel()

    async def responses(self) -> AsyncGenerator[AddWordsResponse, None]:
        """The leader's responses; to be used once.

        Raises:
            InvalidWordError, DecodeError: a request can't be taken in; those before it have been answered.
            RaftError: that of :meth:`close`.
        """
        try:
            async for response in self._call:
                yield response
        except grpc.aio.AioRpcError as error:
            if hides_status(error):
                await self._context.abort(grpc.StatusCode.UNAVAILABLE, "the leader ended the stream")
            await self._context.abort(error.code(), error.details() or "")
        except asyncio.CancelledError:
            if self._error is None:
                raise
        finally:
            self._call.cancel()
        if self._error is not None:
            raise self._error

    async def _checked(self, requests: AsyncIterator[AddWordsRequest]) -> AsyncGenerator[AddWordsRequest, None]:
        """The requests before the first that can't be taken in."""
        number = 0
        try:
            async for request in requests:
                number += 1
                encode_request(request, number)
                yield request
        except (InvalidWordError, DecodeError) as error:
            self._error = error
