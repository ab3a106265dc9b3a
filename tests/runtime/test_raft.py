"""A node's operations, on real clusters."""

import asyncio
import io
import re
import threading
from pathlib import Path

import pytest
from raft_cluster import QUICK, Member, cluster

from pyraft_lite.core.configuration import Suffrage
from pyraft_lite.core.entry import Entry
from pyraft_lite.core.errors import (
    CatchUpError,
    ConfigurationError,
    LeadershipLostError,
    NothingToSnapshotError,
    NotLeaderError,
    RaftError,
    ShutdownError,
    TransferError,
)
from pyraft_lite.runtime import Applied, Observation, Settings, State
from raftexample.local_cluster import free_ports

TRANSCRIPT = Path(__file__).parent.parent / "data" / "transcript-B.txt"
GO_STATS = sorted(set(re.findall(r'^  stderr\|   key: "(\w+)"$', TRANSCRIPT.read_text(), re.MULTILINE)))


async def test_commands_are_applied_in_the_same_order_everywhere_and_answer_what_the_leader_returned(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        results = await asyncio.gather(*(leader.raft.apply(b"%d" % number) for number in range(100)))
        assert [result.response for result in results] == list(range(1, 101))
        assert [result.index for result in results] == list(range(results[0].index, results[0].index + 100))
        await members.until_equal(results[-1].index)
        assert all(m.journal.commands == [b"%d" % number for number in range(100)] for m in members.values())
        assert all(len(m.journal.threads) == 1 for m in members.values())


async def test_a_quick_state_machine_does_not_take_the_processor_from_a_followers_write(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2, apply_on_loop=True) as members:  # With three, one lags, and has writes in a row.
        leader = await members.leader()
        (follower,) = members.followers()
        apply, writing = follower.journal.apply, []

        def watched(entry: Entry) -> int:
            writing.append(follower.raft._writer.is_in_kernel)
            return apply(entry)

        follower.journal.apply = watched  # type: ignore[method-assign]
        for number in range(20):
            last = (await leader.raft.apply(b"%d" % number)).index
        await members.until_equal(last)
        assert writing == [False] * 20


async def test_a_follower_refuses_what_needs_the_leader(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        await members.leader()
        follower = members.followers()[0].raft
        for operation in (
            follower.apply(b"x"),
            follower.barrier(),
            follower.verify_leader(),
            follower.read_index(),
            follower.add_voter("x", "127.0.0.1:1"),
            follower.add_nonvoter("x", "127.0.0.1:1"),
            follower.demote_voter("x"),
            follower.remove_server("x"),
            follower.leadership_transfer(),
            follower.restore(io.BytesIO()),
        ):
            with pytest.raises(NotLeaderError, match=r"^node is not the leader$"):
                await operation


async def test_a_barrier_returns_when_everything_before_it_is_applied(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as members:
        node = members["node1"]
        node.journal.gate.clear()
        command = asyncio.create_task(node.raft.apply(b"first"))
        barrier = asyncio.create_task(node.raft.barrier())
        await asyncio.sleep(0)
        assert not barrier.done()
        node.journal.gate.set()
        assert await barrier == (await command).index + 1
        assert node.journal.commands == [b"first"]


async def test_a_linearizable_read_waits_until_what_was_acknowledged_is_applied(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        index = (await leader.raft.apply(b"x")).index
        assert await leader.raft.read_index() >= index
        await leader.raft.verify_leader()


async def test_a_lease_read_needs_no_round_if_all_nodes_allow_it(tmp_path: Path) -> None:
    settings = Settings(
        heartbeat_timeout=0.5, election_timeout=0.5, leader_lease_timeout=0.4, commit_timeout=0.01, lease_reads=True
    )
    async with cluster(tmp_path, 3, settings) as members:
        leader = await members.leader()
        index = (await leader.raft.apply(b"x")).index
        assert await leader.raft.read_index(lease=True) >= index


async def test_reads_fail_on_a_leader_that_lost_its_quorum(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        for follower in members.followers():
            await follower.stop()
        with pytest.raises((LeadershipLostError, NotLeaderError)):
            await leader.raft.read_index()
        with pytest.raises(NotLeaderError):
            await leader.raft.apply(b"x")
        assert leader.raft.state is not State.LEADER


async def test_leadership_moves_to_the_server_it_is_given_to(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        target = members.followers()[1]
        await leader.raft.leadership_transfer(target.id, target.address)
        await target.until(lambda now: now.state is State.LEADER)
        await leader.until(lambda now: now.leader.id == target.id)
        await target.raft.apply(b"from the new leader")


async def test_leadership_can_not_be_given_to_whom_it_makes_no_sense_to(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        follower = members.followers()[0]
        for server_id, address, error in (
            (leader.id, "", "cannot transfer leadership to itself"),
            ("nobody", "", "nobody: not in the configuration"),
            (follower.id, "127.0.0.1:1", f"its address is {follower.address}"),
        ):
            with pytest.raises(TransferError, match=error):
                await leader.raft.leadership_transfer(server_id, address)
        assert leader.raft.state is State.LEADER


async def test_members_are_demoted_promoted_removed_and_added(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        raft, other = leader.raft, members.followers()[0]
        await raft.demote_voter(other.id)
        demoted = raft.configuration.get(other.id)
        assert demoted is not None
        assert demoted.suffrage is Suffrage.NONVOTER
        with pytest.raises(TransferError, match="not a voter"):
            await raft.leadership_transfer(other.id)
        await raft.add_voter(other.id, other.address)
        await raft.remove_server(other.id)
        assert raft.configuration.get(other.id) is None
        index = await raft.add_nonvoter(other.id, other.address)
        with pytest.raises(ConfigurationError, match=rf"^configuration changed since 1 \(latest is {index}\)$"):
            await raft.remove_server(other.id, 1)
        assert await raft.remove_server("nobody") == index
        await raft.add_voter(other.id, other.address, index)
        assert raft.configuration.is_voter(other.id)


async def test_a_voter_that_can_not_be_reached_is_not_added(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as members:
        raft = members["node1"].raft
        before = raft.configuration
        address = f"127.0.0.1:{free_ports(1)[0]}"
        with pytest.raises(
            CatchUpError, match=rf"^cannot add voter node2 at {address}: cannot be reached: .* unchanged$"
        ):
            await raft.add_voter("node2", address)
        assert raft.configuration == before
        await raft.apply(b"the cluster still works")


async def test_a_removed_leader_shuts_down_and_another_takes_over(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        await leader.raft.remove_server(leader.id)
        await leader.raft.wait_stopped()
        assert leader.raft.state is State.SHUTDOWN
        assert leader.raft.failure == ""
        with pytest.raises(ShutdownError):
            await leader.raft.apply(b"x")
        successor = next(m for m in members.values() if m is not leader)
        await successor.until(lambda now: now.leader.id not in ("", leader.id))


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        for number in range(10):
            await leader.raft.apply(b"%d" % number)
        for member in members.values():
            await member.stop()
        for member in members.values():
            await member.start()
        leader = await members.leader()
        index = await leader.raft.barrier()
        await members.until_equal(index)
        assert all(m.journal.commands == [b"%d" % number for number in range(10)] for m in members.values())


async def test_a_restart_begins_with_the_snapshot(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as members:
        node = members["node1"]
        await node.raft.apply(b"before")
        snapshot_id = await node.raft.snapshot()
        await node.raft.apply(b"after")
        await node.stop()
        await node.start()
        assert node.journal.commands == [b"before"]
        assert [meta.id for meta in node.snapshots.list()] == [snapshot_id]
        await members.leader()
        await node.raft.barrier()
        assert node.journal.commands == [b"before", b"after"]


async def test_a_follower_that_needs_compacted_entries_gets_a_snapshot(tmp_path: Path) -> None:
    settings = Settings(
        heartbeat_timeout=0.5, election_timeout=0.5, leader_lease_timeout=0.4, commit_timeout=0.01, trailing_logs=0
    )
    async with cluster(tmp_path, 3, settings) as members:
        leader = await members.leader()
        away = members.followers()[0]
        await away.stop()
        for number in range(20):
            await leader.raft.apply(b"%d" % number)
        await leader.raft.snapshot()
        last = await leader.raft.apply(b"last")
        await away.start()
        await members.until_equal(last.index)
        assert away.journal.commands == leader.journal.commands
        assert [meta.index for meta in away.snapshots.list()] == [meta.index for meta in leader.snapshots.list()]


async def test_a_snapshot_right_after_a_configuration_change_works_and_holds_the_configuration(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        await leader.raft.apply(b"x")
        index = await leader.raft.demote_voter(members.followers()[0].id)
        await leader.raft.barrier()
        await leader.raft.snapshot()
        meta = leader.snapshots.list()[0]
        assert meta.configuration_index == index
        assert meta.configuration == leader.raft.configuration


async def test_a_node_that_has_applied_nothing_has_nothing_to_snapshot(tmp_path: Path) -> None:
    node = Member("lonely", f"127.0.0.1:{free_ports(1)[0]}", tmp_path / "lonely")
    await node.start()
    try:
        with pytest.raises(NothingToSnapshotError):
            await node.raft.snapshot()
    finally:
        await node.stop()


async def test_a_users_snapshot_replaces_the_state_of_the_whole_cluster(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        await leader.raft.apply(b"old")
        await leader.raft.restore(io.BytesIO(b"one\ntwo"))
        last = await leader.raft.apply(b"three")
        await members.until_equal(last.index)
        assert all(m.journal.commands == [b"one", b"two", b"three"] for m in members.values())


class SlowSource(io.BytesIO):
    """A snapshot to restore that can be read when :attr:`gate` is set."""

    def __init__(self) -> None:
        super().__init__(b"never")
        self.entered, self.gate = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.entered.set()
        self.gate.wait()
        return super().read(size)


async def test_a_restore_that_a_shutdown_overtakes_leaves_no_snapshot(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as members:
        node = members["node1"]
        await node.raft.apply(b"kept")
        source = SlowSource()
        restoring = asyncio.create_task(node.raft.restore(source))
        await asyncio.to_thread(source.entered.wait)
        stopping = asyncio.create_task(node.raft.shutdown())
        with pytest.raises(LeadershipLostError):
            await restoring
        source.gate.set()
        await stopping
        assert not node.snapshots.list()
        await node.stop()
        await node.start()
        await members.leader()
        await node.raft.barrier()
        assert node.journal.commands == [b"kept"]


async def test_observers_hear_of_every_role_until_they_leave(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        heard: list[Observation] = []
        leave = leader.raft.observe(heard.append)
        await leader.raft.leadership_transfer()
        await leader.until(lambda now: now.leader.id not in ("", leader.id))
        assert [seen.state for seen in heard] == [State.FOLLOWER] * len(heard)
        assert heard[-1].leader.id != leader.id
        leave()
        count = len(heard)
        await leader.raft.shutdown()
        assert len(heard) == count


async def test_stats_have_the_keys_and_formats_of_the_original(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        stats = leader.raft.stats()
        assert sorted(stats) == GO_STATS
        assert stats["state"] == "Leader"
        assert stats["last_contact"] == "0"
        assert stats["num_peers"] == "2"
        first = members["node1"]
        assert stats["latest_configuration"].startswith(f"[{{Suffrage:Voter ID:node1 Address:{first.address}}}")
        follower = members.followers()[0].raft.stats()
        assert follower["state"] == "Follower"
        assert follower["last_contact"].endswith("s")


async def test_shutdown_ends_every_wait_and_is_idempotent(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as members:
        node = members["node1"]
        node.journal.gate.clear()
        first, second = (asyncio.create_task(node.raft.apply(command)) for command in (b"a", b"b"))
        reading = asyncio.create_task(node.raft.read_index())
        await asyncio.sleep(0)
        stopping = asyncio.create_task(node.raft.shutdown())
        await asyncio.sleep(0)
        node.journal.gate.set()
        await stopping
        outcomes = await asyncio.gather(first, second, reading, return_exceptions=True)
        assert all(isinstance(outcome, RaftError | Applied | int) for outcome in outcomes)
        await node.raft.shutdown()
        assert node.raft.state is State.SHUTDOWN
        with pytest.raises(ShutdownError):
            await node.raft.snapshot()


async def test_a_state_machine_that_fails_stops_its_node(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as members:
        node = members["node1"]
        with pytest.raises(RaftError):
            await node.raft.apply(b"poison")
        await node.raft.wait_stopped()
        assert "state machine failed" in node.raft.failure
        assert "poisoned" in node.raft.failure


async def test_a_slow_state_machine_does_not_cost_leadership(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        term = leader.raft.stats()["term"]
        for member in members.values():
            member.journal.gate.clear()
        waiting = asyncio.create_task(leader.raft.apply(b"x"))
        await asyncio.sleep(QUICK.heartbeat_timeout * 4)
        assert not waiting.done()
        await leader.raft.verify_leader()
        assert leader.raft.stats()["term"] == term
        for member in members.values():
            member.journal.gate.set()
        assert (await waiting).response == 1
