"""Commands that were proposed together, with one wait for all of them."""

import asyncio

from pyraft_lite.core.errors import RaftError
from pyraft_lite.runtime.api import Applied
from pyraft_lite.runtime.limit import Limit


class Batch:
    """A token of the core that all proposals of a batch share: somebody waits until each has its outcome.

    All count as under way until the last has one, as with ``Operation``.

    Attributes:
        future: What is waited for: the outcomes in the order of the log, or the error of the first that failed.
    """

    __slots__ = ("_applied", "_count", "_limit", "_open", "_size", "future")

    def __init__(self, limit: Limit, count: int, size: int) -> None:
        """``count`` proposals have this token, and ``size`` bytes together.

        Raises:
            OverloadedError: ``limit`` is reached.
        """
        limit.enter(size, count)
        self.future: asyncio.Future[list[Applied]] = asyncio.get_running_loop().create_future()
        self._applied: list[Applied] = []
        self._limit = limit
        self._count = count
        self._open = count
        self._size = size
        if not count:
            self.future.set_result([])

    def resolve(self, applied: Applied) -> None:
        """The next of them is applied: the log, and so the state machine, keeps their order."""
        self._applied.append(applied)
        if len(self._applied) == self._count and not self.future.done():
            self.future.set_result(self._applied)
        self._ended()

    def reject(self, error: RaftError) -> None:
        """One of them failed."""
        if not self.future.done():  # whoever waited may have given up, and others may have failed before
            self.future.set_exception(error)
        self._ended()

    def _ended(self) -> None:
        self._open -= 1
        if not self._open:
            self._limit.leave(self._size, self._count)
