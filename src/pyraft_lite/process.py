"""How a process that does nothing but run a node, or call one, is best set up."""

import asyncio
import gc
import sys
from collections.abc import Coroutine
from time import monotonic
from typing import Any, TypeVar

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that waits for the interpreter gets it. A disk write that is done wants it for
microseconds, to say so, while the event loop is busy: Python's default of 5 ms is longer than most writes."""

YOUNG_OBJECTS = 50_000
"""How many more objects there may be before the collector looks for cycles among the new ones. A node makes hardly any,
and Python's default of 700 has it look after every few calls."""

T = TypeVar("T")


class _Loop(asyncio.SelectorEventLoop):
    """The usual one. It asks for the time twice a turn, by a function in Python around this one."""

    time = staticmethod(monotonic)


def run_process(main: Coroutine[Any, Any, T]) -> T:
    """As :func:`asyncio.run`, but for a whole process: sets how threads are switched and garbage is looked for. To be
    called when everything is imported: what is there then is never looked through again, not even at the process's end,
    where that takes as long as a fifth of the imports."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
