"""What clients see of real processes is linearizable, whoever is killed, hangs or hands over meanwhile."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from e2e.key_values import EXAMPLE, Clients, History, KeyValueCluster, call, call_through, connected
from pyraft_lite.sim.linearizability import NotLinearizable, check
from pyraft_lite.sim.models import CompareAndSet, Get, KeyValue, Put

INSTALLED = "installed remote snapshot"

CARELESS = Path(__file__).parent / "careless_kv_store.py"

pytestmark = pytest.mark.timeout(120)


# -- clients against a cluster that is maltreated -----------------------------------------------------------------


@contextlib.contextmanager
def leader_killed(cluster: KeyValueCluster) -> Iterator[None]:
    leader = cluster.leader()
    cluster.kill(leader)
    yield
    cluster.start(leader)


@contextlib.contextmanager
def follower_killed(cluster: KeyValueCluster) -> Iterator[None]:
    follower = cluster.followers()[0]
    cluster.kill(follower)
    yield
    cluster.start(follower)


@contextlib.contextmanager
def leader_and_follower_killed(cluster: KeyValueCluster) -> Iterator[None]:
    leader, follower = cluster.leader(), cluster.followers()[0]
    cluster.kill(leader)
    cluster.kill(follower)
    yield
    cluster.start(leader)
    cluster.start(follower)


@contextlib.contextmanager
def leader_killed_with_entries_that_nobody_else_has(cluster: KeyValueCluster) -> Iterator[None]:
    leader = cluster.leader()
    with cluster.paused(*cluster.followers()):
        call(cluster, History(), leader, Put("of no quorum", "value"))  # fails once the leader has missed its quorum
        cluster.kill(leader)
    yield
    cluster.start(leader)


@contextlib.contextmanager
def all_killed(cluster: KeyValueCluster) -> Iterator[None]:
    for name in cluster.nodes:
        cluster.kill(name)
    for name in cluster.nodes:
        cluster.start(name)
    yield


@contextlib.contextmanager
def leader_paused(cluster: KeyValueCluster) -> Iterator[None]:
    leader = cluster.leader()
    with cluster.paused(leader):
        cluster.leader_but(leader)
        yield


@contextlib.contextmanager
def leadership_transferred(cluster: KeyValueCluster) -> Iterator[None]:
    cluster.check_raftadmin("--leader", cluster.target, "leadership_transfer")
    yield


@contextlib.contextmanager
def follower_away_for_longer_than_the_log_reaches(cluster: KeyValueCluster) -> Iterator[None]:
    follower = cluster.followers()[0]
    log = cluster.nodes[follower].log
    before = log.read_text().count(INSTALLED)
    cluster.kill(follower)
    yield
    cluster.check_raftadmin("--leader", cluster.target, "snapshot")
    cluster.start(follower)
    cluster.wait_for(lambda: log.read_text().count(INSTALLED) > before, f"{follower} gets a snapshot")


Fault = Callable[[KeyValueCluster], AbstractContextManager[None]]

FAULTS: dict[int, list[Fault]] = {
    3: [
        leader_killed,
        follower_killed,
        leadership_transferred,
        leader_paused,
        follower_away_for_longer_than_the_log_reaches,
        leader_killed_with_entries_that_nobody_else_has,
        leader_paused,
        all_killed,
    ],
    5: [
        leader_and_follower_killed,
        leader_paused,
        leadership_transferred,
        follower_away_for_longer_than_the_log_reaches,
        leader_and_follower_killed,
    ],
}


@pytest.mark.parametrize(("size", "flags"), [(3, []), (3, ["--lease-reads"]), (5, [])], ids=["3", "3 by lease", "5"])
def test_what_clients_see_through_faults_is_linearizable(tmp_path: Path, size: int, flags: list[str]) -> None:
    with KeyValueCluster(tmp_path, size, ("--snapshot-every", "50", *flags)) as cluster:
        cluster.form()
        with Clients(cluster) as clients:
            for fault in FAULTS[size]:
                clients.wait_for_more(200)
                with fault(cluster):
                    clients.wait_for_more(200)
            clients.wait_for_more(200)
        history = clients.history
        cluster.wait_until_equal()
        states = [cluster.final_state(name) for name in cluster.nodes]
        assert all(state == states[0] for state in states), "replicas differ"
        assert clients.acknowledged.items() <= states[0].items(), "an acknowledged write is lost"
        history.add_final_reads(states[0])
        assert check(KeyValue(), history.operations) is None
        assert_worth_checking(history)


def assert_worth_checking(history: History) -> None:
    """There is something of everything, or the check could find nothing."""
    outputs = {type(operation.input): set() for operation in history.operations}
    for operation in history.operations:
        outputs[type(operation.input)].add(operation.output)
    assert {True, False} <= outputs[CompareAndSet]
    assert len(outputs[Get]) > 100
    assert len(outputs[Put]) > 100
    assert history.outcomes["unknown"], "no call was under way when a node died"


# -- the reads that could be stale --------------------------------------------------------------------------------


def read_at_a_leader_that_hung(tmp_path: Path, program: Path, flags: Sequence[str] = ()) -> History:
    """A leader hangs for a write through its successor, while reads wait on its doorstep: it answers them as it wakes,
    when it may not have noticed that it leads no more."""
    history = History()
    with KeyValueCluster(tmp_path, flags=flags, program=program) as cluster, ThreadPoolExecutor(20) as readers:
        cluster.form()
        leader = cluster.leader()
        call(cluster, history, leader, Put("x", "old"))
        with connected(cluster, leader) as channel:
            with cluster.paused(leader):
                call(cluster, history, cluster.leader_but(leader), Put("x", "new"))
                reads = [readers.submit(call_through, channel, history, Get("x")) for _ in range(20)]
            for read in reads:
                read.result()
        call(cluster, history, cluster.leader(), Get("x"))
    return history


def read_at_a_node_that_missed_a_write(tmp_path: Path, program: Path) -> History:
    """A node that led, and has all that was written until then in a snapshot, is away for a write. Then it is asked
    what the value is, while the others hang: there is nobody to tell it that it is behind."""
    history = History()
    with KeyValueCluster(tmp_path, program=program) as cluster:
        cluster.form()
        leader = cluster.leader()
        call(cluster, history, leader, Put("x", "old"))
        cluster.check_raftadmin(cluster.nodes[leader].address, "snapshot")
        cluster.kill(leader)
        call(cluster, history, cluster.leader(), Put("x", "new"))
        with cluster.paused(*(name for name in cluster.nodes if name != leader)):
            cluster.start(leader)
            call(cluster, history, leader, Get("x"))
        call(cluster, history, cluster.leader(), Get("x"))
    return history


@pytest.mark.parametrize("flags", [[], ["--lease-reads"]], ids=["by quorum", "by lease"])
def test_a_leader_that_hung_gives_no_stale_value(tmp_path: Path, flags: list[str]) -> None:
    history = read_at_a_leader_that_hung(tmp_path, EXAMPLE, flags)
    assert history.operations[-1].output == "new"
    assert check(KeyValue(), history.operations) is None


def test_a_node_that_is_behind_refuses_to_read(tmp_path: Path) -> None:
    history = read_at_a_node_that_missed_a_write(tmp_path, EXAMPLE)
    assert history.outcomes == {"answered": 3, "refused": 1}
    assert check(KeyValue(), history.operations) is None


def test_a_node_that_reads_without_asking_gives_a_stale_value_and_the_checker_finds_it(tmp_path: Path) -> None:
    history = read_at_a_node_that_missed_a_write(tmp_path, CARELESS)
    found = check(KeyValue(), history.operations)
    assert isinstance(found, NotLinearizable)
    assert (found.stuck.input, found.stuck.output) == (Get("x"), "old")
