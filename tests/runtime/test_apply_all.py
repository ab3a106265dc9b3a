"""Batches of commands, on real clusters."""

import asyncio
from pathlib import Path

import pytest
from raft_cluster import WatchedStore, cluster

from pyraft_lite.core.errors import (
    CommandTooLargeError,
    LeadershipLostError,
    NotLeaderError,
    OverloadedError,
    ShutdownError,
)
from pyraft_lite.core.settings import MAX_MESSAGE_BYTES

COMMANDS = [b"%d" % number for number in range(300)]


async def test_batches_are_applied_in_order_everywhere_and_give_the_outcome_of_each_command(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        batches = [leader.raft.apply_all(COMMANDS[low : low + 100]) for low in (0, 100, 200)]
        outcomes = [outcome for batch in batches for outcome in await batch]
        first = outcomes[0].index
        assert [outcome.index for outcome in outcomes] == list(range(first, first + 300))
        assert [outcome.response for outcome in outcomes] == list(range(1, 301))
        await members.until_equal(outcomes[-1].index)
        assert all(member.journal.commands == COMMANDS for member in members.values())


async def test_a_batch_keeps_its_place_among_single_commands(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as members:
        raft = members["node1"].raft
        before = asyncio.create_task(raft.apply(b"before"))
        await asyncio.sleep(0)
        batch = raft.apply_all([b"one", b"two"])
        after = asyncio.create_task(raft.apply(b"after"))
        outcomes = [await before, *await batch, await after]
        assert [outcome.response for outcome in outcomes] == [1, 2, 3, 4]
        assert members["node1"].journal.commands == [b"before", b"one", b"two", b"after"]


async def test_all_commands_of_a_turn_go_into_one_write(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, make_store=WatchedStore) as members:
        node = members["node1"]
        assert isinstance(node.store, WatchedStore)
        await node.raft.barrier()
        before = node.store.commits
        await asyncio.gather(*(node.raft.apply_all(COMMANDS) for _ in range(3)))
        assert node.store.commits == before + 1


async def test_a_batch_of_nothing_has_its_outcome_at_once(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as members:
        assert await members["node1"].raft.apply_all([]) == []


async def test_a_batch_fails_with_the_error_of_its_command_that_did_and_the_others_take_effect(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as members:
        node = members["node1"]
        with pytest.raises(CommandTooLargeError, match=f"the limit is {MAX_MESSAGE_BYTES}"):
            await node.raft.apply_all([b"one", bytes(MAX_MESSAGE_BYTES), b"two"])
        await node.raft.barrier()
        assert node.journal.commands == [b"one", b"two"]


async def test_a_batch_that_nobody_waits_for_any_more_is_applied_all_the_same(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as members:
        node = members["node1"]
        asyncio.ensure_future(node.raft.apply_all([b"one", b"two"])).cancel()
        await node.raft.barrier()
        assert node.journal.commands == [b"one", b"two"]


async def test_a_follower_and_a_node_that_has_stopped_refuse_batches(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        await members.leader()
        follower = members.followers()[0]
        with pytest.raises(NotLeaderError):
            await follower.raft.apply_all(COMMANDS)
        await follower.raft.shutdown()
        with pytest.raises(ShutdownError):
            await follower.raft.apply_all(COMMANDS)


async def test_a_batch_that_is_not_applied_when_the_node_stops_fails(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as members:
        node = members["node1"]
        await members.leader()
        batch = node.raft.apply_all(COMMANDS)
        # In the turn of the loop in which it is proposed: its write can't have ended.
        await asyncio.create_task(node.raft.shutdown())
        with pytest.raises((LeadershipLostError, ShutdownError)):
            await batch


async def test_batches_are_refused_beyond_the_limit_and_single_commands_have_room_of_their_own(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, max_proposals=4, max_proposal_bytes=1000) as members:
        node = members["node1"]
        node.journal.gate.clear()
        batches = [node.raft.apply_all(COMMANDS[:3]), node.raft.apply_all(COMMANDS[3:6])]
        for commands in (COMMANDS[6:9], []):
            with pytest.raises(OverloadedError, match=r"^overloaded: the limit of 4 proposals in batches under way"):
                node.raft.apply_all(commands)
        single = asyncio.create_task(node.raft.apply(b"single"))
        await asyncio.sleep(0)
        node.journal.gate.set()
        await asyncio.gather(*batches, single)
        await node.raft.apply_all(COMMANDS[6:9])
        assert node.journal.commands == [*COMMANDS[:6], b"single", *COMMANDS[6:9]]
        large = [node.raft.apply_all([bytes(800)]) for _ in range(2)]
        with pytest.raises(OverloadedError, match=r"^overloaded: the limit of 1000 bytes of proposals in batches"):
            node.raft.apply_all([b"x"])
        await asyncio.gather(*large)


async def test_a_batch_leaves_its_room_when_it_fails(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, max_proposals=4, max_proposal_bytes=1000) as members:
        node = members["node1"]
        for _ in range(5):
            with pytest.raises(CommandTooLargeError):
                await node.raft.apply_all([b"fits", bytes(MAX_MESSAGE_BYTES), b"fits"])
            await node.raft.barrier()
