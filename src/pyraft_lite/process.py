"""How a process that does nothing but run a node, or call one, is best set up."""

import asyncio
import ctypes
import gc
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that waits for the interpreter gets it. A disk write that is done wants it for
microseconds, to say so, while the event loop is busy: Python's default of 5 ms is longer than most writes."""

YOUNG_OBJECTS = 50_000
"""How many more objects there may be before the collector looks for cycles among the new ones. A node makes hardly any,
and Python's default of 700 has it look after every few calls."""

LARGE_BLOCK = 8 * 1024 * 1024
"""Bytes from which on a block of memory is the kernel's to give and take. Messages are smaller, as is what is made of
them: with glibc's default, which begins at 128 KiB, each would be given page by page, and filled with zeros."""

KEPT_MEMORY = 32 * 1024 * 1024
"""How much free memory glibc keeps. With its default, at first 128 KiB, it gives back what a large message has taken,
and asks for the same again for the next."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3), glibc's malloc.h

T = TypeVar("T")


def run_process(main: Coroutine[Any, Any, T]) -> T:
    """As :func:`asyncio.run`, but for a whole process: on uvloop's event loop, of which hardly anything is in Python,
    and with threads switched, garbage looked for and memory kept as described above. To be called when everything is
    imported: what is there then is never looked through again, not even at the process's end, where that takes as long
    as a fifth of the imports."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)
    _keep_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def _keep_memory() -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # With another C library memory is handled as that sees fit.
        mallopt(_TRIM_THRESHOLD, KEPT_MEMORY)
        mallopt(_MMAP_THRESHOLD, LARGE_BLOCK)
