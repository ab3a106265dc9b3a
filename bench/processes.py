"""What processes use, as the kernel tells it, and programs run for a bounded time."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
KIB = 1024

ROOT = Path(__file__).resolve().parent.parent

PATIENCE = 30.0
"""Seconds a program gets beyond the time it is told to take."""


class BenchError(Exception):
    """A measurement that could not be made; the message says why."""


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, in user and in kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_bytes(pid: int, which: str = "VmRSS") -> int:
    """A process's memory: ``VmRSS`` what is resident, ``RssFile`` what of it is mapped files, ``VmHWM`` its peak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == which:
            return int(value.split()[0]) * KIB
    raise BenchError(f"process {pid} has ended")


def reset_peak(pid: int) -> None:
    """Has a process's peak of memory count from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def disk_bytes(directory: Path) -> int:
    """What the files below a directory take on disk."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def halves() -> tuple[Collection[int], Collection[int]]:
    """The cores that there are for us, in two parts; if it is only one, both parts are that."""
    cores = sorted(os.sched_getaffinity(0))
    middle = len(cores) // 2
    return cores[:middle] or cores, cores[middle:]


@contextlib.contextmanager
def on_cores(cores: Collection[int]) -> Iterator[None]:
    """What is started in the block runs on these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def module(name: str) -> list[str]:
    """How to run one of this package's programs."""
    return [sys.executable, "-m", f"bench.{name}"]


def start(command: Sequence[str]) -> "subprocess.Popen[str]":
    """Starts a program whose stdin and stdout are ours."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def finish(process: "subprocess.Popen[str]", seconds: float) -> str:
    """What a program printed, once it has ended by itself.

    Raises:
        BenchError: it failed, or took longer than it should by far.
    """
    name = " ".join(map(str, process.args)) if isinstance(process.args, list) else str(process.args)
    try:
        output, _ = process.communicate(timeout=seconds + PATIENCE)
    except subprocess.TimeoutExpired:
        raise BenchError(f"has not ended after {seconds + PATIENCE:g} s: {name}") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        raise BenchError(f"exit code {process.returncode} of {name}")
    return output


def read_line(process: "subprocess.Popen[str]", seconds: float = 0.0) -> str:
    """The next line that a program prints, which should take it so many seconds.

    Raises:
        BenchError: it ended instead, or took longer by far and was killed.
    """
    assert process.stdout is not None
    impatience = threading.Timer(seconds + PATIENCE, process.kill)
    impatience.start()
    try:
        line = process.stdout.readline()
    finally:
        impatience.cancel()
    if not line:
        raise BenchError(f"has ended or hung without an answer: {process.args!r}")
    return line


def kill_children() -> None:
    """Ends whatever this process has started and not yet seen the end of: a signal may have come between a start and
    the block that would have ended it."""
    for thread in Path("/proc/self/task").glob("*/children"):
        for pid in map(int, thread.read_text().split()):
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def run(command: Sequence[str], seconds: float) -> str:
    """Runs a program that should take so many seconds; returns what it printed."""
    return finish(start(command), seconds)
