"""How the interpreter is best set for a process that does nothing but run a node."""

import gc
import sys

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that waits for the interpreter gets it. A disk write that is done wants it for
microseconds, to say so, while the event loop is busy: Python's default of 5 ms is longer than most writes."""

YOUNG_OBJECTS = 50_000
"""How many more objects there may be before the collector looks for cycles among the new ones. A node makes hardly any,
and Python's default of 700 has it look after every few calls."""


def tune_interpreter() -> None:
    """Sets thread switching and garbage collection for a node. To be called once, when everything is imported: what is
    there then is never looked through again."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)
