"""When a node asks its core for the next deadline, and whether it keeps it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from raft_cluster import cluster

from pyraft_lite.core import effects, events
from pyraft_lite.runtime import Raft

NOTHING = events.RpcFailed(0, "nobody waits for it")


class Deadlines:
    """A core's deadlines, as a test sets them.

    Attributes:
        next: The one that the core tells.
        asked: How often it was asked.
        ticked: Set at a tick.
    """

    def __init__(self, raft: Raft, monkeypatch: pytest.MonkeyPatch) -> None:
        self._loop = asyncio.get_running_loop()
        self._step = raft._core.step
        self.asked = 0
        self.ticked = asyncio.Event()
        self.set_in(3600)
        monkeypatch.setattr(raft._core, "deadline", self._deadline)
        monkeypatch.setattr(raft._core, "step", self._stepped)

    def set_in(self, seconds: float) -> None:
        self.next = self._loop.time() + seconds

    def _deadline(self) -> float:
        self.asked += 1
        return self.next

    def _stepped(self, event: events.Event, now: float) -> list[effects.Effect]:
        if isinstance(event, events.Tick):
            assert now >= self.next
            self.set_in(3600)
            self.ticked.set()
        return self._step(event, now)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Raft]:
    """The leader of a cluster of one."""
    async with cluster(tmp_path, 1) as members:
        yield (await members.leader()).raft


async def test_steps_that_follow_each_other_do_not_each_ask_for_the_deadline(
    node: Raft, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadlines = Deadlines(node, monkeypatch)
    for _ in range(100):
        node._post(NOTHING)
    assert deadlines.asked <= 1


@pytest.mark.parametrize("seconds", [0, 0.02])
async def test_a_deadline_that_has_come_nearer_since_it_was_asked_for_is_kept(
    node: Raft, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    deadlines = Deadlines(node, monkeypatch)
    for _ in range(2):
        node._post(NOTHING)
        deadlines.set_in(seconds)
        await asyncio.wait_for(deadlines.ticked.wait(), 30)
        deadlines.ticked.clear()
