"""What a node takes in at a time; and that what has ended, whatever way, makes room again (OverloadedError)."""

import asyncio
import dataclasses
import io
from collections.abc import Awaitable
from pathlib import Path
from typing import cast

import pytest
from raft_cluster import QUICK, Member, WatchedStore, cluster

from pyraft_lite.core.errors import (
    AbortedByRestoreError,
    CommandTooLargeError,
    LeadershipLostError,
    NotLeaderError,
    OverloadedError,
    ShutdownError,
)
from pyraft_lite.core.settings import MAX_MESSAGE_BYTES
from pyraft_lite.runtime import Applied, Config, State
from pyraft_lite.runtime.limit import Limit
from pyraft_lite.runtime.raft import MAX_QUEUED

PROPOSALS = 3
PATIENT = dataclasses.replace(QUICK, election_timeout=60)
"""A disk that the test holds back costs nobody the leadership."""

FULL = rf"^overloaded: the limit of {PROPOSALS} proposals under way is reached$"


async def begin(*operations: Awaitable[object]) -> "list[asyncio.Task[object]]":
    """Starts operations and lets them come as far as they come by themselves: they begin, then the core sees them."""
    tasks = [asyncio.ensure_future(operation) for operation in operations]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return cast("list[asyncio.Task[object]]", tasks)


async def fill(member: Member) -> "list[asyncio.Task[object]]":
    """Has as many proposals under way as the node takes, and sees that it takes no more of any kind."""
    tasks = await begin(*(member.raft.apply(b"%d" % number) for number in range(PROPOSALS)))
    await refuses(member)
    return tasks


async def refuses(member: Member) -> None:
    for more in (member.raft.apply(b"more"), member.raft.barrier()):
        with pytest.raises(OverloadedError, match=FULL):
            await more


async def takes_exactly_as_many_again(member: Member) -> None:
    """Nothing is counted that has ended, and nothing was counted less than once."""
    member.journal.gate.clear()
    tasks = await fill(member)
    member.journal.gate.set()
    assert all(isinstance(outcome, Applied) for outcome in await asyncio.gather(*tasks))


def test_a_limit_counts_up_to_it_and_no_further() -> None:
    limit = Limit("things", 2)
    with limit:
        limit.enter()
        with pytest.raises(OverloadedError, match=r"^overloaded: the limit of 2 things under way is reached$"):
            limit.enter()
        with pytest.raises(OverloadedError), limit:
            pass
        assert limit.count == 2, "what was refused is not counted"
        limit.leave()
    assert limit.count == 0


def test_a_limit_of_bytes_takes_one_more_until_it_is_reached() -> None:
    limit = Limit("things", 10, 100)
    limit.enter(99)
    limit.enter(1000)
    with pytest.raises(OverloadedError, match=r"^overloaded: the limit of 100 bytes of things under way is reached$"):
        limit.enter()
    limit.leave(1000)
    limit.enter(1)
    with pytest.raises(OverloadedError):
        limit.enter()


@pytest.mark.parametrize("name", ["max_proposals", "max_proposal_bytes", "max_reads"])
def test_a_limit_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is 0, must be at least 1$"):
        Config(local_id="a", local_address="127.0.0.1:1", **{name: 0})  # type: ignore[arg-type]


async def test_what_is_not_applied_yet_counts_however_slow_the_state_machine_is(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, PATIENT, max_proposals=PROPOSALS) as members:
        node = members["node1"]
        node.journal.gate.clear()
        tasks = await fill(node)
        while node.raft.stats()["commit_index"] != str(node.raft.last_index):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
        await refuses(node)
        node.journal.gate.set()
        await asyncio.gather(*tasks)
        assert node.journal.commands == [b"0", b"1", b"2"], "what was refused was not appended"
        await takes_exactly_as_many_again(node)


async def test_what_its_caller_has_given_up_counts_until_it_is_applied(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, PATIENT, max_proposals=PROPOSALS) as members:
        node = members["node1"]
        node.journal.gate.clear()
        for task in await fill(node):
            task.cancel()
        await refuses(node)
        node.journal.gate.set()
        await node.until_applied(node.raft.last_index)
        await takes_exactly_as_many_again(node)


async def test_what_fails_at_once_counts_no_more(tmp_path: Path) -> None:
    async with cluster(tmp_path, max_proposals=PROPOSALS) as members:
        leader, follower = await members.leader(), members.followers()[0]
        for _ in range(PROPOSALS + 1):
            with pytest.raises(CommandTooLargeError):
                await leader.raft.apply(bytes(MAX_MESSAGE_BYTES + 1))
            with pytest.raises(NotLeaderError):
                await follower.raft.apply(b"x")
        await takes_exactly_as_many_again(leader)


