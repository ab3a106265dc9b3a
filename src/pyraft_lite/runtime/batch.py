"""Commands that were proposed together, with one wait for all of them."""

import asyncio

from pyraft_lite.core.errors import RaftError
from pyraft_lite.runtime.api import Applied
from pyraft_lite.runtime.limit import Limit
from pyraft_lite.runtime.settle import settle


class Batch:
    """A token of the core that all proposals of a batch share: somebody waits for all their outcomes.

    It counts as under way until each has one, even if whoever waited has given up: what it stands for is still queued.

    Attributes:
        future: What is waited for: the outcomes in the order of the log, or the error of the first that failed.
    """

    __slots__ = ("_applied", "_count", "_limit", "_open", "_size", "future")

    def __init__(self, limit: Limit, count: int, size: int) -> None:
        """``count`` proposals of ``size`` bytes in all have this token; takes room for them.

        Raises:
            OverloadedError: ``limit`` is reached.
        """
        limit.enter(size, count)
        self._limit = limit
        self._size = size
        self._open = count
        self.future: asyncio.Future[list[Applied]] = asyncio.get_running_loop().create_future()
        self._applied: list[Applied] = []
        self._count = count
        if not count:
            self.future.set_result([])

    def resolve(self, applied: Applied) -> None:
        """The next of them is applied: the log, and so the state machine, keeps their order."""
        self._applied.append(applied)
        self._end_one()
        if len(self._applied) == self._count:
            settle(self.future, self._applied)

    def reject(self, error: RaftError) -> None:
        """One of them failed."""
        self._end_one()
        settle(self.future, error)  # unless others have failed before

    def _end_one(self) -> None:
        self._open -= 1
        if not self._open:
            self._limit.leave(self._size, self._count)
