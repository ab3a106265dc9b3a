"""What processes use, as the kernel tells it, and programs run for a bounded time."""

import os
import subprocess
import sys
from collections.abc import Sequence
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


def memory_bytes(pid: int, *, peak: bool = False) -> int:
    """A process's resident memory, now or at its highest."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(wanted):
            return int(line.split()[1]) * KIB
    raise BenchError(f"process {pid} has ended")


def disk_bytes(directory: Path) -> int:
    """What the files below a directory take on disk."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


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


def run(command: Sequence[str], seconds: float) -> str:
    """Runs a program that should take so many seconds; returns what it printed."""
    return finish(start(command), seconds)
