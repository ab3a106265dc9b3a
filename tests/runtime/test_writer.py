"""The writer thread: order, group commit, bounded compaction, and what happens when the disk fails."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from raft_cluster import WatchedStore

from pyraft_lite.core import HardState
from pyraft_lite.core.effects import Write
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.runtime.hard_state import load_hard_state
from pyraft_lite.runtime.writer import COMPACTION_STEP, Writer
from pyraft_lite.storage import LmdbStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[WatchedStore]:
    store = WatchedStore(tmp_path)
    yield store
    store.gate.set()
    store.close()


class Reports:
    """What the writer reported."""

    def __init__(self, store: LmdbStore) -> None:
        self.written: asyncio.Queue[int] = asyncio.Queue()
        self.failed: asyncio.Queue[str] = asyncio.Queue()
        self.writer = Writer(store, store, self.written.put_nowait, self.failed.put_nowait)


def entry(index: int) -> Entry:
    return Entry(index, 1, EntryType.COMMAND, b"x")


async def test_what_comes_during_a_commit_is_written_together_in_the_next(store: WatchedStore) -> None:
    reports = Reports(store)
    store.gate.clear()
    reports.writer.submit(Write(1, entries=(entry(1),)))
    await asyncio.to_thread(store.entered.wait)
    for seq in range(2, 100):
        reports.writer.submit(Write(seq, entries=(entry(seq),)))
    store.gate.set()
    assert [await reports.written.get(), await reports.written.get()] == [1, 99]
    assert store.commits == 2
    assert store.last_index() == 99
    await reports.writer.close()


async def test_one_write_holds_hard_state_truncation_and_entries_in_this_order(store: WatchedStore) -> None:
    reports = Reports(store)
    reports.writer.submit(Write(1, entries=(entry(1), entry(2), entry(3))))
    replacement = Entry(2, 2, EntryType.COMMAND, b"y")
    reports.writer.submit(Write(2, HardState(2, "h:1"), 2, (replacement,)))
    await reports.writer.close()
    assert store.entries(1, 2, 1000) == [entry(1), replacement]
    assert store.last_index() == 2
    assert load_hard_state(store) == HardState(2, "h:1")


async def test_nothing_is_reported_written_after_a_write_failed(store: WatchedStore) -> None:
    reports = Reports(store)
    store.fails = True
    reports.writer.submit(Write(1, entries=(entry(1),)))
    assert await reports.failed.get() == "no space left on device"
    store.fails = False
    reports.writer.submit(Write(2, entries=(entry(1),)))
    await reports.writer.close()
    assert reports.written.empty()
    assert store.last_index() == 0


async def test_a_write_that_can_not_be_right_is_fatal_too(store: WatchedStore) -> None:
    reports = Reports(store)
    reports.writer.submit(Write(1, entries=(entry(1),)))
    reports.writer.submit(Write(2, entries=(entry(5),)))
    assert "does not continue the log" in await reports.failed.get()
    await reports.writer.close()


async def test_compaction_goes_in_bounded_steps_with_writes_between(store: WatchedStore) -> None:
    reports = Reports(store)
    last = 3 * COMPACTION_STEP
    reports.writer.submit(Write(1, entries=tuple(entry(index) for index in range(1, last + 1))))
    await reports.written.get()
    reports.writer.compact(last - 1)
    reports.writer.submit(Write(2, entries=(entry(last + 1),)))
    await reports.written.get()
    assert store.first_index() <= COMPACTION_STEP + 1, "the write did not wait for the whole compaction"
    await reports.writer.close()
    assert store.first_index() == last
    assert max(store.steps) <= COMPACTION_STEP
