"""What a run was made on: without that its numbers say nothing."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.processes import ROOT

LIBRARIES = ("grpcio", "h2corn", "lmdb", "pysyncobj")
DEBIAN = {
    "hashicorp/raft": "golang-github-hashicorp-raft-dev",
    "raft-boltdb": "golang-github-hashicorp-raft-boltdb-dev",
    "grpc-go": "golang-google-grpc-dev",
}


def describe(scratch: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """The run and the machine, by name."""
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _said(["git", "describe", "--always", "--dirty"]),
        "rounds": rounds,
        "seconds": seconds,
        "processor": f"{os.cpu_count()} × {_processor()}",
        "load before": round(os.getloadavg()[0], 2),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1024**3:.0f} GiB",
        "file system": _said(["stat", "--file-system", "--format", "%T", str(scratch)]),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        **{
            name: _said(["dpkg-query", "--show", "--showformat", "${Version}", package])
            for name, package in DEBIAN.items()
        },
        "etcd": _said(["etcd", "--version"]).partition("\n")[0].removeprefix("etcd Version: "),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _said(command: list[str]) -> str:
    """What a program said, or that it is not known."""
    if shutil.which(command[0]) is None:
        return "unknown"
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=10, check=False)
    return result.stdout.strip() or "unknown"
