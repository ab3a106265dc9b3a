"""What LmdbStore puts into the journal, and when it goes into the database."""

import shutil
from pathlib import Path

import pytest

from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage import LmdbStore
from pyraft_lite.storage.journal import GENERATION_BYTES, JOURNAL_BYTES
from pyraft_lite.storage.lmdb_store import MAX_JOURNALED_BYTES


def run(first: int, last: int, size: int = 10) -> list[Entry]:
    return [Entry(index, 1, EntryType.COMMAND, bytes([index % 256]) * size) for index in range(first, last + 1)]


@pytest.fixture
def store(tmp_path: Path) -> LmdbStore:
    """With the entries 1..10 in the database, and nothing in the journal."""
    store = LmdbStore(tmp_path / "node")
    store.append(run(1, 11))
    store.truncate(11)
    return store


def database(directory: Path) -> bytes:
    return (directory / "data.mdb").read_bytes()


def after_a_crash(directory: Path, copy: Path) -> LmdbStore:
    """The store as another process would find it now."""
    return LmdbStore(Path(shutil.copytree(directory, copy)))


def test_small_writes_leave_the_database_alone_and_are_there_after_a_crash(store: LmdbStore, tmp_path: Path) -> None:
    before = database(tmp_path / "node")
    for index in range(11, 200):
        with store.transaction():
            store.append(run(index, index))
            store.set({b"vote": b"%d" % index})
    assert database(tmp_path / "node") == before
    found = after_a_crash(tmp_path / "node", tmp_path / "copy")
    assert found.entries(1, 199, 1 << 20) == store.entries(1, 199, 1 << 20) == run(1, 199)
    assert found.get(b"vote") == b"199"
    store.close()
    found.close()


def test_when_the_journal_has_taken_its_share_all_of_it_goes_into_the_database(
    store: LmdbStore, tmp_path: Path
) -> None:
    before = database(tmp_path / "node")
    last = 10
    while database(tmp_path / "node") == before:
        last += 1
        store.append(run(last, last, 1000))
        assert last * 1000 < 2 * GENERATION_BYTES
    assert last * 1000 > GENERATION_BYTES / 2
    (tmp_path / "node" / "journal").write_bytes(bytes(JOURNAL_BYTES))
    found = after_a_crash(tmp_path / "node", tmp_path / "copy")
    assert found.last_index() == last
    store.close()
    found.close()


@pytest.mark.parametrize("what", ["large", "truncate", "compact"])
def test_what_is_large_or_takes_away_goes_into_the_database_with_all_before_it(
    store: LmdbStore, tmp_path: Path, what: str
) -> None:
    store.append(run(11, 20))
    store.set({b"vote": b"bob"})
    match what:
        case "large":
            store.append(run(21, 21, MAX_JOURNALED_BYTES))
        case "truncate":
            store.truncate(20)
        case "compact":
            store.compact(1, 1)
    (tmp_path / "node" / "journal").write_bytes(bytes(JOURNAL_BYTES))
    found = after_a_crash(tmp_path / "node", tmp_path / "copy")
    assert (found.first_index(), found.last_index()) == (store.first_index(), store.last_index())
    assert found.get(b"vote") == b"bob"
    store.close()
    found.close()


def test_a_value_in_the_journal_does_not_outlive_a_newer_one(store: LmdbStore, tmp_path: Path) -> None:
    store.set({b"term": b"1"})
    with store.transaction():
        store.set({b"term": b"2"})
        store.truncate(5)
    assert store.get(b"term") == b"2"
    found = after_a_crash(tmp_path / "node", tmp_path / "copy")
    assert found.get(b"term") == b"2"
    store.close()
    found.close()


def test_what_was_merged_is_not_taken_over_again(store: LmdbStore, tmp_path: Path) -> None:
    store.append(run(11, 20))
    store.truncate(15)
    found = after_a_crash(tmp_path / "node", tmp_path / "copy")
    assert found.last_index() == 14
    store.close()
    found.close()


def test_entries_are_read_across_the_end_of_the_database(store: LmdbStore) -> None:
    store.append(run(11, 20))
    assert store.entries(8, 13, 1 << 20) == run(8, 13)
    assert store.entries(12, 13, 1 << 20) == run(12, 13)
    size = run(1, 1)[0].size
    for low in (8, 12):
        for count in range(1, 6):
            assert store.entries(low, 20, count * size) == run(low, low + count - 1)
            assert store.entries(low, 20, count * size + size - 1) == run(low, low + count - 1)
    assert store.entries(8, 20, 1) == run(8, 8)
    assert [store.term(index) for index in (10, 11, 20, 21)] == [1, 1, 1, None]
    store.close()


def test_no_entry_is_left_out_because_a_later_one_is_small_enough(store: LmdbStore) -> None:
    store.append([*run(11, 11), *run(12, 12, MAX_JOURNALED_BYTES)])
    store.append(run(13, 13))
    assert store.entries(11, 13, 1000) == run(11, 11)
    store.close()


def test_configurations_in_the_journal_are_listed(store: LmdbStore) -> None:
    store.append([Entry(11, 1, EntryType.CONFIGURATION, b"c"), *run(12, 12)])
    assert store.configurations() == [11]
    store.close()


def test_a_log_may_begin_in_the_journal(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "node")
    store.append(run(100, 101))
    found = after_a_crash(tmp_path / "node", tmp_path / "copy")
    assert (found.first_index(), found.last_index()) == (100, 101)
    assert found.entries(100, 101, 1 << 20) == run(100, 101)
    store.close()
    found.close()


def test_without_its_journal_a_database_is_refused(store: LmdbStore, tmp_path: Path) -> None:
    store.close()
    (tmp_path / "node" / "journal").unlink()
    with pytest.raises(StorageError, match=r"node/journal is missing: it holds what is not in the database yet"):
        LmdbStore(tmp_path / "node")


def test_a_journal_made_before_a_crash_kept_the_database_from_knowing_it_is_taken(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(bytes(JOURNAL_BYTES))
    store = LmdbStore(tmp_path)
    store.append(run(1, 1))
    store.close()
    store = LmdbStore(tmp_path)
    assert store.last_index() == 1
    store.close()


def test_a_journal_of_a_later_log_is_refused(store: LmdbStore, tmp_path: Path) -> None:
    node = tmp_path / "node"
    shutil.copytree(node, tmp_path / "old")
    store.append(run(11, 11))
    store.truncate(11)
    store.append(run(11, 12))
    generation = store.get(b"pyraft_lite.journal")
    store.close()
    old = LmdbStore(tmp_path / "old")
    old.truncate(5)
    assert old.get(b"pyraft_lite.journal") == generation
    old.close()
    shutil.copy(node / "journal", tmp_path / "old" / "journal")
    with pytest.raises(StorageError, match="does not go with the database: entry 11 does not continue the log"):
        LmdbStore(tmp_path / "old")
