"""What LmdbStore writes while its caller goes on counts from its end; where that can't be, a transaction does it."""

import select
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage import LmdbStore, MemoryStore
from pyraft_lite.storage.direct_file import DirectFile
from pyraft_lite.storage.interfaces import NonblockingStore
from pyraft_lite.storage.journal import GENERATION_BYTES
from pyraft_lite.storage.lmdb_store import MAX_JOURNALED_BYTES


def run(first: int, last: int, size: int = 10) -> list[Entry]:
    return [Entry(index, 1, EntryType.COMMAND, bytes([index % 256]) * size) for index in range(first, last + 1)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    """With entries 1..10, and able to write without waiting."""
    store = LmdbStore(tmp_path / "node")
    store.append(run(1, 10))
    if store.fileno() is None or not store.begin([], {}) or not finishes(store):
        store.close()
        pytest.skip("this file system can't write without waiting")
    yield store
    store.close()


def finishes(store: LmdbStore) -> bool:
    select.select([store.fileno()], [], [])
    return store.finish()


def test_the_store_on_disk_can_do_it_and_its_twin_in_memory_need_not(store: LmdbStore) -> None:
    assert isinstance(store, NonblockingStore)
    assert not isinstance(MemoryStore(), NonblockingStore)


def test_it_is_seen_when_it_is_finished_and_is_there_after_a_crash(store: LmdbStore, tmp_path: Path) -> None:
    assert store.begin(run(11, 13), {b"vote": b"bob"})
    select.select([store.fileno()], [], [])
    assert (store.last_index(), store.get(b"vote")) == (10, None)
    assert store.finish()
    found = LmdbStore(Path(shutil.copytree(tmp_path / "node", tmp_path / "copy")))
    for each in (store, found):
        assert each.entries(1, 13, 1 << 20) == run(1, 13)
        assert each.get(b"vote") == b"bob"
    found.close()


def test_a_gap_is_refused_and_nothing_begun(store: LmdbStore) -> None:
    with pytest.raises(ValueError, match="entry 12 does not continue the log: 11 should be next"):
        store.begin(run(12, 12), {})
    assert store.begin(run(11, 11), {})
    assert finishes(store)


def test_what_is_large_is_not_begun(store: LmdbStore) -> None:
    assert not store.begin(run(11, 11, MAX_JOURNALED_BYTES), {})
    assert store.last_index() == 10


def test_what_the_journal_has_no_room_for_is_left_to_a_transaction(store: LmdbStore) -> None:
    last = 10
    while store.begin(run(last + 1, last + 1, 1000), {}):
        assert finishes(store)
        last += 1
        assert last * 1000 < 2 * GENERATION_BYTES
    assert store.last_index() == last
    store.append(run(last + 1, last + 1, 1000))
    assert store.begin(run(last + 2, last + 2, 1000), {}), "the journal has room again"
    assert finishes(store)
    assert store.entries(11, last + 2, 1 << 20) == run(11, last + 2, 1000)


def test_of_what_had_to_wait_nothing_is_kept(store: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DirectFile, "begin", lambda self, data, offset: True)
    monkeypatch.setattr(DirectFile, "finish", lambda self: False)
    assert store.begin(run(11, 11), {b"vote": b"bob"})
    assert not store.finish()
    assert (store.last_index(), store.get(b"vote")) == (10, None)
    store.append(run(11, 11))
    assert store.last_index() == 11


def test_a_write_that_failed_is_said(store: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: DirectFile) -> bool:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(DirectFile, "begin", lambda self, data, offset: True)
    monkeypatch.setattr(DirectFile, "finish", fail)
    assert store.begin(run(11, 11), {})
    with pytest.raises(StorageError, match="node/journal: Input/output error"):
        store.finish()
    assert store.last_index() == 10
