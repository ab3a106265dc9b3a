"""Runs the commands that a document shows, in order, as a reader would type them."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.+)$", re.MULTILINE)

TIME_WAIT = 60
"""Seconds for which Linux keeps the port of a connection that has ended."""


def blocks(document: str, kind: str) -> list[str]:
    """What stands in the document's blocks of that kind, ``console`` or ``python``."""
    return [block for found, block in BLOCK.findall((ROOT / document).read_text()) if found == kind]


def commands(document: str) -> list[str]:
    """All commands that the document shows, in order."""
    return [command for block in blocks(document, "console") for command in COMMAND.findall(block)]


@contextlib.contextmanager
def kept_ports(ports: Sequence[int]) -> Iterator[None]:
    """Keeps ports that a document names for those who listen on them.

    They are among those that the system gives to outgoing connections, and one of a test beside this one would have
    a node find its port taken. A bound socket prevents that, and stands in nobody's way as long as it does not listen.
    """
    with contextlib.ExitStack() as held:
        dual = socket.has_dualstack_ipv6()
        for port in ports:
            each = held.enter_context(socket.socket(socket.AF_INET6 if dual else socket.AF_INET))
            if dual:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            deadline = time.monotonic() + 2 * TIME_WAIT
            while True:
                try:
                    each.bind(("", port))
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
        yield


def run(script: Sequence[str], directory: Path, patience: float) -> tuple[str, str]:
    """Has a shell with job control run the lines; returns what was printed, on stdout and on stderr.

    Fails with both if the shell does, or is not done after ``patience`` seconds. What it started is gone afterwards.
    """
    (directory / "walk-through").write_text("\n".join(["set -me", *script]))
    output, errors = directory / "walk-through.out", directory / "walk-through.err"
    # Files: jobs that go on when the shell has failed would keep pipes open.
    with output.open("w") as stdout, errors.open("w") as stderr:
        shell = subprocess.Popen(
            ["bash", "walk-through"], cwd=directory, stdout=stdout, stderr=stderr, start_new_session=True
        )
    ended = "did not end"
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            ended = f"ended with {shell.wait(patience)}"
    finally:
        kill_session(shell)
    assert ended == "ended with 0", f"{ended}; stdout:\n{output.read_text()}\nstderr:\n{errors.read_text()}"
    return output.read_text(), errors.read_text()


def kill_session(leader: "subprocess.Popen[Any]") -> None:
    """Ends a process that was started in a session of its own, and all that it started."""
    for pid in processes_of_session(leader.pid):
        os.kill(pid, signal.SIGKILL)
    leader.wait()


def processes_of_session(session: int) -> list[int]:
    """The processes that belong to a session; its leader's exit does not end them."""
    found = []
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == session:
                found.append(pid)
    return found
