"""The demonstration that scripts/demo runs: a cluster is formed, hammered, handed over, and loses its leader."""

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from raftexample.local_cluster import LocalCluster, LocalClusterError

TRANSFER_AT = 200
"""How many words are in when leadership is handed over."""


def say(text: str) -> None:
    """One line of the story."""
    print(f"==> {text}", flush=True)


def demonstrate(directory: Path) -> None:
    """Tells and shows the story; raises LocalClusterError if it goes otherwise."""
    with LocalCluster(directory) as cluster:
        say("nodeA bootstraps a cluster of its own, nodeB and nodeC wait to be added")
        first, *others = cluster.nodes
        cluster.start(first, "--raft_bootstrap")
        for name in others:
            cluster.start(name)
        cluster.leader()
        for name in others:
            say(f"raftadmin --leader {cluster.target} add_voter {name} {cluster.nodes[name].address} 0")
            print(
                cluster.check_raftadmin("--leader", cluster.target, "add_voter", name, cluster.nodes[name].address, "0")
            )

        began = time.monotonic()
        start = cluster.applied_index(first) or 0
        hammer = cluster.start_hammer("--concurrency", "1")
        try:
            say("hammer adds the words for 1 to 1999, one at a time: else it would be done before anything can happen")
            cluster.wait_for(lambda: (cluster.applied_index(first) or 0) > start + TRANSFER_AT, "hammer is under way")

            say(f"meanwhile {cluster.leader()} leads: raftadmin leadership_transfer")
            cluster.check_raftadmin("--leader", cluster.target, "leadership_transfer")
            victim = cluster.leader()
            say(f"now {victim} leads: kill -9")
            cluster.kill(victim)
            if hammer.poll() is not None:
                raise LocalClusterError("hammer was done before the leader was killed")
            killed = time.monotonic()
            successor = cluster.leader()
            say(f"{successor} leads after {time.monotonic() - killed:.2f} s; {victim} is started again")
            cluster.start(victim)
            output, errors = hammer.communicate(timeout=120)
        finally:
            hammer.kill()
            hammer.wait()
        if hammer.returncode:
            raise LocalClusterError(f"hammer failed:\n{errors}")
        say(f"hammer is done after {time.monotonic() - began:.2f} s")

        index = cluster.wait_until_equal()
        answers = {tuple(cluster.words(name)) for name in cluster.nodes}
        if len(answers) != 1:
            raise LocalClusterError(f"the nodes differ: {answers}")
        say(f"all three nodes agree at index {index}; they stop")
        for name in (*others, first):
            if code := cluster.stop(name):
                raise LocalClusterError(f"{name} exited with {code}; see {cluster.nodes[name].log}")
        say("hammer printed:")
        print(output, end="")


@click.command()
@click.option("--keep", is_flag=True, help="Keep the nodes' data and logs, and say where they are.")
def main(keep: bool) -> None:
    """Runs a cluster of three nodes through a transfer and the loss of its leader, under load."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    directory = Path(tempfile.mkdtemp(prefix="raft-example-"))
    try:
        demonstrate(directory)
    except LocalClusterError as error:
        sys.exit(f"scripts/demo: {error}\nData and logs are in {directory}")
    if keep:
        say(f"data and logs are in {directory}")
    else:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
