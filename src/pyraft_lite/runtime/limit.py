"""How much may be under way at a time: what comes beyond is refused at once, and no queue grows."""

import sys

from pyraft_lite.core.errors import OverloadedError


class Limit:
    """Counts what of one kind is under way. Also a context manager, for what has no size and ends where it began.

    Args:
        what: What is counted, in the plural, as errors name it.
        most: Nothing more is taken in while so many are under way.
        most_bytes: Nor while what is under way holds so many bytes. So one thing, or one batch of them, always fits if
            nothing else is under way, and the last one may go beyond.
    """

    __slots__ = ("_most_bytes", "_what", "bytes", "count", "most")

    def __init__(self, what: str, most: int, most_bytes: int = sys.maxsize) -> None:
        self._what = what
        self.most = most
        self._most_bytes = most_bytes
        self.count = 0
        self.bytes = 0

    def enter(self, size: int = 0, count: int = 1) -> None:
        """Counts one more, or ``count`` together, of ``size`` bytes.

        Raises:
            OverloadedError: there is no room; nothing was counted.
        """
        if self.count >= self.most:
            raise OverloadedError(f"overloaded: the limit of {self.most} {self._what} under way is reached")
        if self.bytes >= self._most_bytes:
            raise OverloadedError(
                f"overloaded: the limit of {self._most_bytes} bytes of {self._what} under way is reached"
            )
        self.count += count
        self.bytes += size

    def leave(self, size: int = 0, count: int = 1) -> None:
        """What entered has ended."""
        self.count -= count
        self.bytes -= size

    def __enter__(self) -> None:
        self.enter()

    def __exit__(self, *_: object) -> None:
        self.leave()
