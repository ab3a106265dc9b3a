"""The writer: order, group commit, bounded compaction, what happens when the disk fails, and what needs no thread."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from raft_cluster import WatchedStore

from pyraft_lite.core import HardState
from pyraft_lite.core.effects import Write
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.runtime import writer
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


class QuickStore(LmdbStore):
    """A real store that counts what was done on the event loop and what on a thread, and can be told what to say."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.begun = 0
        self.transactions = 0
        self.has_to_wait = False
        self.failure: Exception | None = None

    def begin(self, entries: Sequence[Entry], values: Mapping[bytes, bytes]) -> bool:
        begun = super().begin(entries, values)
        self.begun += begun
        return begun

    def finish(self) -> bool:
        if self.failure:
            raise self.failure
        finished = super().finish()
        if finished and self.has_to_wait:
            # As if it had not been written.
            self.truncate(self.last_index())
            return False
        return finished

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self.transactions += threading.current_thread() is not threading.main_thread()
        with super().transaction():
            yield


@pytest.fixture
async def quick(tmp_path: Path) -> AsyncIterator[QuickStore]:
    """With entry 1, and able to write without waiting."""
    store = QuickStore(tmp_path)
    store.append((entry(1),))
    reports = Reports(store)
    reports.writer.submit(Write(1, entries=(entry(2),)))
    await reports.writer.close()
    if not store.begun:
        store.close()
        pytest.skip("this file system can't write without waiting")
    store.begun = store.transactions = 0
    yield store
    store.close()


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


class PressedStore(WatchedStore):
    """Calls :attr:`meanwhile` while it appends."""

    meanwhile: Callable[[], object] | None = None

    def append(self, entries: Sequence[Entry]) -> None:
        super().append(entries)
        if self.meanwhile:
            self.meanwhile()


async def test_compaction_is_not_put_off_by_writes_that_do_not_end(tmp_path: Path) -> None:
    store = PressedStore(tmp_path)
    last = 3 * COMPACTION_STEP
    store.append([entry(index) for index in range(1, last + 1)])
    reports = Reports(store)
    numbers = itertools.count(last + 1)

    def press() -> None:
        if store.first_index() < last and store.last_index() < last + 100:
            index = next(numbers)
            reports.writer.submit(Write(index, entries=(entry(index),)))

    loop = asyncio.get_running_loop()
    store.meanwhile = lambda: loop.call_soon_threadsafe(press)
    press()
    reports.writer.compact(last - 1)
    await reports.writer.close()
    assert store.first_index() == last
    assert store.last_index() < last + 10
    store.close()


async def test_small_writes_need_no_thread(quick: QuickStore) -> None:
    reports = Reports(quick)
    for index in range(3, 50):
        reports.writer.submit(Write(index, HardState(index, "h:1"), entries=(entry(index),)))
        assert reports.writer.is_in_kernel
        assert await reports.written.get() == index
        assert not reports.writer.is_in_kernel
    reports.writer.submit(Write(50, HardState(50)))
    await reports.writer.close()
    assert (quick.begun, quick.transactions) == (48, 0)
    assert quick.entries(1, 49, 1 << 20) == [entry(index) for index in range(1, 50)]
    assert load_hard_state(quick) == HardState(50)


async def test_what_comes_while_the_loop_goes_on_is_written_together_too(quick: QuickStore) -> None:
    reports = Reports(quick)
    for index in range(3, 100):
        reports.writer.submit(Write(index, entries=(entry(index),)))
    assert [await reports.written.get(), await reports.written.get()] == [3, 99]
    await reports.writer.close()
    assert quick.begun == 2
    assert quick.last_index() == 99


async def test_what_had_to_wait_or_takes_away_is_written_on_the_thread(quick: QuickStore) -> None:
    reports = Reports(quick)
    quick.has_to_wait = True
    reports.writer.submit(Write(3, entries=(entry(3),)))
    assert await reports.written.get() == 3
    assert (quick.begun, quick.last_index()) == (1, 3)
    transactions = quick.transactions
    assert transactions
    quick.has_to_wait = False
    replacement = Entry(2, 2, EntryType.COMMAND, b"y")
    reports.writer.submit(Write(4, truncate_from=2, entries=(replacement,)))
    assert await reports.written.get() == 4
    assert quick.begun == 1
    assert quick.transactions > transactions
    reports.writer.submit(Write(5, entries=(entry(3),)))
    await reports.writer.close()
    assert quick.begun == 2
    assert quick.entries(1, 3, 1000) == [entry(1), replacement, entry(3)]


async def test_after_a_slow_write_the_thread_writes_until_the_disk_is_quick_again(
    quick: QuickStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = Reports(quick)

    async def write(index: int) -> int:
        reports.writer.submit(Write(index, entries=(entry(index),)))
        await reports.written.get()
        return quick.begun

    monkeypatch.setattr(writer, "SLOW", -1.0)
    assert [await write(3), await write(4)] == [1, 1]
    monkeypatch.setattr(writer, "SLOW", 1000.0)
    assert [await write(5), await write(6)] == [1, 2]
    await reports.writer.close()


@pytest.mark.parametrize(
    ("failure", "said"),
    [(StorageError("the disk is gone"), "the disk is gone"), (ValueError("odd"), "ValueError: odd")],
)
async def test_a_write_that_was_begun_and_fails_is_the_last(quick: QuickStore, failure: Exception, said: str) -> None:
    reports = Reports(quick)
    quick.failure = failure
    reports.writer.submit(Write(3, entries=(entry(3),)))
    reports.writer.submit(Write(4, entries=(entry(4),)))
    assert await reports.failed.get() == said
    reports.writer.submit(Write(5, entries=(entry(3),)))
    await reports.writer.close()
    assert reports.written.empty()
    assert reports.failed.empty()
    assert quick.begun == 1


async def test_a_write_that_can_not_be_begun_for_it_is_wrong_is_said_later(quick: QuickStore) -> None:
    reports = Reports(quick)
    reports.writer.submit(Write(3, entries=(entry(5),)))
    assert reports.failed.empty(), "who submits is not called back meanwhile"
    assert "does not continue the log" in await reports.failed.get()
    await reports.writer.close()
