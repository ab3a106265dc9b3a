"""Whom calls go to, over grpc's channel and over connections of our own alike."""

import asyncio
from contextlib import AsyncExitStack
from types import ModuleType

import pytest

from admin.scripted_raft import ScriptedRaft, serving
from client import test_following, test_leader_client
from client.test_following import Words
from pyraft_lite.runtime.api import State


@pytest.fixture(params=[test_following, test_leader_client], ids=["grpc", "ours"])
def kind(request: pytest.FixtureRequest) -> ModuleType:
    """Has ``following``, which makes a client of some addresses, and ``add``, which adds a word with it."""
    module: ModuleType = request.param
    return module


async def test_calls_go_to_whoever_leads(kind: ModuleType) -> None:
    one, other = ScriptedRaft(State.FOLLOWER), ScriptedRaft(State.FOLLOWER)
    here, there = Words(raft=one), Words(raft=other)
    async with serving(one, here) as first, serving(other, there) as second, kind.following(first, second) as client:
        for leads, follows in ((one, other), (other, one), (one, other)):
            leads.become(State.LEADER)
            await kind.add(client, "word")
            leads.become(State.FOLLOWER)
            follows.become(State.FOLLOWER)
    assert (len(here.words), len(there.words)) == (2, 1)


async def test_a_call_waits_while_nobody_leads(kind: ModuleType) -> None:
    raft = ScriptedRaft(State.FOLLOWER)
    words = Words()
    async with serving(raft, words) as address, kind.following(address) as client:
        waiting = asyncio.create_task(kind.add(client, "word"))
        await raft.watched.wait()
        assert not words.calls
        raft.become(State.LEADER)
        assert await waiting == 1


async def test_a_node_that_comes_back_where_it_was_is_found_again(kind: ModuleType) -> None:
    async with AsyncExitStack() as stack:
        async with serving(ScriptedRaft(), Words()) as address:
            client = await stack.enter_async_context(kind.following(address))
            await kind.add(client, "before")
        async with serving(ScriptedRaft(), Words(), address):
            assert await kind.add(client, "after") == 1


async def test_nodes_of_both_ip_families_are_followed(kind: ModuleType) -> None:
    old, new = ScriptedRaft(State.LEADER), ScriptedRaft(State.FOLLOWER)
    here, there = Words(raft=old), Words(raft=new)
    async with serving(old, here) as four, serving(new, there, "[::1]:0") as six, kind.following(four, six) as client:
        await kind.add(client, "over IPv4")
        old.become(State.FOLLOWER)
        new.become(State.LEADER)
        await kind.add(client, "over IPv6")
    assert (here.words, there.words) == (["over IPv4"], ["over IPv6"])