async def test_what_was_lost_with_the_leadership_counts_no_more(tmp_path: Path) -> None:
    async with cluster(tmp_path, max_proposals=PROPOSALS) as members:
        leader = await members.leader()
        for follower in members.followers():
            await follower.stop()
        tasks = await fill(leader)
        assert all(
            isinstance(outcome, LeadershipLostError) for outcome in await asyncio.gather(*tasks, return_exceptions=True)
        )
        for member in members.values():
            if not member.running:
                await member.start()
        successor = await members.leader()
        if successor is not leader:
            await successor.raft.leadership_transfer(leader.id)
            await leader.until(lambda now: now.state is State.LEADER)
        await takes_exactly_as_many_again(leader)


async def test_what_a_restore_aborts_counts_no_more(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, PATIENT, WatchedStore, max_proposals=PROPOSALS) as members:
        node = members["node1"]
        await node.raft.barrier()  # No restore before the first configuration is committed.
        cast(WatchedStore, node.store).gate.clear()
        tasks = await fill(node)
        restoring = asyncio.create_task(node.raft.restore(io.BytesIO(b"restored")))
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, AbortedByRestoreError) for outcome in outcomes)
        cast(WatchedStore, node.store).gate.set()
        await restoring
        await takes_exactly_as_many_again(node)


async def test_after_a_shutdown_the_reason_is_that_and_not_the_load(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, PATIENT, max_proposals=PROPOSALS, max_reads=1) as members:
        node = members["node1"]
        node.journal.gate.clear()
        tasks = await fill(node) + await begin(node.raft.read_index())
        stopping = asyncio.create_task(node.raft.shutdown())
        await asyncio.sleep(0)
        node.journal.gate.set()
        await stopping
        await asyncio.gather(*tasks, return_exceptions=True)
        for operation in (*(node.raft.apply(b"x") for _ in range(PROPOSALS + 1)), node.raft.read_index()):
            with pytest.raises(ShutdownError):
                await operation


async def test_bytes_count_too_and_one_command_always_fits(tmp_path: Path) -> None:
    largest = bytes(MAX_MESSAGE_BYTES - 100)
    async with cluster(tmp_path, 1, PATIENT, max_proposal_bytes=1) as members:
        node = members["node1"]
        for _ in range(2):
            node.journal.gate.clear()
            (first,) = await begin(node.raft.apply(largest))
            with pytest.raises(OverloadedError, match=r"^overloaded: the limit of 1 bytes of proposals under way"):
                await node.raft.apply(b"x")
            node.journal.gate.set()
            await first
        node.journal.gate.clear()
        (first,) = await begin(node.raft.apply(b"", b"extensions"))
        with pytest.raises(OverloadedError):
            await node.raft.apply(b"x")
        node.journal.gate.set()
        await first


async def test_reads_are_limited_on_their_own(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, PATIENT, max_proposals=1, max_reads=2) as members:
        node = members["node1"]
        for _ in range(2):
            node.journal.gate.clear()
            (writing,) = await begin(node.raft.apply(b"x"))
            await asyncio.sleep(0)
            while node.raft.stats()["commit_index"] != str(node.raft.last_index):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            first, second = await begin(node.raft.read_index(), node.raft.read_index())
            first.cancel()
            for more in (node.raft.read_index(), node.raft.verify_leader()):
                with pytest.raises(OverloadedError, match=r"^overloaded: the limit of 2 reads under way is reached$"):
                    await more
            node.journal.gate.set()
            await asyncio.gather(writing, second)


async def test_membership_changes_and_snapshots_are_limited(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, PATIENT, WatchedStore) as members:
        node = members["node1"]
        await node.raft.apply(b"x")
        for server_id, address in (("n1", "127.0.0.1:1"), ("n2", "127.0.0.1:2")):
            cast(WatchedStore, node.store).gate.clear()
            node.journal.gate.clear()
            (writing,) = await begin(node.raft.apply(b"x"))
            changes = await begin(
                node.raft.add_nonvoter(server_id, address),
                *(node.raft.remove_server("nobody") for _ in range(MAX_QUEUED - 1)),
            )
            with pytest.raises(OverloadedError, match=r"^overloaded: the limit of 64 membership changes under way"):
                await node.raft.remove_server("nobody")
            cast(WatchedStore, node.store).gate.set()
            await asyncio.sleep(0)
            snapshots = await begin(*(node.raft.snapshot() for _ in range(MAX_QUEUED)))
            with pytest.raises(OverloadedError, match=r"^overloaded: the limit of 64 snapshots under way is reached$"):
                await node.raft.snapshot()
            node.journal.gate.set()
            await asyncio.gather(writing, *changes, *snapshots)
