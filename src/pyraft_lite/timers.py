"""Timers for times of the monotonic clock."""

import asyncio
from collections.abc import Callable
from time import monotonic

_ALLOWANCE = 0.001
"""Seconds that are waited beyond the time. Loops count in milliseconds, and uvloop's rounds them: its timers may come
too early, and whoever then asks for the rest has it at once, again and again until it is over."""


def call_at(loop: asyncio.AbstractEventLoop, time: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
    """Has a callback called a moment after ``time``, in seconds of the monotonic clock. Should it still come too early,
    which only it can see to, it may ask again."""
    return loop.call_later(max(time - monotonic(), 0) + _ALLOWANCE, callback)
