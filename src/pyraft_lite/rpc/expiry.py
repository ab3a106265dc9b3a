"""One timer for the deadlines of many calls: most have ended long before theirs, and a timer of its own for each would
cost them more than anything else that is done for it."""

import asyncio
from collections.abc import Callable, Collection
from time import monotonic
from typing import Generic, Protocol, TypeVar

from pyraft_lite.timers import call_at


class Timed(Protocol):
    """What is under way."""

    @property
    def deadline(self) -> float | None:
        """In seconds of the monotonic clock; None if it may take for ever."""
        ...


T = TypeVar("T", bound=Timed)


class Expiry(Generic[T]):
    """Ends what is under way at its deadline.

    Args:
        under_way: All of it, which whoever made this keeps up to date.
        end: Ends one.
    """

    def __init__(self, under_way: Collection[T], end: Callable[[T], None]) -> None:
        self._under_way = under_way
        self._end = end
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def watch(self, deadline: float) -> None:
        """There is another deadline."""
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = call_at(asyncio.get_running_loop(), deadline, self._expire)

    def stop(self) -> None:
        """There are none any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        """Ends what is due, and comes back for what is next."""
        self._timer = None
        now = monotonic()
        following = None
        for each in list(self._under_way):
            deadline = each.deadline
            if deadline is None:
                continue
            if deadline <= now:
                self._end(each)
            elif following is None or deadline < following:
                following = deadline
        if following is not None:
            self.watch(following)
