"""The word tracker: a state machine that keeps the three longest words, and the service that clients talk to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import BinaryIO, Protocol

import grpc
from google.protobuf.message import DecodeError

from pyraft_lite.core.entry import Entry
from pyraft_lite.core.errors import NotLeaderError, RaftError, ShutdownError
from pyraft_lite.rpc.direct import Reply, direct
from pyraft_lite.rpc.engine import CallContext
from pyraft_lite.rpc.pb import example_pb2, example_pb2_grpc
from pyraft_lite.rpc.status import abort_with
from pyraft_lite.runtime import RaftOperations, State
from pyraft_lite.runtime.api import Applied, Observation
from pyraft_lite.runtime.fsm import Sink
from raftexample.forwarded_stream import ForwardedStream
from raftexample.forwarding import LeaderForwarder, forward, was_forwarded
from raftexample.word_stream import WordStream
from raftexample.words import InvalidWordError, encode_word

WORDS = 3


class WordTracker:
    """Keeps the three longest words (in bytes of UTF-8), the longest first; equally long ones in the order of their
    bytes.

    A snapshot is the three words joined by newlines, so a word must not hold one. AddWord refuses such a word; one that
    comes another way (ApplyLog takes any bytes) has its newlines replaced by spaces and what is not UTF-8 by U+FFFD
    when it is applied. As every node does the same, and a snapshot brings back what was saved, replicas stay equal.
    """

    def __init__(self) -> None:
        self._words = ("",) * WORDS
        self._last_rank = _rank("")

    @property
    def words(self) -> tuple[str, ...]:
        """The words now; may be read from any thread, since the tuple is replaced as a whole."""
        return self._words

    def apply(self, entry: Entry) -> None:
        """Takes a word in."""
        word = entry.data.decode(errors="replace").replace("\n", " ")
        if _rank(word) < self._last_rank:
            self._keep(sorted((*self._words, word), key=_rank))

    def snapshot(self) -> WordsSnapshot:
        return WordsSnapshot(self._words)

    def restore(self, source: BinaryIO) -> None:
        """Reads what WordsSnapshot, or the Go original, wrote."""
        words = source.read().decode(errors="replace").split("\n")
        self._keep([*words, *("",) * WORDS])

    def _keep(self, words: list[str]) -> None:
        self._words = tuple(words[:WORDS])
        self._last_rank = _rank(self._words[-1])


def _rank(word: str) -> tuple[int, bytes]:
    encoded = word.encode()
    return -len(encoded), encoded


class WordsSnapshot:
    """The words at one moment."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = words

    def persist(self, sink: Sink) -> None:
        sink.write("\n".join(self._words).encode())


class _Stream(Protocol):
    """A call of AddWords under way."""

    def close(self, error: RaftError) -> None: ...

    def responses(self) -> AsyncGenerator[example_pb2.AddWordsResponse, None]: ...


class ExampleService(example_pb2_grpc.ExampleServicer):
    """The service ``Example``: AddWord, AddWords and GetWords.

    Args:
        raft: The node.
        tracker: The node's state machine.
        forwarder: Passes on to the leader what this node can't do as a follower; None: the client is told instead.
    """

    def __init__(self, raft: RaftOperations, tracker: WordTracker, forwarder: LeaderForwarder | None = None) -> None:
        self._raft = raft
        self._tracker = tracker
        self._forwarder = forwarder
        self._streams: set[_Stream] = set()
        self._turn = asyncio.Lock()

    def close(self) -> None:
        """Ends the streams once they have answered what they took in; else they outlast any grace period."""
        for stream in self._streams:
            stream.close(ShutdownError())

    @direct
    def AddWord(
        self,
        request: example_pb2.AddWordRequest,
        context: CallContext,
        reply: Reply[example_pb2.AddWordResponse],
    ) -> None:
        """Answers when the word is committed and applied here."""

        def added(outcome: Applied | RaftError) -> None:
            if isinstance(outcome, Applied):
                reply.respond(example_pb2.AddWordResponse(commit_index=outcome.index))
            else:
                reply.respond_by(partial(self._not_added, outcome, request, context))

        try:
            self._raft.propose(encode_word(request.word), added)
        except (InvalidWordError, RaftError) as error:
            reply.respond_by(partial(self._not_added, error, request, context))

    async def _not_added(
        self, error: InvalidWordError | RaftError, request: example_pb2.AddWordRequest, context: CallContext
    ) -> example_pb2.AddWordResponse:
        if isinstance(error, InvalidWordError):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        leader = self._leader(context) if isinstance(error, NotLeaderError) else None
        if leader is None:
            await abort_with(context, error, retriable=True)
        return await forward(leader.AddWord, request, context)

    async def AddWords(
        self, request_iterator: AsyncIterator[example_pb2.AddWordsRequest], context: CallContext
    ) -> AsyncIterator[example_pb2.AddWordsResponse]:
        """Answers each request when its words are committed and applied here. Ends with UNAVAILABLE as soon as the node
        no longer leads, or the one that it passes the stream on to, even if nothing is under way: a client that has
        nothing to send learns of it too."""
        state, address = self._raft.state, self._raft.leader.address
        stream: _Stream
        if state is State.LEADER:
            stream = WordStream(self._raft, request_iterator, self._turn)
        elif leader := self._leader(context):
            stream = ForwardedStream(leader, request_iterator, context)
        else:
            await abort_with(context, NotLeaderError(), retriable=True)

        def role_changed(now: Observation) -> None:
            if (now.state, now.leader.address) != (state, address):
                stream.close(NotLeaderError())

        self._streams.add(stream)
        unobserve = self._raft.observe(role_changed)
        try:
            async with aclosing(stream.responses()) as responses:
                async for response in responses:
                    yield response
        except (InvalidWordError, DecodeError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except RaftError as error:
            await abort_with(context, error, retriable=True)
        finally:
            unobserve()
            self._streams.discard(stream)

    async def GetWords(
        self, request: example_pb2.GetWordsRequest, context: CallContext
    ) -> example_pb2.GetWordsResponse:
        """Answers with what is applied here, or if so asked with what a linearizable read gives (R16)."""
        match request.consistency:
            case example_pb2.GetWordsRequest.LOCAL:
                pass
            case example_pb2.GetWordsRequest.LINEARIZABLE:
                try:
                    await self._raft.read_index()
                except NotLeaderError as error:
                    leader = self._leader(context)
                    if leader is None:
                        await abort_with(context, error, retriable=True)
                    return await forward(leader.GetWords, request, context)
                except RaftError as error:
                    await abort_with(context, error, retriable=True)
            case unknown:
                text = f"invalid consistency {unknown}: must be LOCAL (0) or LINEARIZABLE (1)"
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        # In this order: the words may be newer than the index, never older.
        index = self._raft.applied_index
        return example_pb2.GetWordsResponse(read_at_index=index, best_words=self._tracker.words)

    def _leader(self, context: CallContext) -> example_pb2_grpc.ExampleStub | None:
        """Where to pass a call on to; None if it must not be."""
        if self._forwarder is None or was_forwarded(context) or not self._raft.leader.address:
            return None
        return self._forwarder.leader_at(self._raft.leader.address)
