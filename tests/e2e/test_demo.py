"""scripts/demo tells its story, ends with hammer's line, and leaves nothing behind."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.harness import HAMMER_LINE
from raftexample.local_cluster import PATIENCE
from walk_through import ROOT, kill_session, processes_of_session

DEMO = ROOT / "scripts" / "demo.py"

pytestmark = pytest.mark.timeout(180)


@contextlib.contextmanager
def demo(directory: Path, *flags: str) -> Iterator["subprocess.Popen[str]"]:
    """The demonstration in a session of its own, its temporary directory within ``directory``."""
    process = subprocess.Popen(
        [sys.executable, DEMO, *flags],
        env={**os.environ, "TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill_session(process)


def test_the_demo_ends_with_hammers_line_and_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        output, _ = process.communicate(timeout=150)
        assert process.returncode == 0, output
        assert HAMMER_LINE.fullmatch(output.splitlines(keepends=True)[-1])
        assert not processes_of_session(process.pid)
        assert not list(tmp_path.iterdir())


def test_a_demo_that_is_told_to_stop_leaves_no_process(tmp_path: Path) -> None:
    with demo(tmp_path, "--keep") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "hammer adds the words" in line:
                break
        assert len(processes_of_session(process.pid)) > 3, "the nodes run"
        process.terminate()
        assert process.wait(PATIENCE) == 1
        assert not processes_of_session(process.pid)
