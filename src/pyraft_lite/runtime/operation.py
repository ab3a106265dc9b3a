"""An operation that somebody waits for."""

import asyncio
from typing import Any, BinaryIO

from pyraft_lite.runtime.limit import Limit


class Operation:
    """A token of the core: somebody waits for its outcome.

    It counts as under way until it has one, even if whoever waited has given up: what it stands for is still queued.

    Attributes:
        future: What is waited for.
        until_applied: A read, which waits until its index is applied.
        source: The user's snapshot, if the operation restores one.
    """

    __slots__ = ("_limit", "_size", "future", "source", "until_applied")

    def __init__(
        self, limit: Limit, size: int = 0, *, until_applied: bool = False, source: BinaryIO | None = None
    ) -> None:
        """Takes room for ``size`` bytes.

        Raises:
            OverloadedError: ``limit`` is reached.
        """
        limit.enter(size)
        self._limit: Limit | None = limit
        self._size = size
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.until_applied = until_applied
        self.source = source

    def resolve(self, value: object) -> None:
        """It succeeded."""
        self._end()
        if not self.future.done():  # whoever waited may have given up
            self.future.set_result(value)

    def reject(self, error: Exception) -> None:
        """It failed."""
        self._end()
        if not self.future.done():
            self.future.set_exception(error)

    def _end(self) -> None:
        if self._limit is not None:
            self._limit.leave(self._size)
            self._limit = None
