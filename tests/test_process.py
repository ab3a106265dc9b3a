"""A process set up for a node."""

import json
import platform
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


LARGE_MESSAGES = """
import resource
from pyraft_lite.process import run_process

async def main():
    def faults():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    for _ in range(2):
        before = faults()
        for _ in range(100):
            held = [bytes(256 * 1024 + number) for number in range(8)]
            del held
    print(faults() - before)

run_process(main())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library handles memory as it sees fit")
def test_memory_of_large_messages_is_used_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LARGE_MESSAGES], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) < 500, "page faults: each message has been given memory of its own"


def test_what_main_raises_comes_out() -> None:
    with pytest.raises(subprocess.CalledProcessError) as failure:
        subprocess.run([sys.executable, "-c", SCRIPT, "x"], capture_output=True, text=True, timeout=60, check=True)
    assert "what main raises" in failure.value.stderr
