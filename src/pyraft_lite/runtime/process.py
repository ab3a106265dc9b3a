"""How a process that does nothing but run a node is best set up."""

import asyncio
import gc
import importlib.util
import sys
from collections.abc import Callable, Coroutine
from typing import Any

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that waits for the interpreter gets it. A disk write that is done wants it for
microseconds, to say so, while the event loop is busy: Python's default of 5 ms is longer than most writes."""

YOUNG_OBJECTS = 50_000
"""How many more objects there may be before the collector looks for cycles among the new ones. A node makes hardly any,
and Python's default of 700 has it look after every few calls."""


def run_process(main: Coroutine[Any, Any, None]) -> None:
    """As :func:`asyncio.run`, but for a whole process: sets how threads are switched and garbage is looked for, and
    runs on uvloop if that is installed. To be called when everything is imported: what is there then is never looked
    through again."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop
