"""A disk that stalls or fails, on real clusters (R5, R18)."""

import asyncio
from pathlib import Path
from typing import cast

import pytest
from raft_cluster import QUICK, Member, WatchedStore, cluster

from pyraft_lite.core.errors import LeadershipLostError, RaftError
from pyraft_lite.runtime import State


def disk(member: Member) -> WatchedStore:
    return cast(WatchedStore, member.store)


async def test_a_follower_whose_disk_stalls_still_answers_heartbeats(tmp_path: Path) -> None:
    async with cluster(tmp_path, make_store=WatchedStore) as members:
        leader = await members.leader()
        term = leader.raft.stats()["term"]
        for follower in members.followers():
            disk(follower).gate.clear()
        waiting = asyncio.create_task(leader.raft.apply(b"x"))
        await asyncio.sleep(QUICK.heartbeat_timeout * 4)
        assert not waiting.done(), "a quorum has not written it"
        assert leader.raft.state is State.LEADER
        assert [follower.raft.stats()["term"] for follower in members.followers()] == [term, term]
        for follower in members.followers():
            disk(follower).gate.set()
        assert (await waiting).response == 1


async def test_a_leader_whose_disk_stalls_gives_up_its_leadership_and_another_commits(tmp_path: Path) -> None:
    async with cluster(tmp_path, make_store=WatchedStore) as members:
        leader = await members.leader()
        disk(leader).gate.clear()
        waiting = asyncio.create_task(leader.raft.apply(b"x"))
        await leader.until(lambda now: now.state is not State.LEADER)
        await asyncio.wait([waiting])
        others = {member.id: member for member in members.values() if member is not leader}
        successor = next(iter(others.values()))
        await successor.until(lambda now: now.leader.id in others)
        await others[successor.raft.leader.id].raft.apply(b"y")
        disk(leader).gate.set()


async def test_a_node_whose_disk_fails_stops_and_says_why(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, make_store=WatchedStore) as members:
        node = members["node1"]
        disk(node).fails = True
        with pytest.raises(LeadershipLostError):
            await node.raft.apply(b"x")
        await node.raft.wait_stopped()
        assert node.raft.failure == "no space left on device"
        with pytest.raises(RaftError, match="raft is already shutdown"):
            await node.raft.apply(b"y")
