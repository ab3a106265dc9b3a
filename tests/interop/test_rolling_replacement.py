"""A cluster of one kind becomes one of the other, a node at a time, and those who write to it never notice."""

import subprocess
import threading
from pathlib import Path

import pytest
from mixed_cluster import MixedCluster
from writer import Writer

from raftexample.dutch import number_word


class Hammer:
    """Runs ``hammer`` again and again, until told to stop; its words are to be there in the end."""

    def __init__(self, cluster: MixedCluster) -> None:
        self.runs = 0
        self.errors: list[str] = []
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hammer")

    def __enter__(self) -> "Hammer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            process: subprocess.Popen[str] = self._cluster.start_hammer()
            _, errors = process.communicate()
            if process.returncode:
                self.errors.append(errors)
            self.runs += 1

    def check(self, words: list[str]) -> None:
        """Fails unless every run ended well and left all its words."""
        assert not self.errors
        counts = {number_word(number): 0 for number in range(1, 2000)}
        for word in words:
            if word in counts:
                counts[word] += 1
        assert min(counts.values()) >= self.runs >= 1


@pytest.mark.parametrize(("old", "new"), [("go", "py"), ("py", "go")])
@pytest.mark.timeout(300)
def test_three_nodes_are_replaced_one_at_a_time(tmp_path: Path, old: str, new: str) -> None:
    before = [f"{old}{number}" for number in (1, 2, 3)]
    after = [f"{new}{number}" for number in (1, 2, 3)]
    with MixedCluster(tmp_path, before) as cluster:
        cluster.form()
        for name in after:
            cluster.plan(name)
        with Writer(cluster) as writer, Hammer(cluster) as hammer:
            for leaves, joins in zip(before, after, strict=True):
                writer.wait_for(50)
                cluster.start(joins)
                cluster.add_voter(joins)
                cluster.wait_until_at(joins, cluster.last_index(cluster.leader()))
                if cluster.leader() == leaves:
                    cluster.transfer(joins)
                cluster.remove(leaves)
                cluster.kill(leaves)
            writer.wait_for(50)
        assert not writer.failed
        assert cluster.suffrages(cluster.leader()) == dict.fromkeys(after, "VOTER")
        words = cluster.wait_for_words(*after)
        writer.check(words)
        hammer.check(words)
