"""hammer, the client that users have: its own job, beside that of one in Go, and as a load generator in Python."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.peers import GO, OURS, OURS_GRPCIO, Peer
from bench.processes import ROOT, run
from bench.results import OPERATIONS, P50, P99, Key, Metric
from bench.session import Session
from raftexample.local_cluster import LocalCluster

GO_HAMMER = ROOT / "build" / "interop" / "bin" / "hammer"
PYTHON_HAMMER = (sys.executable, "-m", "raftexample.cmd.hammer")
WORDS = ROOT / "tests" / "data" / "words.txt"
JOB = "1999 words"
EXPECTED_SECONDS = 30.0

UNARY_WAYS = (("unary", 1), ("unary", 10), ("unary", 64))
STREAM_WAY = ("stream", 1)
"""Modes and concurrencies; the Go peer has no streams."""

SECONDS = Metric("seconds", "s", 2)
WORDS_RATE = OPERATIONS._replace(heading="words/s")


@dataclass(frozen=True, slots=True)
class Hammering:
    """A workload: 1999 words, ten at a time, from the program's start to its end."""

    name: str = "hammer"
    title: str = "hammer's own job: 1999 words, 10 workers, each with its own client"
    columns: Sequence[Metric] = (SECONDS,)
    most_rounds: int = 10

    def run_round(self, session: Session) -> None:
        for peer in (OURS, OURS_GRPCIO, GO):
            if peer not in session.options.peers:
                continue
            with session.trying(f"hammer of {peer.title}"), session.cluster(peer) as cluster:
                command = hammer(peer, cluster)
                began = time.perf_counter()
                run(command, EXPECTED_SECONDS)
                session.add(Key(self.name, JOB, peer.title), {SECONDS: time.perf_counter() - began})


@dataclass(frozen=True, slots=True)
class PythonClient:
    """A workload: what callers and streams in one Python process get."""

    name: str = "python"
    title: str = "Writes of 16 bytes by hammer, a client in Python"
    columns: Sequence[Metric] = (WORDS_RATE, P50, P99)
    most_rounds: int = 10

    def run_round(self, session: Session) -> None:
        seconds = session.options.seconds
        for peer in (OURS, OURS_GRPCIO, GO):
            if peer not in session.options.peers:
                continue
            with session.trying(f"hammer as a load for {peer.title}"), session.cluster(peer) as cluster:
                for mode, concurrency in UNARY_WAYS if peer is GO else (*UNARY_WAYS, STREAM_WAY):
                    command = [*PYTHON_HAMMER, "--target", cluster.target, "--mode", mode]
                    flags = ["--concurrency", str(concurrency), "--duration", str(seconds), "--json"]
                    found = json.loads(run([*command, *flags], seconds))
                    values = {WORDS_RATE: found["words_per_second"], P50: found["p50_ms"], P99: found["p99_ms"]}
                    session.add(Key(self.name, f"{mode}, C={concurrency}", peer.title), values)


def hammer(peer: Peer, cluster: LocalCluster) -> list[str]:
    """How to run a peer's own hammer."""
    if peer is GO:
        targets = ",".join(node.address for node in cluster.nodes.values())
        return [str(GO_HAMMER), "-targets", targets, "-words", str(WORDS)]
    return [*PYTHON_HAMMER, "--target", cluster.target]


HAMMERING = Hammering()
PYTHON_CLIENT = PythonClient()
