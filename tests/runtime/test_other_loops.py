"""The library on another event loop than that of our programs: what it asks of the loop is what all loops have."""

import asyncio
from pathlib import Path

from raft_cluster import cluster

from pyraft_lite.core import State


def test_a_cluster_writes_reads_and_changes_its_leader_on_asyncios_own_loop(tmp_path: Path) -> None:
    async def use() -> None:
        async with cluster(tmp_path) as members:
            leader = await members.leader()
            assert [(await leader.raft.apply(b"%d" % number)).response for number in range(20)] == list(range(1, 21))
            await leader.raft.read_index()
            successor = members.followers()[0]
            await leader.raft.leadership_transfer(successor.id, successor.address)
            await successor.until(lambda now: now.state is State.LEADER)
            last = await successor.raft.apply(b"last")
            await members.until_equal(last.index)
            assert isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)
            assert {len(member.journal.commands) for member in members.values()} == {21}

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(use())
