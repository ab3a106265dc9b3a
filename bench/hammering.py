"""hammer's own job, each side with its own client: 1999 words, ten at a time, from the program's start to its end."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.peers import GO, OURS, OURS_GRPCIO, Peer
from bench.processes import ROOT, run
from bench.results import Key, Metric
from bench.session import Session
from raftexample.local_cluster import LocalCluster

GO_HAMMER = ROOT / "build" / "interop" / "bin" / "hammer"
WORDS = ROOT / "tests" / "data" / "words.txt"
JOB = "1999 words"
EXPECTED_SECONDS = 30.0

SECONDS = Metric("seconds", "s", 2)


@dataclass(frozen=True, slots=True)
class Hammering:
    """A workload."""

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


def hammer(peer: Peer, cluster: LocalCluster) -> list[str]:
    """How to run a peer's own hammer."""
    if peer is GO:
        targets = ",".join(node.address for node in cluster.nodes.values())
        return [str(GO_HAMMER), "-targets", targets, "-words", str(WORDS)]
    return [sys.executable, "-m", "raftexample.cmd.hammer", "--target", cluster.target]


HAMMERING = Hammering()
