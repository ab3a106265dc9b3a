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

    __slots__ = ("_most_bytes", "_too_large", "_too_many", "bytes", "count", "most")

    def __init__(self, what: str, most: int, most_bytes: int = sys.maxsize) -> None:
        self.most = most
        self._most_bytes = most_bytes
        # Made once: whoever is overloaded says so again and again.
        self._too_many = f"overloaded: the limit of {most} {what} under way is reached"
        self._too_large = f"overloaded: the limit of {most_bytes} bytes of {what} under way is reached"
        self.count = 0
        self.bytes = 0

    def enter(self, size: int = 0, count: int = 1) -> None:
        """Counts one more, or ``count`` together, of ``size`` bytes.

        Raises:
            OverloadedError: there is no room; nothing was counted.
        """
        if self.count >= self.most or self.bytes >= self._most_bytes:
            raise OverloadedError(self._reason)
        self.count += count
        self.bytes += size

    def overload(self) -> str | None:
        """Why nothing can enter now; None if there is room."""
        return self._reason if self.count >= self.most or self.bytes >= self._most_bytes else None

    @property
    def _reason(self) -> str:
        return self._too_many if self.count >= self.most else self._too_large

    def leave(self, size: int = 0, count: int = 1) -> None:
        """What entered has ended."""
        self.count -= count
        self.bytes -= size

    def __enter__(self) -> None:
        self.enter()

    def __exit__(self, *_: object) -> None:
        self.leave()
