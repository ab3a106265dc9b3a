"""A process set up for a node."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import gc, json, sys
from pyraft_lite.process import run_process

async def main():
    print(json.dumps([sys.getswitchinterval(), gc.get_threshold()[0], gc.get_freeze_count()]))
    if sys.argv[1:]:
        raise KeyError("what main raises")

run_process(main())
"""


def test_threads_and_garbage_are_seen_to_as_a_node_wants_it() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    interval, threshold, frozen = json.loads(done.stdout)
    assert interval < 0.001
    assert threshold > 10_000
    assert frozen > 1000


def test_what_main_raises_comes_out() -> None:
    with pytest.raises(subprocess.CalledProcessError) as failure:
        subprocess.run([sys.executable, "-c", SCRIPT, "x"], capture_output=True, text=True, timeout=60, check=True)
    assert "what main raises" in failure.value.stderr
