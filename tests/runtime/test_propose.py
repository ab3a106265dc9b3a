"""Commands whose outcomes are told by a callback, on real nodes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from raft_cluster import cluster

from pyraft_lite.core.errors import NotLeaderError, OverloadedError, RaftError
from pyraft_lite.runtime.api import Applied


async def test_the_outcome_is_told_once_the_command_is_applied(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as members:
        raft = members["node1"].raft
        told: asyncio.Future[tuple[Applied | RaftError, int]] = asyncio.get_running_loop().create_future()
        raft.propose(b"one", lambda outcome: told.set_result((outcome, raft.applied_index)))
        outcome, applied_index = await told
        assert outcome == Applied(applied_index, 1)
        assert members["node1"].journal.commands == [b"one"]


async def test_a_follower_says_that_it_is_none(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        await members.leader()
        follower = next(member for member in members.values() if member.raft.state.name == "FOLLOWER")
        told: asyncio.Future[Applied | RaftError] = asyncio.get_running_loop().create_future()
        follower.raft.propose(b"one", told.set_result)
        assert isinstance(await told, NotLeaderError)


async def test_what_there_is_no_room_for_is_refused_at_once(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, max_proposals=1) as members:
        raft = members["node1"].raft
        told: asyncio.Future[Applied | RaftError] = asyncio.get_running_loop().create_future()
        raft.propose(b"one", told.set_result)
        with pytest.raises(OverloadedError):
            raft.propose(b"two", lambda _: pytest.fail("it was not proposed"))
        await told
        assert await raft.apply(b"three")


async def test_who_hears_of_an_outcome_may_propose_again_and_may_fail(tmp_path: Path) -> None:
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    async with cluster(tmp_path, 1) as members:
        raft = members["node1"].raft
        again: asyncio.Future[Applied | RaftError] = asyncio.get_running_loop().create_future()

        def fail(_: Applied | RaftError) -> None:
            raft.propose(b"two", again.set_result)
            raise ValueError("it failed")

        raft.propose(b"one", fail)
        assert isinstance(await again, Applied)
        assert await raft.apply(b"three")
        assert members["node1"].journal.commands == [b"one", b"two", b"three"]
    assert [str(failure["exception"]) for failure in failures] == ["it failed"]
