"""An operation whose outcome somebody hears of."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO

from pyraft_lite.runtime.limit import Limit
from pyraft_lite.runtime.settle import settle


class Operation:
    """A token of the core, which ends once.

    It counts as under way until then, even if whoever waited has given up: what it stands for is still queued.

    Attributes:
        until_applied: A read, which waits until its index is applied.
        source: The user's snapshot, if the operation restores one.
    """

    __slots__ = ("_done", "_limit", "_size", "source", "until_applied")

    def __init__(
        self,
        limit: Limit,
        done: Callable[[Any], None],
        size: int = 0,
        *,
        until_applied: bool = False,
        source: BinaryIO | None = None,
    ) -> None:
        """Takes room for ``size`` bytes; ``done`` will get the outcome, or the RaftError.

        Raises:
            OverloadedError: ``limit`` is reached.
        """
        limit.enter(size)
        self._limit = limit
        self._done: Callable[[Any], None] | None = done
        self._size = size
        self.until_applied = until_applied
        self.source = source

    def resolve(self, value: object) -> None:
        """It succeeded."""
        self._end(value)

    def reject(self, error: Exception) -> None:
        """It failed."""
        self._end(error)

    def _end(self, outcome: object) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        self._limit.leave(self._size)
        try:
            done(outcome)
        except Exception as error:  # It is not the node's, which goes on; so does the event loop with its callbacks.
            context = {"message": "what was told of an operation's outcome failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)


class AwaitedOperation(Operation):
    """An operation whose outcome somebody waits for.

    Attributes:
        future: What is waited for.
    """

    __slots__ = ("future",)

    def __init__(
        self, limit: Limit, size: int = 0, *, until_applied: bool = False, source: BinaryIO | None = None
    ) -> None:
        """See :class:`Operation`."""
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        super().__init__(limit, partial(settle, self.future), size, until_applied=until_applied, source=source)
