"""One run of the benchmark: what was asked for, where it may write, what it has found so far."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import grpc
import lmdb

from bench.load import LoadResult
from bench.peers import Peer
from bench.processes import BenchError
from bench.results import Curve, Key, Metric, Results
from pyraft_lite.core.errors import RaftError
from raftexample.local_cluster import LocalCluster, LocalClusterError

GIB = 1024**3
LONGEST_NOTE = 300

FAILURES = (
    BenchError,
    LocalClusterError,
    RaftError,
    grpc.RpcError,
    lmdb.Error,
    OSError,
    subprocess.SubprocessError,
)
"""What a measurement may fail with, without there being anything wrong with the benchmark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for.

    Attributes:
        rounds: How often each measurement is made; one may be made less often (:attr:`Workload.most_rounds`).
        seconds: How long each lasts, of those that last a given time.
        peers: Whom to measure.
        full: Whether to take what is too large for every day.
    """

    rounds: int = 3
    seconds: float = 2.0
    peers: Sequence[Peer] = ()
    full: bool = False


@dataclass(slots=True)
class Session:
    """What workloads work with.

    Attributes:
        options: What was asked for.
        scratch: A directory for data, on the disk that is measured.
        results: What was found.
    """

    options: Options
    scratch: Path
    results: Results = field(default_factory=Results)

    def say(self, text: str) -> None:
        """Tells the user how far it is."""
        print(text, file=sys.stderr, flush=True)

    def note(self, what: str, error: Exception | str) -> None:
        """Keeps in the results that something could not be measured."""
        self.say(f"!! {what}: {error}")
        text = " ".join(f"{what}: {error}".split())
        if len(text) > LONGEST_NOTE:
            text = text[:LONGEST_NOTE] + " …"
        if text not in self.results.notes:
            self.results.notes.append(text)

    def add(self, key: Key, values: dict[Metric, float]) -> None:
        """Takes a sample in and shows it."""
        self.results.add(key, values)
        shown = ", ".join(f"{value:.{metric.digits}f} {metric.heading}" for metric, value in values.items())
        self.say(f"   {key.subject}, {key.case}: {shown}")

    def add_quantiles(self, key: Key, result: LoadResult) -> None:
        """Keeps the latencies of a run for the plots."""
        self.results.curves.append(Curve(key, "quantiles", result.quantiles_ms))

    @contextmanager
    def directory(self, *, needed: int = GIB) -> Iterator[Path]:
        """A fresh directory, gone after the block.

        Args:
            needed: Bytes that may be written into it.

        Raises:
            BenchError: there is less room.
        """
        free = shutil.disk_usage(self.scratch).free
        if free < needed:
            raise BenchError(f"{self.scratch} has {free / GIB:.1f} GiB free, {needed / GIB:.1f} GiB may be needed")
        path = Path(tempfile.mkdtemp(dir=self.scratch))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def cluster(self, peer: Peer, nodes: int = 3, *, needed: int = GIB) -> Iterator[LocalCluster]:
        """A new cluster of a peer's, stopped and forgotten after the block."""
        with self.directory(needed=needed) as directory, peer.cluster(directory, nodes) as cluster:
            cluster.form()
            yield cluster

    @contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """Goes on after the block if it could not be measured, which is noted."""
        try:
            yield
        except FAILURES as error:
            self.note(what, error)


class Workload(Protocol):
    """One kind of work."""

    @property
    def name(self) -> str:
        """On the command line and in JSON."""
        ...

    @property
    def title(self) -> str:
        """Above its table."""
        ...

    @property
    def columns(self) -> Sequence[Metric]:
        """What its table shows."""
        ...

    @property
    def most_rounds(self) -> int:
        """How often it is worth being repeated."""
        ...

    def run_round(self, session: Session) -> None:
        """Measures everyone once."""
        ...
