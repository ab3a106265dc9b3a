"""One timer for many deadlines: most calls have ended long before theirs, and a timer of its own for each would cost
them more than anything else that is done for it."""

import asyncio
from collections.abc import Callable


class Expiry:
    """Looks after deadlines that whoever made it keeps.

    Args:
        expire: Ends what is due at the given time, in seconds of the event loop's clock; returns when the next is due,
            if any is.
    """

    def __init__(self, expire: Callable[[float], float | None]) -> None:
        self._expire = expire
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, deadline: float) -> None:
        """There is another deadline."""
        timer = self._timer
        if timer is not None:
            if timer.when() <= deadline:
                return
            timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(deadline, self._come)

    def stop(self) -> None:
        """There are none any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _come(self) -> None:
        self._timer = None
        following = self._expire(asyncio.get_running_loop().time())
        if following is not None:
            self.watch(following)
