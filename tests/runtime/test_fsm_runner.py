"""The state machine's runner, on the event loop and beside it."""

import asyncio
import threading
from collections.abc import Sequence
from io import BytesIO
from typing import BinaryIO

import pytest
from raft_cluster import Journal

from pyraft_lite.core.configuration import Configuration
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import AbortedByRestoreError, RaftError
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.runtime.fsm_runner import BATCH_ENTRIES, FsmRunner
from pyraft_lite.runtime.limit import Limit
from pyraft_lite.runtime.operation import AwaitedOperation


class Snapshots:
    """A store whose one snapshot is the journal ``a, b``."""

    def open(self, snapshot_id: str) -> tuple[SnapshotMeta, BinaryIO]:
        return META, BytesIO(b"a\nb")


META = SnapshotMeta("id", 2, 1, Configuration(), 1, 3)


class Fixture:
    """A runner over a log of commands ``1``, ``2``, …, and what it reported."""

    def __init__(self, *, on_loop: bool, last: int = 10) -> None:
        self.journal = Journal()
        self.log = [Entry(index, 1, EntryType.COMMAND, str(index).encode()) for index in range(1, last + 1)]
        self.failed: asyncio.Queue[str] = asyncio.Queue()
        self.limit = Limit("proposals", 1000)
        self.batches: list[int] = []
        self.runner = FsmRunner(self.journal, Snapshots(), self.read, self.failed.put_nowait, on_loop=on_loop)

    def read(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        self.batches.append(high - low + 1)
        return self.log[low - 1 : high]

    async def until(self, index: int) -> None:
        reader = AwaitedOperation(self.limit)
        self.runner.when_applied(index, reader)
        await reader.future


@pytest.fixture(params=[True, False], ids=["on the loop", "on a thread"])
def on_loop(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_entries_are_applied_in_order_where_they_should(on_loop: bool) -> None:
    fixture = Fixture(on_loop=on_loop)
    proposal = AwaitedOperation(fixture.limit)
    fixture.runner.commit(3, [(2, proposal)])
    assert (await proposal.future).response == 2
    fixture.runner.commit(10, [])
    await fixture.until(10)
    assert fixture.journal.commands == [entry.data for entry in fixture.log]
    assert (fixture.journal.threads == {threading.get_ident()}) is on_loop


async def test_a_quick_state_machine_has_applied_when_commit_returns() -> None:
    fixture = Fixture(on_loop=True)
    fixture.runner.commit(3, [])
    assert fixture.runner.applied_index == 3


async def test_what_may_wait_is_applied_when_told_to_go_on() -> None:
    fixture = Fixture(on_loop=True)
    fixture.runner.commit(3, [], may_wait=True)
    assert (fixture.runner.applied_index, fixture.runner.pending) == (0, 3)
    fixture.runner.go_on()
    fixture.runner.go_on()
    assert fixture.runner.applied_index == 3
    fixture.runner.commit(4, [], may_wait=True)
    fixture.runner.commit(5, [(5, AwaitedOperation(fixture.limit))], may_wait=True)
    assert fixture.runner.applied_index == 5
    fixture.runner.commit(6, [], may_wait=True)
    await fixture.until(6)


async def test_a_thread_need_not_wait() -> None:
    fixture = Fixture(on_loop=False)
    fixture.runner.commit(3, [], may_wait=True)
    await fixture.until(3)


async def test_a_long_backlog_is_applied_in_batches_that_let_others_in(on_loop: bool) -> None:
    fixture = Fixture(on_loop=on_loop, last=3 * BATCH_ENTRIES)
    fixture.runner.commit(3 * BATCH_ENTRIES, [])
    assert fixture.runner.applied_index <= BATCH_ENTRIES
    await fixture.until(3 * BATCH_ENTRIES)
    assert fixture.batches == [BATCH_ENTRIES] * 3
    assert len(fixture.journal.commands) == 3 * BATCH_ENTRIES


async def test_nothing_is_applied_beside_a_snapshot(on_loop: bool) -> None:
    fixture = Fixture(on_loop=on_loop)
    inside, gate = threading.Event(), threading.Event()
    original = fixture.journal.snapshot

    def snapshot() -> object:
        inside.set()
        gate.wait()
        return original()

    fixture.journal.snapshot = snapshot  # type: ignore[method-assign, assignment]
    fixture.runner.commit(3, [])
    await fixture.until(3)
    freezing = asyncio.create_task(fixture.runner.freeze())
    await asyncio.to_thread(inside.wait)
    try:
        fixture.runner.commit(5, [])
        assert fixture.runner.applied_index == 3
    finally:
        gate.set()  # else the thread would outlast a failure
    index, _ = await freezing
    assert index == 3
    await fixture.until(5)


async def test_a_restore_replaces_what_was_applied_and_aborts_who_waited_for_it(on_loop: bool) -> None:
    fixture = Fixture(on_loop=on_loop)
    proposal = AwaitedOperation(fixture.limit)
    fixture.runner.restore(META)
    fixture.runner.commit(2, [(2, proposal)])
    with pytest.raises(AbortedByRestoreError):
        await proposal.future
    fixture.runner.commit(4, [])
    await fixture.until(4)
    assert fixture.journal.commands == [b"a", b"b", b"3", b"4"]


async def test_what_waits_for_a_restore_goes_on_when_it_is_done(on_loop: bool) -> None:
    fixture = Fixture(on_loop=on_loop)
    await fixture.runner.until_restored()
    fixture.runner.restore(META)
    assert fixture.runner.applied_index == 0
    await fixture.runner.until_restored()
    assert fixture.journal.commands == [b"a", b"b"]


async def test_what_waits_for_a_restore_that_fails_hears_of_it(on_loop: bool) -> None:
    fixture = Fixture(on_loop=on_loop)
    fixture.journal.restore = None  # type: ignore[method-assign, assignment]
    fixture.runner.restore(META)
    with pytest.raises(RaftError, match="the state machine has failed"):
        await fixture.runner.until_restored()


async def test_a_failure_is_reported_once_and_ends_it(on_loop: bool) -> None:
    fixture = Fixture(on_loop=on_loop)
    fixture.log[1] = fixture.log[1]._replace(data=b"poison")
    fixture.runner.commit(2, [])
    assert await fixture.failed.get() == "state machine failed after index 0: RuntimeError: poisoned"
    fixture.runner.commit(5, [])
    await asyncio.sleep(0)
    assert fixture.failed.empty()
    assert fixture.runner.applied_index == 0
