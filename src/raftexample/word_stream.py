"""One AddWords stream: requests are read ahead, so that their commits overlap, and answered in order."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from dataclasses import dataclass

from pyraft_lite.core.errors import OverloadedError, RaftError
from pyraft_lite.rpc.pb.example_pb2 import AddWordsRequest, AddWordsResponse
from pyraft_lite.runtime import RaftOperations
from pyraft_lite.runtime.api import Applied
from raftexample.words import InvalidWordError, encode_word

WINDOW_WORDS = 1024
WINDOW_BYTES = 1024 * 1024
"""What a stream may have unanswered; a fraction of what a node takes in (``Config.max_proposals``). Beyond it the next
request waits here and the ones after it in the network, where HTTP/2's flow control holds the client. An answer that
the client does not read counts as well."""

OVERLOAD_PAUSE = 0.005
"""Seconds before a request that the node has no room for is tried again; meanwhile the client is held back."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A request that is under way, and what it counts in the window."""

    outcome: Awaitable[list[Applied]]
    words: int
    bytes: int


class WordStream:
    """Proposes the words of each request as it comes.

    Args:
        raft: The node.
        requests: What the client sends.
        turn: Held by the stream of the node that proposes next, so that none is left behind when there is little room.
    """

    def __init__(self, raft: RaftOperations, requests: AsyncIterator[AddWordsRequest], turn: asyncio.Lock) -> None:
        self._raft = raft
        self._turn = turn
        self._requests = requests
        self._taken: asyncio.Queue[_Taken | None] = asyncio.Queue()
        self._words = 0
        self._bytes = 0
        self._freed = asyncio.Event()
        self._end: RaftError | None = None
        self._reader = asyncio.create_task(self._read())
        # Not at the end of _read: that does not begin if the stream is closed at once.
        self._reader.add_done_callback(lambda _: self._taken.put_nowait(None))

    def close(self, error: RaftError) -> None:
        """Takes nothing more in; once what was taken in is answered, the stream ends with ``error``."""
        self._end = self._end or error
        self._reader.cancel()

    async def responses(self) -> AsyncGenerator[AddWordsResponse, None]:
        """The responses, in the order of the requests; to be used once.

        Raises:
            InvalidWordError: a request can't be taken in; those before it have been answered, nothing of it is added.
            DecodeError: a request is unreadable; the same holds.
            RaftError: a request failed, those before it have been answered; or that of :meth:`close`.
        """
        try:
            while (taken := await self._taken.get()) is not None:
                yield AddWordsResponse(commit_indexes=[applied.index for applied in await taken.outcome])
                self._words -= taken.words
                self._bytes -= taken.bytes
                self._freed.set()
            if self._end is not None:
                raise self._end
            if not self._reader.cancelled():  # It is if the client is gone.
                self._reader.result()
        finally:
            await self._drop()

    async def _read(self) -> None:
        """Proposes requests until the stream ends; None in the queue says then that it has."""
        number = 0
        async for request in self._requests:
            number += 1
            commands = encode_request(request, number)
            # An empty one counts too: its answer takes room.
            words, size = max(len(commands), 1), sum(map(len, commands))
            await self._room(words, size)
            self._taken.put_nowait(_Taken(await self._propose(commands), words, size))

    async def _propose(self, commands: list[bytes]) -> Awaitable[list[Applied]]:
        """Proposes one request, as soon as the node has room for it. That it had none means that nothing was proposed,
        and nothing of the requests after this one is until this returns: so trying again keeps the order."""
        async with self._turn:
            while True:
                try:
                    return self._raft.apply_all(commands)
                except OverloadedError:
                    await asyncio.sleep(OVERLOAD_PAUSE)

    async def _room(self, words: int, size: int) -> None:
        """Waits until a request fits into the window, or is alone in it, and counts it."""
        while self._words and (self._words + words > WINDOW_WORDS or self._bytes + size > WINDOW_BYTES):
            self._freed.clear()
            await self._freed.wait()
        self._words += words
        self._bytes += size

    async def _drop(self) -> None:
        """Lets go of what nobody waits for any more."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        outcomes = []
        while not self._taken.empty():
            if (taken := self._taken.get_nowait()) is not None:
                outcomes.append(asyncio.ensure_future(taken.outcome))
        for outcome in outcomes:
            outcome.cancel()
        await asyncio.gather(*outcomes, return_exceptions=True)


def encode_request(request: AddWordsRequest, number: int) -> list[bytes]:
    """The commands of the ``number``-th request.

    Raises:
        InvalidWordError: one of the words can't be added, or there are more than a window holds.
    """
    if len(request.words) > WINDOW_WORDS:
        raise InvalidWordError(f"request {number} has {len(request.words)} words: it must have at most {WINDOW_WORDS}")
    commands = []
    for position, word in enumerate(request.words, 1):
        try:
            commands.append(encode_word(word))
        except InvalidWordError as error:
            raise InvalidWordError(f"word {position} of request {number}: {error}") from error
    return commands
