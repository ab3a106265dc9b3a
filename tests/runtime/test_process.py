"""A process set up for a node."""

import importlib.util
import json
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, gc, json, sys
from pyraft_lite.runtime.process import run_process

async def main():
    loop = asyncio.get_running_loop()
    print(json.dumps([sys.getswitchinterval(), gc.get_threshold()[0], gc.get_freeze_count(), type(loop).__module__]))
    if sys.argv[1:]:
        raise KeyError("what main raises")

run_process(main())
"""


def test_threads_garbage_and_event_loop_are_as_a_node_wants_them() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    interval, threshold, frozen, loop = json.loads(done.stdout)
    assert interval < 0.001
    assert threshold > 10_000
    assert frozen > 1000
    assert loop.startswith("uvloop") is (importlib.util.find_spec("uvloop") is not None)


def test_what_main_raises_comes_out() -> None:
    with pytest.raises(subprocess.CalledProcessError) as failure:
        subprocess.run([sys.executable, "-c", SCRIPT, "x"], capture_output=True, text=True, timeout=60, check=True)
    assert "what main raises" in failure.value.stderr
